"""Which operation asks for what, and how to make a request of it that works: one row per operation of the contract.

A new operation gets its row here; `tests/api/test_access.py` fails until it has one, and tries every row as strangers,
lower roles and with bad tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """`scopes`: any one of them is enough; where there are none, any token is.

    `ids`: path parameters whose value is another one than their name says.

    In `body` and `query`, `{vault_id}` stands for the tenant's own vault, and so on, see tests/api/entities.py.
    """

    scopes: tuple[str, ...]
    body: Any = None
    ids: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    ends_login: bool = False


@dataclass(frozen=True)
class Open:
    """An operation that nobody needs a token for; `why` is read by those who ask whether that is right."""

    why: str


def _row(*scopes: str, body: Any = None, query: Mapping[str, str] | None = None, **ids: str) -> Row:
    return Row(scopes, body, ids, query or {})


_KEY = {"venue": "alpaca", "key_id": "KEY-1", "secret": "another secret"}
_FLIP = {"kind": "flip", "ttl_minutes": 45, "persona": "ares", "amplify": "0.35"}
_CHECKOUT = {
    "plan_id": "core",
    "provider": "stripe",
    "success_url": "https://app.example/done",
    "cancel_url": "https://app.example/",
}
_ORDER = {"vault_id": "{vault_id}", "symbol": "AAPL", "side": "buy", "qty": "1"}

TABLE: Mapping[str, Row | Open] = {
    "get_health": Open("load balancers ask; it tells that the process answers, and nothing else"),
    "get_readiness": Open("load balancers ask; it names dependencies, no hosts"),
    "confirm_follower_order": Open("signed with the key of the order's follower, see tests/api/test_confirmations.py"),
    "receive_stripe_event": Open("signed by Stripe with the endpoint's secret, see tests/api/test_hooks.py"),
    "receive_btcpay_event": Open("signed by BTCPay with the webhook's secret, see tests/api/test_hooks.py"),
    # logins
    "begin_login": Open("who logs in has no token yet; it tells where to go, and nothing of any tenant"),
    "exchange_token": Open("who logs in has no token yet; the code, or the refresh token, is what is checked"),
    "list_signing_keys": Open("public keys, for those who verify our tokens"),
    "log_out": Row((), body={"everywhere": False}, ends_login=True),
    "get_me": Row(()),
    # vaults
    "get_entitlements": _row("vault:read"),
    "list_vaults": _row("vault:read"),
    "create_vault": _row("mirror:manage", body={"label": "Beta"}),
    "get_vault": _row("vault:read"),
    "update_vault": _row("mirror:manage", body={"label": "Gamma"}),
    "list_nav_marks": _row("vault:read"),
    "set_nav": _row("mirror:manage", body={"nav_usd": "1000000"}, vault_id="empty_vault_id"),
    "reconcile_vault": _row("mirror:manage"),
    "list_reconciliations": _row("orders:read"),
    "get_reconciliation": _row("orders:read"),
    # the subscription; in which state it is for each, see tests/api/test_access.py
    "list_plans": _row(),
    "get_subscription": _row("billing:read"),
    "preview_change": _row("billing:read", query={"plan_id": "pro"}),
    "check_out": _row("billing:manage", body=_CHECKOUT),
    "change_plan": _row("billing:manage", body={"plan_id": "pro"}),
    "cancel_subscription": _row("billing:manage", body={"at_period_end": True}),
    "keep_subscription": _row("billing:manage"),
    "pause_subscription": _row("billing:manage", body={}),
    "resume_subscription": _row("billing:manage"),
    "open_portal": _row("billing:manage", body={"return_url": "https://app.example/"}),
    "list_invoices": _row("billing:read"),
    "get_invoice": _row("billing:read"),
    "refund_invoice": _row("billing:manage", body={"amount": "1.00", "reason": "by hand"}),
    # overlays and halts
    "start_overlay": _row("mirror:manage", body={**_FLIP, "follower_id": "{follower_id}"}),
    "list_overlays": _row("vault:read"),
    "extend_overlay": _row("mirror:manage", body={"ttl_minutes": 60}),
    "end_overlay": _row("mirror:manage", overlay_id="ending_overlay_id"),
    "pull_halt": _row("mirror:manage", body={"scope": "follower", "id": "{follower_id}", "level": "halt_opens"}),
    "list_halts": _row("vault:read"),
    "lift_halt": _row("mirror:manage"),
    # followers
    "list_followers": _row("vault:read"),
    "create_follower": _row("follower:manage", body={"label": "Carl", "mode": "shadow"}),
    "get_follower": _row("vault:read", "follower:self"),
    "update_follower": _row("follower:manage", body={"scale": "0.5"}),
    "preview_follower": _row("orders:read", "follower:self", query={"symbol": "AAPL", "side": "buy", "qty": "1"}),
    "test_webhook": _row("follower:manage"),
    "rotate_webhook_secret": _row("follower:manage", follower_id="rotating_follower_id"),
    "list_credentials": _row("vault:read", follower_id="bridged_follower_id"),
    "replace_credential": _row("follower:manage", body=_KEY, follower_id="bridged_follower_id"),
    "test_credential": _row("follower:manage", follower_id="bridged_follower_id"),
    # orders
    "place_manager_order": _row("orders:write", body=_ORDER),
    "list_manager_orders": _row("orders:read"),
    "get_manager_order": _row("orders:read"),
    "cancel_manager_order": _row("orders:write"),
    "get_manager_order_dag": _row("orders:read"),
    # Of an order that is over: its stream ends.
    "stream_manager_order_events": _row("orders:read", mo_id="settled_mo_id"),
    "list_follower_orders": _row("orders:read", "follower:self"),
    "get_follower_order": _row("orders:read", "follower:self"),
    "list_dead_letters": _row("orders:read"),
    "get_dead_letter": _row("orders:read"),
    "redrive_dead_letters": _row("orders:write", body={"dead_letter_ids": ["{dead_letter_id}"]}),
    "purge_dead_letters": _row("orders:write", body={"dead_letter_ids": ["{dead_letter_id}"], "reason": "by hand"}),
    "list_audit_events": _row("audit:read"),
    "list_billing_differences": _row("billing:read"),
    # who belongs to the tenant
    "list_users": _row("tenant:manage", "audit:read"),
    "change_role": _row("tenant:manage", body={"role": "auditor"}),
    "remove_user": _row("tenant:manage", user_id="leaving_user_id"),
    "list_invitations": _row("tenant:manage", "audit:read"),
    "create_invitation": _row("tenant:manage", body={"email": "bob@follower.example", "follower_id": "{follower_id}"}),
    "revoke_invitation": _row("tenant:manage"),
    "end_follower_access": _row("tenant:manage", follower_id="bridged_follower_id"),
    "list_service_accounts": _row("tenant:manage", "audit:read"),
    "create_service_account": _row("tenant:manage", body={"name": "desk", "scopes": ["orders:read"]}),
    "disable_service_account": _row("tenant:manage", account_id="closing_account_id"),
    "list_api_keys": _row("tenant:manage", "audit:read"),
    "create_api_key": _row("tenant:manage", body={}),
    "revoke_api_key": _row("tenant:manage"),
}

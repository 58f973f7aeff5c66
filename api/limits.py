"""How many requests a caller may send: which class an operation is of, and what every answer says of his quota.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-10. A refusal is a 429 with
`Retry-After`, and names the quotas that were used up.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import Request

from api.body import read_json_object
from api.errors import Problem
from api.services import Services
from domain.access import Principal
from domain.errors import InvalidInput, LimiterUnavailable, StoreUnavailable
from domain.rate_limits import Bucket, RouteClass, Standing, of_address, of_caller

_C = RouteClass
# Every operation has its line; a test holds that none is missing.
OPERATIONS: Mapping[str, RouteClass] = {
    "list_vaults": _C.READ,
    "create_vault": _C.WRITE,
    "get_vault": _C.READ,
    "update_vault": _C.WRITE,
    "list_nav_marks": _C.READ,
    "set_nav": _C.WRITE,
    "preview_follower": _C.READ,
    "list_followers": _C.READ,
    "create_follower": _C.WRITE,
    "get_follower": _C.READ,
    "update_follower": _C.WRITE,
    "test_webhook": _C.WRITE,
    "rotate_webhook_secret": _C.WRITE,
    "list_credentials": _C.READ,
    "replace_credential": _C.WRITE,
    "test_credential": _C.WRITE,
    "start_overlay": _C.WRITE,
    "list_overlays": _C.READ,
    "extend_overlay": _C.WRITE,
    "end_overlay": _C.WRITE,
    "pull_halt": _C.KILL,
    "list_halts": _C.READ,
    "lift_halt": _C.WRITE,
    "place_manager_order": _C.ORDER_ENTRY,
    "list_manager_orders": _C.READ,
    "get_manager_order": _C.READ,
    "cancel_manager_order": _C.KILL,
    "get_manager_order_dag": _C.READ,
    "stream_manager_order_events": _C.READ,
    "list_follower_orders": _C.READ,
    "get_follower_order": _C.READ,
    "confirm_follower_order": _C.CALLBACK,
    "list_billing_differences": _C.READ,
    "receive_stripe_event": _C.CALLBACK,
    "receive_btcpay_event": _C.CALLBACK,
    "list_dead_letters": _C.READ,
    "get_dead_letter": _C.READ,
    "redrive_dead_letters": _C.ORDER_ENTRY,
    "purge_dead_letters": _C.WRITE,
    "list_audit_events": _C.READ,
    "list_reconciliations": _C.READ,
    "get_reconciliation": _C.READ,
    "reconcile_vault": _C.WRITE,
    "begin_login": _C.AUTH,
    "exchange_token": _C.AUTH,
    "list_signing_keys": _C.AUTH,
    "log_out": _C.WRITE,
    "get_me": _C.READ,
    "get_entitlements": _C.READ,
    "list_plans": _C.READ,
    "get_subscription": _C.READ,
    "check_out": _C.WRITE,
    "preview_change": _C.READ,
    "change_plan": _C.WRITE,
    "cancel_subscription": _C.WRITE,
    "keep_subscription": _C.WRITE,
    "pause_subscription": _C.WRITE,
    "resume_subscription": _C.WRITE,
    "open_portal": _C.WRITE,
    "list_invoices": _C.READ,
    "get_invoice": _C.READ,
    "refund_invoice": _C.WRITE,
    "list_users": _C.READ,
    "change_role": _C.WRITE,
    "remove_user": _C.WRITE,
    "end_follower_access": _C.WRITE,
    "create_invitation": _C.WRITE,
    "list_invitations": _C.READ,
    "revoke_invitation": _C.WRITE,
    "create_service_account": _C.WRITE,
    "list_service_accounts": _C.READ,
    "disable_service_account": _C.WRITE,
    "create_api_key": _C.WRITE,
    "list_api_keys": _C.READ,
    "revoke_api_key": _C.WRITE,
}
# Asked by machines that watch this one; refusing them would only blind the operators.
UNLIMITED = frozenset({"get_health", "get_readiness", "get_metrics"})
BY_ADDRESS = frozenset({_C.AUTH, _C.CALLBACK})
# Nobody's orders, kills and cancels wait for a bigger plan: the platform's own limits hold for them.
BY_PLAN = frozenset({_C.READ, _C.WRITE})
# What of an operation's bodies stops trade: it is counted as a kill where it would be refused otherwise.
_KILLS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "update_follower": lambda body: body.get("kill_switch") is True,
    "start_overlay": lambda body: body.get("kind") in {"halt", "maintenance"},
}


def class_of(operation_id: str | None, method: str) -> RouteClass | None:
    if operation_id is None or operation_id in UNLIMITED:
        return None
    return OPERATIONS.get(operation_id) or (_C.READ if method == "GET" else _C.WRITE)


async def limit_address(request: Request) -> None:
    """A dependency of all operations, before all others. Raises Problem 429 where the caller has no name yet."""
    kind = _class(request)
    if kind in BY_ADDRESS:
        services: Services = request.state.services
        address = request.client.host if request.client else ""
        await _take(request, services, kind, of_address(kind, services.rates[kind], address))


async def limit_caller(request: Request, services: Services, caller: Principal) -> None:
    """Once it is known who calls. Raises Problem 429, and LimiterUnavailable where orders cannot be counted."""
    kind = _class(request)
    if kind is None or kind in BY_ADDRESS:
        return
    try:
        limit = await _limit_of_plan(services, caller) if kind in BY_PLAN else None
        await _take(request, services, kind, _buckets(services, kind, caller, limit))
    except (Problem, LimiterUnavailable):
        if not await _is_kill(request, services):
            raise
        await _take(request, services, _C.KILL, _buckets(services, _C.KILL, caller))


def _class(request: Request) -> RouteClass | None:
    return class_of(_operation_id(request), request.method)


def _operation_id(request: Request) -> str | None:
    return getattr(request.scope.get("route"), "operation_id", None)


def _buckets(services: Services, kind: RouteClass, caller: Principal, limit: int | None = None) -> list[Bucket]:
    return of_caller(kind, services.rates[kind], caller.tenant_id, caller.actor, tenant_limit=limit)


async def _limit_of_plan(services: Services, caller: Principal) -> int | None:
    """Requests per minute; None: the platform's own limit, also where nobody can say."""
    try:
        return (await services.entitlements.of(caller.tenant_id)).entitlements.api_rate
    except StoreUnavailable:
        return None


async def _take(request: Request, services: Services, kind: RouteClass, buckets: Sequence[Bucket]) -> None:
    found = await services.limiter.take(kind, buckets)
    request.scope["vanta.headers"] = _fields(found) if found else {}
    spent = [one for one in found if not one.allowed]
    if not spent:
        return
    wait = max(1, math.ceil(max(one.retry_after_s for one in spent)))
    names = [one.bucket.name for one in spent]
    quota = spent[0].bucket.quota
    raise Problem(
        429,
        "rate-limited",
        f"{names[0]}: more than {quota.limit} requests in {quota.window_s} s. Try again in {wait} s.",
        headers={"Retry-After": str(wait)},
        violated_policies=names,
    )


def _fields(found: Sequence[Standing]) -> dict[str, str]:
    policies = [f'"{one.bucket.name}";q={one.bucket.quota.limit};w={one.bucket.quota.window_s}' for one in found]
    left = [f'"{one.bucket.name}";r={one.remaining};t={math.ceil(one.reset_s)}' for one in found]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


async def _is_kill(request: Request, services: Services) -> bool:
    """Looks into the body, which is read at this point only of requests that would be refused without it."""
    kills = _KILLS.get(_operation_id(request) or "")
    if kills is None:
        return False
    try:
        return kills(await read_json_object(request, services.max_body_bytes))
    except (Problem, InvalidInput):
        return False

"""What becomes of repeats: the table of the operations that change something, each with what it asks of a key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.schemas.common import problems

HEADER = "Idempotency-Key"
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEYED = frozenset({"POST", "PATCH"})  # PUT and DELETE are harmless to repeat: there the header may be left out


@dataclass(frozen=True, slots=True)
class Rule:
    """`asked`: whether it has to do with keys at all. `keyed`: a PUT or DELETE that needs one.

    `kept`: its answer is kept for a day; otherwise the route answers a repeat itself. `money`: without Redis, Postgres
    keeps the keys. `urgent`: a repeat is not turned away while the first is under way.
    """

    asked: bool = True
    keyed: bool = False
    kept: bool = True
    money: bool = False
    urgent: bool = False


_PLAIN = Rule()
_MONEY = Rule(money=True)
_KILL = Rule(urgent=True)
_SECRET = Rule(kept=False)
_TELLS_MORE = Rule(kept=False, money=True)
_NO_KEY = Rule(asked=False)
# The table: an operation that is not in it is taken for one whose answer holds a secret.
RULES: Mapping[str, Rule] = {
    "place_manager_order": _MONEY,
    "redrive_dead_letters": _TELLS_MORE,  # as long as verdicts are pending, a repeat hears of more of them
    "pull_halt": _KILL,
    "lift_halt": _KILL,
    "cancel_manager_order": _KILL,
    "start_overlay": _KILL,  # halts, too
    "update_follower": _KILL,  # the kill switch, too
    "create_follower": _SECRET,  # the signing secret, shown again for a day by `Once`
    "rotate_webhook_secret": _SECRET,
    "create_invitation": _SECRET,
    "create_api_key": _SECRET,
    "replace_credential": Rule(keyed=True),
    "create_vault": _PLAIN,
    "update_vault": _PLAIN,
    "set_nav": _PLAIN,
    "extend_overlay": _PLAIN,
    "end_overlay": _PLAIN,
    "purge_dead_letters": _PLAIN,
    "reconcile_vault": _PLAIN,
    "test_credential": _PLAIN,
    "test_webhook": _PLAIN,
    "begin_login": _NO_KEY,
    "exchange_token": _NO_KEY,
    "log_out": _NO_KEY,  # nothing that is asked twice could do harm, and nothing may keep a thief logged in
    "confirm_follower_order": _NO_KEY,  # its webhook-id and the ids of its fills see to repeats
    "receive_stripe_event": _NO_KEY,  # the event's own id sees to repeats
    "receive_btcpay_event": _NO_KEY,
    "check_out": _MONEY,
    "change_plan": _MONEY,
    "refund_invoice": _MONEY,
    "cancel_subscription": _MONEY,
    "keep_subscription": _MONEY,
    "pause_subscription": _MONEY,
    "resume_subscription": _MONEY,
    "open_portal": _SECRET,  # whoever has the address can change how is paid
    "change_role": _PLAIN,
    "remove_user": _PLAIN,
    "end_follower_access": _PLAIN,
    "revoke_invitation": _PLAIN,
    "create_service_account": _PLAIN,
    "disable_service_account": _PLAIN,
    "revoke_api_key": _PLAIN,
}
NOT_IN_TABLE = _SECRET


def rule_of(operation: str) -> Rule:
    return RULES.get(operation, NOT_IN_TABLE)


def needs_key(method: str, rule: Rule) -> bool:
    return rule.asked and (rule.keyed or method in _KEYED)


def document(contract: dict[str, Any]) -> None:
    """Add the header to every operation of an OpenAPI document that asks for it, and what it may be answered for it."""
    for methods in contract["paths"].values():
        for method, operation in methods.items():
            rule = rule_of(operation.get("operationId", ""))
            if method.upper() in CHANGING and operation.get("security") and rule.asked:
                _document(operation, required=needs_key(method.upper(), rule))


def _document(operation: dict[str, Any], *, required: bool) -> None:
    said = "1 to 255 visible ASCII characters, new for each request, the same for its repeat."
    parameter = {
        "name": HEADER,
        "in": "header",
        "required": required,
        "description": said if required else f"Optional, as the operation is harmless to repeat. {said}",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": r"^[\x21-\x7e]+$",
            "examples": ["0f7d3c55-b2f8-4c2f-9b6a-1f0f5d1c2b3a"],
        },
    }
    operation.setdefault("parameters", []).append(parameter)
    for status in (400, 409):
        operation["responses"].setdefault(str(status), problems(status)[status])

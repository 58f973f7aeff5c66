"""Codes in plain words, for explanations. A code that is not here is shown with blanks for underscores."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from domain.guards import GUARDS, GUARDS_VERSION
from domain.sizing import plain

# States of orders that may have been sent at some time.
SENDABLE = frozenset(
    {"sent", "retry", "ack", "unknown", "partially_filled", "confirmed", "rejected", "cancelled", "killed",
     "dead_letter"}
)  # fmt: skip

_REASONS = {
    "above_exit": "more would have left than the order was allotted",
    "at_cap": "your position is at its cap",
    "bad_environment": "your account is said to be neither for real nor for paper money",
    "bad_credentials": "your broker refused the account's key",
    "below_minimum": "your share is below the instrument's minimum",
    "calendar_unknown": "nobody knew whether its exchange was open",
    "close_only": "your subscription allows reductions only",
    "credential_broken": "your broker account's key does not work and has to be replaced",
    "depegged": "USDC was off its peg",
    "endpoint_disabled": "your endpoint is disabled",
    "expired": "the manager order's time is over",
    "forbidden": "your broker does not allow the account to do it",
    "halted": "your broker had halted it",
    "instrument_close_only": "its venue took reductions only",
    "instrument_halted": "its venue had halted it",
    "instrument_limit_only": "its venue took limit orders only",
    "instrument_post_only": "its venue took post-only orders only",
    "insufficient_funds": "your account had too little money for it",
    "invalid_order": "your broker does not take such an order",
    "kill_switch": "your kill switch was on",
    "leg_failed": "a step towards it failed",
    "manager_order_cancelled": "the manager cancelled the order",
    "market_closed": "its exchange had closed",
    "missing_cap": "mode capped needs a cap, and none is set",
    "missing_price": "no price was known",
    "no_funds": "your account had no free money for it",
    "no_route": "there is nowhere to send it",
    "not_entitled": "your subscription does not have what it would need",
    "nothing_held": "you held nothing that it could reduce",
    "nothing_to_hedge": "the order that it hedges came to nothing",
    "outside_session": "the vault's trading hours were over",
    "peg_unknown": "no present price of USDC was known",
    "redriven": "an operator sent it again",
    "rejected": "your broker rejected it",
    "retries_exhausted": "five attempts failed",
    "short_not_allowed": "it would have opened a short, which you do not allow",
    "unconfirmed": "the other side never confirmed the rest of it",
    "secret-unreadable": "what is stored of your account's key cannot be opened",
    "unknown_symbol": "your broker does not know the symbol",
    "unresolved": "nobody could find out whether it arrived",
    "vault_flatten": "everything was being sold, so that nothing new opened",
    "vault_halt_all": "trading was halted",
    "vault_halt_opens": "trading was halted for new positions",
    "vault_maintenance": "the vault was in maintenance",
}
_TOLD_IN_FULL = frozenset({"depegged", "insufficient_funds", "leg_failed", "no_route", "peg_unknown"})
_GUARDS = {
    "kill_switch": "kill switch off",
    "halt": "no halt",
    "maintenance": "no maintenance",
    "manager_order": "manager order not called off",
    "expiry": "not expired",
    "trading_session": "within trading hours",
    "instrument": "instrument not halted or restricted",
    "market_session": "exchange open",
    "endpoint": "endpoint enabled",
    "credential": "broker's key works",
}
_WORDS = {"api": "the API", "queue": "the OS's queue", "webhook": "webhook", "dead_letter": "a dead letter"}


def words(code: Any) -> str:
    return _WORDS.get(str(code), str(code).replace("_", " "))


def has_words(reason: str) -> bool:
    return reason in _REASONS


def reason_words(reason: str | None) -> str:
    return "no reason was given" if reason is None else _REASONS.get(reason, words(reason))


def stop_words(order: Mapping[str, Any]) -> str:
    """Why it is over: a dead letter for want of money in the amounts that were told then."""
    said = order.get("last_error") if order["state"] == "dead_letter" else None
    return str(said) if said and order["reason"] in _TOLD_IN_FULL else reason_words(order["reason"])


def guard_names(version: str | None) -> str:
    """What was asked right before a send, by name where this release's list is the one that was asked."""
    if version == GUARDS_VERSION:
        return ", ".join(_GUARDS[name] for name in GUARDS)
    return f"those of version {version or '1'}"


def side_words(side: str) -> str:
    return "bought" if side == "buy" else "sold"


def number(value: Any) -> str:
    """A decimal, whether it comes as one or as text, without trailing zeros."""
    return plain(Decimal(str(value)))

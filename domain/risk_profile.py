"""A vault's risk profile: limits of its own, which admission and the guards read; a word in place of a number would

wedge every order, so nothing gets in unchecked. Names that are not known here are kept for their owner and not read.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.calendars import outside_session
from domain.errors import InvalidInput
from domain.sessions import trading_hours

MAX_PER_MINUTE = 10_000
MAX_DUPLICATE_WINDOW_S = 3_600
MAX_HEDGE_RATIO = 10
_LIMITS = ("max_order_notional_usd", "max_order_qty", "price_collar_bps")
# The least and the most of each; a window of 0 seconds switches the check for duplicates off.
_COUNTS = {"max_orders_per_minute": (1, MAX_PER_MINUTE), "duplicate_window_s": (0, MAX_DUPLICATE_WINDOW_S)}


def check_risk_profile(profile: Mapping[str, Any]) -> None:
    """Raises InvalidInput naming the field."""
    if not isinstance(profile.get("allow_short", False), bool):
        raise InvalidInput("risk_profile.allow_short", "must be true or false")
    for name in _LIMITS:
        _check_limit(f"risk_profile.{name}", profile.get(name))
    for name, (least, most) in _COUNTS.items():
        _check_count(f"risk_profile.{name}", profile.get(name), least, most)
    trading_hours(profile)
    outside_session(profile)
    _check_hedge(profile.get("hedge"))


def count_of(profile: Mapping[str, Any], name: str) -> int | None:
    """One of the counts of a profile that was checked; None where it is not set."""
    value = profile.get(name)
    return None if value is None else int(value)


def check_positive(name: str, value: Decimal | None) -> None:
    """Raises InvalidInput unless it is None or a finite number above zero."""
    if value is not None and not (value.is_finite() and 0 < value < 10**18):
        raise InvalidInput(name, "must be a finite number above zero and below 10^18")


def _check_hedge(hedge: Any) -> None:
    """What a hedged persona's second leg trades, and how much of an order's value: {symbol, ratio}."""
    if hedge is None:
        return
    if not isinstance(hedge, Mapping) or not isinstance(hedge.get("symbol"), str):
        raise InvalidInput("risk_profile.hedge", "must be an object with symbol and ratio")
    if hedge.get("ratio") is None:
        raise InvalidInput("risk_profile.hedge.ratio", "is missing")
    _check_limit("risk_profile.hedge.ratio", hedge["ratio"])
    if Decimal(hedge["ratio"]) > MAX_HEDGE_RATIO:
        raise InvalidInput("risk_profile.hedge.ratio", f"must be at most {MAX_HEDGE_RATIO}")


def _check_limit(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidInput(name, "must be a decimal number, best written as a string")
    try:
        check_positive(name, Decimal(value))
    except InvalidOperation:
        raise InvalidInput(name, "must be a decimal number, best written as a string") from None


def _check_count(name: str, value: Any, least: int, most: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
        raise InvalidInput(name, f"must be a whole number from {least} to {most}")

"""The text of a price file: one JSON object, `{"AAPL": {"price": "201.25", "asof": "2026-01-31T20:59:58Z"}, …}`.

All or nothing: a file that somebody is still writing, or in which one entry is wrong, has no prices.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from domain.errors import InvalidInput
from domain.ports import PriceQuote

SOURCE = "file"
MAX_DIGITS = 28  # of a price, both sides of the point together; as of a manager order's
_FIELDS = frozenset({"price", "asof"})


def parse(text: str, source: str = SOURCE) -> dict[str, PriceQuote]:
    """Prices in USD by symbol, every digit kept. Raises InvalidInput naming the first entry at fault."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("prices", f"is not JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise InvalidInput("prices", 'must be an object such as {"AAPL": {"price": "201.25", "asof": "…Z"}}')
    return {symbol: _quote(symbol[:64], entry, source) for symbol, entry in found.items()}


def _quote(symbol: str, entry: Any, source: str) -> PriceQuote:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise InvalidInput(symbol, "must be an object of price and asof, and nothing else")
    return PriceQuote(_price(symbol, entry["price"]), _time(symbol, entry["asof"]), source)


def _price(symbol: str, value: Any) -> Decimal:
    try:
        price = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        price = None
    if price is None or not price.is_finite() or price <= 0:
        raise InvalidInput(f"{symbol}.price", "must be a finite number above zero, best written as a string")
    if len(price.as_tuple().digits) > MAX_DIGITS or not -MAX_DIGITS < price.adjusted() < MAX_DIGITS:
        raise InvalidInput(f"{symbol}.price", f"must have at most {MAX_DIGITS} digits")
    return price


def _time(symbol: str, value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(f"{symbol}.asof", "must be an RFC 3339 time such as 2026-01-31T12:00:00Z")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")

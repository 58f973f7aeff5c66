"""What Alpaca tells of an account: positions, money, lists of orders. No I/O.

A list that holds one thing which cannot be read is refused whole: reconciliation that misses a position or an order
would call it a drift.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from adapters.brokers.alpaca_values import our_symbol, read_moment, read_side
from adapters.brokers.alpaca_wire import read_number, read_order
from domain.ports import AccountOrder, VenueAccount, VenuePosition


def read_positions(items: Sequence[Any]) -> list[VenuePosition] | None:
    """None where one of them is not a position that we can trust."""
    found = [_position(item) for item in items]
    return None if None in found else [position for position in found if position is not None]


def read_account(body: dict[str, Any]) -> VenueAccount | None:
    """None where a number is missing. A margin account in debt has cash below zero."""
    try:
        return VenueAccount(_signed(body.get("equity")), _signed(body.get("cash")), _signed(body.get("buying_power")))
    except InvalidOperation:
        return None


def read_orders(items: Sequence[Any]) -> list[AccountOrder] | None:
    """None where one of them is not an order that we can trust."""
    found = [_account_order(item) for item in items]
    return None if None in found else [order for order in found if order is not None]


def timestamp(moment: datetime) -> str:
    """As `after` takes it: RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _position(item: Any) -> VenuePosition | None:
    if not isinstance(item, dict) or not isinstance(item.get("symbol"), str):
        return None
    try:
        qty = _signed(item.get("qty"))
        # The documents do not say whether a short's quantity carries a sign; `side` tells in either case.
        qty = -abs(qty) if item.get("side") == "short" else qty
        return VenuePosition(
            our_symbol(item["symbol"], item.get("asset_class")),
            qty,
            _maybe(item.get("avg_entry_price")),
            _maybe(item.get("current_price")),
        )
    except InvalidOperation:
        return None


def _account_order(item: Any) -> AccountOrder | None:
    if not isinstance(item, dict) or not isinstance(item.get("symbol"), str):
        return None
    order = read_order(item)
    side = read_side(item.get("side"))
    submitted = read_moment(item.get("submitted_at") or item.get("created_at"))
    if order is None or side is None or submitted is None:
        return None
    try:
        return AccountOrder(order, our_symbol(item["symbol"]), side, _maybe(item.get("qty")), submitted)
    except InvalidOperation:
        return None


def _signed(value: object) -> Decimal:
    number = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal("NaN")
    if not number.is_finite():
        raise InvalidOperation
    return number


def _maybe(value: object) -> Decimal | None:
    return None if value is None else read_number(value)

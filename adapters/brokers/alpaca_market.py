"""What Alpaca tells of its market: assets, quotes, executions; and what of an order it is known to refuse. No I/O.

A list that holds one thing which cannot be read is refused whole, as a fill that is missing would be money lost.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from decimal import Decimal, InvalidOperation
from typing import Any

from adapters.brokers.alpaca_values import is_pair, our_symbol, read_moment, read_side
from adapters.brokers.alpaca_wire import read_number
from domain.orders import TimeInForce
from domain.ports import ChildOrder
from domain.venues import Flag, VenueFill, VenueInstrument, VenueQuote

MAX_QTY_PLACES = 9
_FRACTION = Decimal("0.000000001")
# "Limit price >= $1.00: max 2 decimals; < $1.00: max 4" (the vendor's guide to orders, sub-penny increments).
_CENT, _SUB_PENNY = Decimal("0.01"), Decimal("0.0001")


def refusal(order: ChildOrder) -> str | None:
    """In words why the venue would refuse the order whatever the market does; None where that is not certain.

    Steps and minimums of single assets are not known here; `instruments` tells them.
    """
    if -_exponent(order.qty) > MAX_QTY_PLACES:
        return f"qty has more than {MAX_QTY_PLACES} decimal places"
    if is_pair(order.symbol):
        return None
    if _exponent(order.qty) < 0 and order.tif is not TimeInForce.DAY:
        return "fractional orders must be day orders"
    if order.limit_price is not None:
        step = _CENT if order.limit_price >= 1 else _SUB_PENNY
        if order.limit_price % step:
            return f"limit_price {order.limit_price} is no multiple of {step}"
    return None


def read_instrument(symbol: str, body: dict[str, Any]) -> VenueInstrument | None:
    """None where the body is not an asset that we can trust.

    Minimum amounts of money are told by refusals only and so are not here. An equity's price step is that of prices
    from 1 USD; below, the venue takes 0.0001 as well.
    """
    name, kind, fractionable = body.get("symbol"), body.get("class"), body.get("fractionable")
    if not isinstance(name, str) or kind not in {"us_equity", "crypto"} or not isinstance(fractionable, bool):
        return None
    trades = body.get("tradable") is True and body.get("status") == "active"
    try:
        return VenueInstrument(
            symbol=symbol,
            quote_currency=name.rpartition("/")[2] if kind == "crypto" and "/" in name else "USD",
            qty_step=_step(body, "min_trade_increment") or (_FRACTION if fractionable else Decimal(1)),
            price_step=_step(body, "price_increment") or (_CENT if kind == "us_equity" else None),
            min_qty=_step(body, "min_order_size"),
            # The vendor lends easy-to-borrow shares only.
            shortable=body.get("shortable") is True and body.get("easy_to_borrow") is True,
            flags=frozenset() if trades else frozenset({Flag.HALTED}),
        )
    except InvalidOperation:
        return None


def read_quotes(body: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, VenueQuote] | None:
    """By our symbols (`ours` is by the vendor's), of those that were asked for; None for an answer without quotes."""
    given = body.get("quotes")
    if not isinstance(given, dict):
        return None
    read = {ours[name]: _quote(ours[name], item) for name, item in given.items() if name in ours}
    return {symbol: quote for symbol, quote in read.items() if quote is not None}


def read_fills(items: Sequence[Any]) -> list[VenueFill] | None:
    """None where one of them is not an execution that we can trust."""
    found = [_fill(item) for item in items]
    return None if None in found else [fill for fill in found if fill is not None]


def _step(body: Mapping[str, Any], name: str) -> Decimal | None:
    """None where the vendor sets none. Raises InvalidOperation."""
    if body.get(name) is None:
        return None
    step = read_number(body[name])
    if step == 0:
        raise InvalidOperation
    return step


def _quote(symbol: str, item: Any) -> VenueQuote | None:
    """A price of zero is a side on which nobody stands. None for what we cannot trust."""
    if not isinstance(item, dict):
        return None
    asof = read_moment(item.get("t"))
    try:
        bid, ask = read_number(item.get("bp")), read_number(item.get("ap"))
    except InvalidOperation:
        return None
    return None if asof is None else VenueQuote(symbol, bid or None, ask or None, asof.astimezone(UTC))


def _fill(item: Any) -> VenueFill | None:
    """The vendor tells neither our id nor a fee with an execution."""
    if not isinstance(item, dict):
        return None
    texts = [item.get(name) for name in ("id", "order_id", "symbol")]
    side, at = read_side(item.get("side")), read_moment(item.get("transaction_time"))
    if not all(isinstance(text, str) and text for text in texts) or side is None or at is None:
        return None
    try:
        qty, price = read_number(item.get("qty")), read_number(item.get("price"))
    except InvalidOperation:
        return None
    fill_id, ref, symbol = map(str, texts)
    return VenueFill(fill_id, ref, "", our_symbol(symbol), side, qty, price, at.astimezone(UTC)) if qty else None


def _exponent(number: Decimal) -> int:
    return min(0, int(number.normalize().as_tuple().exponent))

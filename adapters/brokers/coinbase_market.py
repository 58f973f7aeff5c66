"""What Coinbase tells of products, prices and conversions. No I/O."""

from decimal import Decimal, DivisionByZero, InvalidOperation
from typing import Any

from adapters.brokers.coinbase_wire import read_moment, read_number
from domain.venues import Conversion, ConversionStatus, Flag, VenueInstrument, VenueQuote

# A product's flags in our words. In an auction the venue matches nothing and takes limit orders alone.
FLAGS: dict[str, Flag] = {
    "trading_disabled": Flag.HALTED,
    "is_disabled": Flag.HALTED,
    "view_only": Flag.HALTED,
    "cancel_only": Flag.CANCEL_ONLY,
    "limit_only": Flag.LIMIT_ONLY,
    "auction_mode": Flag.LIMIT_ONLY,
    "post_only": Flag.POST_ONLY,
}
CONVERSION_STATES: dict[str, ConversionStatus] = {
    "TRADE_STATUS_CREATED": ConversionStatus.QUOTED,
    "TRADE_STATUS_STARTED": ConversionStatus.PENDING,
    "TRADE_STATUS_COMPLETED": ConversionStatus.COMPLETED,
    "TRADE_STATUS_CANCELED": ConversionStatus.FAILED,
    "TRADE_STATUS_UNSPECIFIED": ConversionStatus.PENDING,
}


def read_product(body: dict[str, Any]) -> VenueInstrument | None:
    """None where it is not a product that we can trust."""
    symbol = body.get("product_id")
    if not isinstance(symbol, str) or not symbol:
        return None
    try:
        step = read_number(body.get("base_increment"))
        price_step = _some(body.get("price_increment") or body.get("quote_increment"))
        least, least_money = _some(body.get("base_min_size")), _some(body.get("quote_min_size"))
    except InvalidOperation:
        return None
    if not step:
        return None
    flags = {flag for name, flag in FLAGS.items() if body.get(name) is True}
    if body.get("status") not in {"online", "", None}:
        flags.add(Flag.HALTED)
    quote = str(body.get("quote_currency_id") or symbol.rpartition("-")[2])
    return VenueInstrument(symbol, quote, step, price_step, least, least_money, flags=frozenset(flags))


def read_quotes(body: dict[str, Any]) -> dict[str, VenueQuote] | None:
    """None where one of the price books is not one that we can trust."""
    books = body.get("pricebooks")
    if not isinstance(books, list):
        return None
    found: dict[str, VenueQuote] = {}
    try:
        for book in books:
            asof = read_moment(book["time"])
            if asof is None:
                return None
            quote = VenueQuote(str(book["product_id"]), _best(book.get("bids")), _best(book.get("asks")), asof)
            found[quote.symbol] = quote
    except (InvalidOperation, KeyError, TypeError, AttributeError):
        return None
    return found


def middle(quote: VenueQuote) -> Decimal | None:
    """One price of the two, or the one that there is."""
    sides = [side for side in (quote.bid, quote.ask) if side is not None]
    return sum(sides, Decimal(0)) / len(sides) if sides else None


def read_conversion(body: dict[str, Any], source: str, target: str, amount: Decimal) -> Conversion | None:
    """None where it is not a trade that we can trust.

    The documents do not say in which currency total and fee are, but both carry their currency's name; what is in the
    source's is changed at the trade's own rate, which is one where it tells none.
    """
    trade = body.get("trade")
    if not isinstance(trade, dict) or not isinstance(trade.get("id"), str) or not trade["id"]:
        return None
    try:
        rate = _rate(trade.get("exchange_rate"), source)
        fee = _in_target((trade.get("total_fee") or {}).get("amount") or {"value": "0"}, source, rate)
        told = trade.get("total") or {}
        given = told.get("currency") == target
        received = read_number(told.get("value")) if given else amount * rate - fee
    except (InvalidOperation, DivisionByZero, AttributeError):
        return None
    status = CONVERSION_STATES.get(str(trade.get("status")), ConversionStatus.PENDING)
    cancelled = trade.get("cancellation_reason") or {}
    reason = str(cancelled.get("message") or "") if isinstance(cancelled, dict) else ""
    return Conversion(trade["id"], source, target, amount, received, fee, status, reason[:500])


def _rate(said: Any, source: str) -> Decimal:
    """Target units for one of the source's."""
    rate = read_number((said or {}).get("value") or "1")
    return 1 / rate if (said or {}).get("currency") == source and rate != 1 else rate


def _in_target(money: dict[str, Any], source: str, rate: Decimal) -> Decimal:
    value = read_number(money.get("value"))
    return value * rate if money.get("currency") == source else value


def _some(value: object) -> Decimal | None:
    """Zero and nothing: the venue sets none."""
    if value in {None, ""}:
        return None
    return read_number(value) or None


def _best(levels: Any) -> Decimal | None:
    return read_number(levels[0]["price"]) if levels else None

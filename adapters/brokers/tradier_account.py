"""What Tradier tells of an account and of the market: positions, money, lists of orders, quotes. No I/O.

A list that holds one thing which cannot be read is refused whole: reconciliation that misses a position or an order
would call it a drift. Shapes are from docs.tradier.com (/docs/positions, /docs/balances, /docs/orders, /docs/quotes).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from adapters.brokers.tradier_wire import listed, order_ref, read_number, read_order, read_signed
from domain.orders import Side
from domain.ports import AccountOrder, VenueAccount, VenuePosition
from domain.venues import VenueFill, VenueInstrument, VenueQuote

# The vendor's sides of shares and options; what begins so changes a position in this direction.
_SIDES = (("buy", Side.BUY), ("sell", Side.SELL))
_TRADED = frozenset({"stock", "etf"})
_CENT, _SMALL = Decimal("0.01"), Decimal("0.0001")  # Regulation NMS, rule 612: below 1 USD, four places
# Where an account's type keeps what it may spend.
_BUYING_POWER = (("cash", "cash_available"), ("margin", "stock_buying_power"), ("pdt", "stock_buying_power"))
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """An order with what is known of its executions: the vendor tells no single ones, only their sum so far."""

    order: AccountOrder
    changed_at: datetime

    def fill(self) -> VenueFill | None:
        """Everything of it that has been executed as one fill; None while nothing has."""
        told = self.order.order
        if not told.filled_qty or told.avg_price is None:
            return None
        return VenueFill(
            told.ref, told.ref, told.client_order_id, self.order.symbol, self.order.side, told.filled_qty,
            told.avg_price, self.changed_at,
        )  # fmt: skip


def read_positions(body: Mapping[str, Any]) -> list[VenuePosition] | None:
    """None where one of them is not a position that we can trust. Shorts are negative; prices come with quotes."""
    items = None if "positions" not in body else listed(body["positions"], "position")
    return None if items is None else _all(items, _position)


def priced(positions: Iterable[VenuePosition], prices: Mapping[str, Decimal]) -> list[VenuePosition]:
    return [replace(position, price=prices.get(position.symbol)) for position in positions]


def read_account(body: Mapping[str, Any]) -> VenueAccount | None:
    """None where a number is missing. An account in debt has cash below zero."""
    told = body.get("balances")
    if not isinstance(told, dict):
        return None
    own = [(told[name], field) for name, field in _BUYING_POWER if told.get("account_type") == name and name in told]
    try:
        holder, field = own[0]
        return VenueAccount(
            read_signed(told.get("total_equity")), read_signed(told.get("total_cash")), read_signed(holder.get(field))
        )
    except (InvalidOperation, IndexError, AttributeError):
        return None


def read_orders(body: Mapping[str, Any]) -> list[ReadOrder] | None:
    """None where one of them is not an order that we can trust. An order of several legs is as many orders."""
    items = None if "orders" not in body else listed(body["orders"], "order")
    return None if items is None else _all(list(_legs(items)), _account_order)


def read_quotes(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The quotes of shares and funds as told; what the vendor does not know (`unmatched_symbols`) is left out."""
    if "quotes" not in body:
        return None
    items = listed(body["quotes"], "quote")
    if items is None or not all(isinstance(item, dict) and isinstance(item.get("symbol"), str) for item in items):
        return None
    return items


def last_prices(quotes: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """What each was last traded at, in USD; without those that never were."""
    found: dict[str, Decimal] = {}
    for quote in quotes:
        price = _price(quote.get("last"))
        if price is not None:
            found[str(quote["symbol"])] = price
    return found


def read_quote(item: Mapping[str, Any]) -> VenueQuote | None:
    """None without a time. Times are milliseconds since 1970."""
    times = [moment for name in ("bid_date", "ask_date", "trade_date") if (moment := _epoch(item.get(name)))]
    if not times:
        return None
    return VenueQuote(str(item["symbol"]), _price(item.get("bid")), _price(item.get("ask")), max(times))


def read_instrument(item: Mapping[str, Any]) -> VenueInstrument | None:
    """None for what is no share or fund.

    The vendor's quotes name neither halts nor what may be sold short (its easy-to-borrow list is one large answer that
    is not read here), so no flags are set and nothing is called shortable; a refused order tells.
    """
    if item.get("type") not in _TRADED:
        return None
    price = _price(item.get("last"))
    step = _SMALL if price is not None and price < 1 else _CENT
    return VenueInstrument(str(item["symbol"]), "USD", Decimal(1), price_step=step, min_qty=Decimal(1))


def _all(items: Sequence[Any], read: Callable[[Any], _T | None]) -> list[_T] | None:
    found = [one for item in items if (one := read(item)) is not None]
    return found if len(found) == len(items) else None


def _position(item: Any) -> VenuePosition | None:
    if not isinstance(item, dict) or not isinstance(item.get("symbol"), str):
        return None
    try:
        qty = read_signed(item.get("quantity"))
        cost = None if item.get("cost_basis") is None else read_signed(item["cost_basis"])
    except InvalidOperation:
        return None
    return VenuePosition(item["symbol"], qty, abs(cost / qty) if cost is not None and qty else None)


def _legs(items: Iterable[Any]) -> Iterator[Any]:
    """Each order, or in place of one with legs these, which lack the parent's tag and times."""
    for item in items:
        legs = listed(item, "leg") if isinstance(item, dict) and item else []
        if not legs:
            yield item
        for leg in legs or ():
            shared = {name: item.get(name) for name in ("create_date", "transaction_date", "tag")}
            yield {**shared, **leg} if isinstance(leg, dict) else None


def _account_order(item: Any) -> ReadOrder | None:
    order = read_order(item)
    if order is None:
        return None
    # An option's order names the underlying share as its symbol.
    symbol = item.get("option_symbol") or item.get("symbol")
    side = next((ours for word, ours in _SIDES if str(item.get("side")).startswith(word)), None)
    created = _moment(item.get("create_date"))
    if not isinstance(symbol, str) or side is None or created is None or order_ref(item) is None:
        return None
    try:
        qty = read_number(item.get("quantity"))
    except InvalidOperation:
        return None
    return ReadOrder(AccountOrder(order, symbol, side, qty, created), _moment(item.get("transaction_date")) or created)


def _price(value: object) -> Decimal | None:
    """Nobody bids or asks at zero: the vendor's way to say that there is none."""
    try:
        return read_number(value) or None
    except InvalidOperation:
        return None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _epoch(value: object) -> datetime | None:
    if not isinstance(value, int) or not 0 < value < 10_000_000_000_000:
        return None
    return datetime.fromtimestamp(value / 1_000, UTC)

"""What Coinbase tells of an account: wallets, lists of orders, fills. No I/O.

A list that holds one thing which cannot be read is refused whole: reconciliation that misses a wallet or an order would
call it a drift.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from adapters.brokers.coinbase_wire import read_moment, read_number, read_order
from domain.orders import Side
from domain.ports import AccountOrder, VenueAccount, VenuePosition
from domain.venues import VenueFill

# Pegged to a currency, and held to be spent: money, not positions.
STABLECOINS = frozenset({"USDC", "USDT", "DAI", "PYUSD", "GUSD", "USDS", "EURC"})
# What orders in USD can be paid with: the venue itself changes USDC into USD one for one.
_DOLLARS = frozenset({"USD", "USDC"})
_SIZES = Decimal(1).scaleb(-12)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wallet:
    """In units of `currency`: `available` may be spent, `hold` is reserved for open orders."""

    currency: str
    fiat: bool
    available: Decimal
    hold: Decimal

    @property
    def total(self) -> Decimal:
        return self.available + self.hold

    @property
    def is_position(self) -> bool:
        return self.total > 0 and not self.fiat and self.currency not in STABLECOINS

    @property
    def symbol(self) -> str:
        """The product that a holding of this currency is known by; `BTC-USDC` trades in the same book."""
        return f"{self.currency}-USD"


def read_wallets(items: Sequence[Any]) -> list[Wallet] | None:
    """One for each currency, whose wallets are added up; None where one is not a wallet that we can trust."""
    wallets = _all(items, _wallet)
    if wallets is None:
        return None
    found: dict[str, Wallet] = {}
    for wallet in wallets:
        had = found.get(wallet.currency, Wallet(wallet.currency, wallet.fiat, Decimal(0), Decimal(0)))
        found[wallet.currency] = Wallet(
            wallet.currency, wallet.fiat, had.available + wallet.available, had.hold + wallet.hold
        )
    return list(found.values())


def positions_of(wallets: Sequence[Wallet], prices: Mapping[str, Decimal]) -> list[VenuePosition]:
    return [VenuePosition(w.symbol, w.total, None, prices.get(w.symbol)) for w in wallets if w.is_position]


def account_of(wallets: Sequence[Wallet], prices: Mapping[str, Decimal]) -> VenueAccount:
    """In USD. What the venue has no USD price of (other fiat money, delisted coins) counts for nothing."""
    cash = sum((w.total for w in wallets if w.currency in _DOLLARS), Decimal(0))
    free = sum((w.available for w in wallets if w.currency in _DOLLARS), Decimal(0))
    rest = [w for w in wallets if w.currency not in _DOLLARS and not w.fiat]
    held = sum((w.total * prices[w.symbol] for w in rest if w.symbol in prices), Decimal(0))
    return VenueAccount(equity=cash + held, cash=cash, buying_power=free)


def priced_symbols(wallets: Sequence[Wallet]) -> list[str]:
    """The products whose prices an account's value takes."""
    return [w.symbol for w in wallets if w.total > 0 and not w.fiat and w.currency not in _DOLLARS]


def read_orders(items: Sequence[Any]) -> list[AccountOrder] | None:
    """None where one of them is not an order that we can trust."""
    return _all(items, _account_order)


def read_fills(items: Sequence[Any]) -> list[VenueFill] | None:
    """None where one of them is not a fill that we can trust.

    Reversals and corrections are no executions and are left out; what they move shows in the wallets.
    """
    plain = [item for item in items if not isinstance(item, dict) or item.get("trade_type", "FILL") == "FILL"]
    return _all(plain, _fill)


def _all(items: Sequence[Any], read: Callable[[dict[str, Any]], _T]) -> list[_T] | None:
    try:
        return [read(item) for item in items]
    except (InvalidOperation, KeyError, TypeError, ValueError, AttributeError):
        return None


def _wallet(item: dict[str, Any]) -> Wallet:
    fiat = "FIAT" in str(item.get("type"))
    hold = item.get("hold") or {"value": "0"}
    available = read_number(item["available_balance"]["value"])
    return Wallet(_text(item, "currency"), fiat, available, read_number(hold["value"]))


def _account_order(item: dict[str, Any]) -> AccountOrder:
    order, submitted = read_order(item), read_moment(item.get("created_time"))
    if order is None or submitted is None:
        raise ValueError("no order")
    return AccountOrder(order, _text(item, "product_id"), Side(item["side"].lower()), _base_size(item), submitted)


def _base_size(item: dict[str, Any]) -> Decimal | None:
    """Whatever the order's form; None where it was given as an amount of money."""
    forms = [form for form in (item.get("order_configuration") or {}).values() if isinstance(form, dict)]
    size = next((form["base_size"] for form in forms if form.get("base_size")), None)
    return None if size is None else read_number(size)


def _fill(item: dict[str, Any]) -> VenueFill:
    at = read_moment(item.get("trade_time"))
    size, price = read_number(item["size"]), read_number(item["price"])
    if at is None:
        raise ValueError("no fill")
    return VenueFill(
        fill_id=_text(item, "entry_id"),
        ref=_text(item, "order_id"),
        client_order_id="",  # not told here
        symbol=_text(item, "product_id"),
        side=Side(item["side"].lower()),
        # Of an order by an amount of money the size is in money, too.
        qty=(size / price).quantize(_SIZES).normalize() if item.get("size_in_quote") is True else size,
        price=price,
        at=at,
        fee=None if item.get("commission") in {None, ""} else read_number(item["commission"]),
    )


def _text(item: dict[str, Any], name: str) -> str:
    value = item[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {name}")
    return value

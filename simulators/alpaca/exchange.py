"""Accounts, assets and the order book of the simulated broker; knows nothing of HTTP.

Matching is simple on purpose: one price per symbol, unlimited liquidity, an always open market. Time moves only
through `clock`, read when someone asks, so a test can own it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from simulators.alpaca.behaviour import Behaviour
from simulators.alpaca.errors import INTERNAL, RefusalError, invalid, not_found, unprocessable
from simulators.alpaca.ledger import Account, Position
from simulators.alpaca.orders import Order, OrderRequest
from simulators.alpaca.requests import Asset

MAX_ACCOUNTS = 10_000
MAX_SCRIPTED = 10_000
DEFAULT_PRICES = {"AAPL": "185.25", "MSFT": "410.10", "NVDA": "121.40", "SPY": "512.75", "TSLA": "242.00"}


@dataclass(slots=True)
class Tally:
    """What happened under one client order id of one account."""

    behaviour: Behaviour
    submissions: int = 0
    duplicates: int = 0


class Exchange:
    """`dedupes=False` takes the vendor's protection away, so that a test sees who really sends twice.

    At `max_orders` the oldest finished orders are forgotten together with their client order ids.
    """

    def __init__(self, clock: Callable[[], float], *, dedupes: bool = True, max_orders: int = 100_000) -> None:
        self.clock = clock
        self.accounts: dict[str, Account] = {}
        self.assets = {s: Asset(s, Decimal(p)) for s, p in DEFAULT_PRICES.items()}
        self.orders: dict[str, tuple[Account, Order]] = {}
        self.default_behaviour = Behaviour()
        self.symbol_behaviours: dict[str, Behaviour] = {}
        self.next_behaviours: deque[tuple[str | None, Behaviour]] = deque(maxlen=MAX_SCRIPTED)
        self._dedupes = dedupes
        self._max_orders = max_orders
        self._by_client_id: dict[tuple[str, str], list[str]] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}

    @property
    def prices(self) -> dict[str, Decimal]:
        return {asset.symbol: asset.price for asset in self.assets.values()}

    def add_account(self, account: Account, holdings: dict[str, Decimal]) -> None:
        """Add or replace; `holdings` are entered at the present price. Raises ValueError."""
        if account.key_id not in self.accounts and len(self.accounts) >= MAX_ACCOUNTS:
            raise ValueError(f"at most {MAX_ACCOUNTS} accounts")
        if unknown := holdings.keys() - self.assets.keys():
            raise ValueError(f"no price for {sorted(unknown)}")
        for symbol, qty in holdings.items():
            account.positions[symbol] = Position(qty, self.assets[symbol].price)
        self.accounts[account.key_id] = account

    def set_asset(self, asset: Asset) -> None:
        """Executions that were due by now still happen at the old price."""
        for account in self.accounts.values():
            self.settle(account)
        if asset.symbol not in self.assets and len(self.assets) >= MAX_SCRIPTED:
            raise ValueError(f"at most {MAX_SCRIPTED} assets")
        self.assets[asset.symbol] = asset

    def tally(self, account: Account, client_order_id: str, symbol: object) -> Tally:
        """The record of this id; its behaviour is chosen at first sight and then stays."""
        key = (account.key_id, client_order_id)
        if key not in self._tallies:
            # An id with a booked order leaves together with it; only ids that were never booked are dropped here.
            while len(self._tallies) >= 2 * self._max_orders:
                self._tallies.pop(next(k for k in self._tallies if k not in self._by_client_id))
            self._tallies[key] = Tally(self._choose(account, symbol))
        return self._tallies[key]

    def submit(self, account: Account, request: OrderRequest, tally: Tally) -> Order:
        """Book the order, or raise the vendor's refusal; a client order id is spent for good."""
        self.settle(account)
        key = (account.key_id, request.client_order_id)
        if self._by_client_id.get(key):
            tally.duplicates += 1
            if self._dedupes:
                raise invalid("client_order_id must be unique")
        price = self.assets[request.symbol].price
        account.check_funds(request, request.limit_price or price, self.prices)
        self._make_room()
        life = tally.behaviour.life
        order = Order(request, life, self.clock() + life.delay_ms / 1_000, request.limit_price or price)
        self.orders[order.id] = (account, order)
        self._by_client_id.setdefault(key, []).append(order.id)
        account.open_orders[order.id] = order
        if life.ending == "rejected" and not life.delay_ms:
            self.settle(account)  # the one ending that the vendor's answer to the POST already shows
        return order

    def find(self, account: Account, order_id: str) -> Order:
        self.settle(account)
        owner, order = self.orders.get(order_id, (None, None))
        if order is None or owner is not account:
            raise not_found(f"order not found for {order_id}")
        return order

    def find_by_client_id(self, account: Account, client_order_id: str) -> Order:
        ids = self._by_client_id.get((account.key_id, client_order_id))
        if not ids:
            raise not_found(f"order not found for {client_order_id}")
        return self.find(account, ids[0])

    def cancel(self, account: Account, order_id: str) -> None:
        order = self.find(account, order_id)
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        order.move("canceled")
        account.open_orders.pop(order.id, None)

    def orders_of(self, account: Account) -> list[Order]:
        """Oldest first."""
        self.settle(account)
        return [order for owner, order in self.orders.values() if owner is account]

    def settle(self, account: Account) -> None:
        """Play everything that is due on this account's open orders."""
        now = self.clock()
        for order in list(account.open_orders.values()):
            price = self.assets[order.request.symbol].price
            if qty := order.play(now, price):
                account.apply_fill(order, qty, price)
            if not order.is_open:
                del account.open_orders[order.id]

    def tallies(self) -> Iterator[tuple[str, str, Tally, list[Order]]]:
        """(account key, client order id, tally, booked orders), oldest first."""
        for account in self.accounts.values():
            self.settle(account)
        for (key_id, client_id), tally in self._tallies.items():
            booked = [self.orders[i][1] for i in self._by_client_id.get((key_id, client_id), [])]
            yield key_id, client_id, tally, booked

    def _choose(self, account: Account, symbol: object) -> Behaviour:
        for position, (key_id, behaviour) in enumerate(self.next_behaviours):
            if key_id in {None, account.key_id}:
                del self.next_behaviours[position]
                return behaviour
        by_symbol = self.symbol_behaviours.get(symbol) if isinstance(symbol, str) else None
        return account.behaviour or by_symbol or self.default_behaviour

    def _make_room(self) -> None:
        while len(self.orders) >= self._max_orders:
            oldest = next(((i, a, o) for i, (a, o) in self.orders.items() if not o.is_open), None)
            if oldest is None:
                raise RefusalError(500, INTERNAL, "the simulator holds too many open orders")
            order_id, account, order = oldest
            key = (account.key_id, order.request.client_order_id)
            del self.orders[order_id]
            for forgotten in self._by_client_id.pop(key, []):
                self.orders.pop(forgotten, None)
            self._tallies.pop(key, None)

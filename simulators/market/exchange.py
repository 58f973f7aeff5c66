"""Accounts, instruments and the order book of a simulated venue; knows nothing of HTTP.

Matching is simple on purpose: one price per symbol, unlimited liquidity, an always open market. Time moves only
through `clock`, read when someone asks, so a test can own it.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from simulators.market.behaviour import Behaviour
from simulators.market.feed import Feed, Subscription
from simulators.market.instruments import Instrument
from simulators.market.ledger import Account, Position, price_of
from simulators.market.orders import Order, OrderRequest
from simulators.market.refusals import Reason, Refusal

MAX_ACCOUNTS = 10_000
MAX_SCRIPTED = 10_000


class Duplicates(StrEnum):
    """What a second order under a spent client order id becomes."""

    REFUSE = "refuse"
    BOOK = "book"  # the venue promises nothing, and a test sees who really sends twice
    RETURN = "return"  # the first order is the answer


@dataclass(slots=True)
class Tally:
    """What happened under one client order id of one account."""

    behaviour: Behaviour
    submissions: int = 0
    duplicates: int = 0


class Exchange:
    """At `max_orders` the oldest finished orders are forgotten together with their client order ids.

    `fee_rate` is a share of each execution's value; `new_id` makes the venue's order ids.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        instruments: Iterable[Instrument],
        *,
        duplicates: Duplicates = Duplicates.REFUSE,
        fee_rate: Decimal = Decimal(0),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        max_orders: int = 100_000,
    ) -> None:
        self.clock = clock
        self.accounts: dict[str, Account] = {}
        self.instruments = {i.symbol: i for i in instruments}
        self.orders: dict[str, tuple[Account, Order]] = {}
        self.feed = Feed()
        self.default_behaviour = Behaviour()
        self.symbol_behaviours: dict[str, Behaviour] = {}
        self.next_behaviours: deque[tuple[str | None, Behaviour]] = deque(maxlen=MAX_SCRIPTED)
        self.fee_rate = fee_rate
        self._duplicates = duplicates
        self._new_id = new_id
        self._max_orders = max_orders
        self._by_client_id: dict[tuple[str, str], list[str]] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}

    @property
    def prices(self) -> dict[str, Decimal]:
        return {i.symbol: i.price for i in self.instruments.values()}

    def add_account(self, account: Account, holdings: Mapping[str, Decimal]) -> None:
        """Add or replace; `holdings` are entered at the present price. Raises ValueError."""
        if account.key_id not in self.accounts and len(self.accounts) >= MAX_ACCOUNTS:
            raise ValueError(f"at most {MAX_ACCOUNTS} accounts")
        for held_as, qty in holdings.items():
            account.positions[held_as] = Position(qty, price_of(held_as, self.instruments))
        self.accounts[account.key_id] = account

    def set_instrument(self, instrument: Instrument) -> None:
        """Executions that were due by now still happen at the old price."""
        for account in self.accounts.values():
            self.settle(account)
        if instrument.symbol not in self.instruments and len(self.instruments) >= MAX_SCRIPTED:
            raise ValueError(f"at most {MAX_SCRIPTED} instruments")
        self.instruments[instrument.symbol] = instrument

    def instrument(self, symbol: str) -> Instrument:
        """Raises Refusal where there is none."""
        found = self.instruments.get(symbol)
        if found is None:
            raise Refusal(Reason.UNKNOWN_SYMBOL, f'"{symbol}" not found', symbol=symbol)
        return found

    def tally(self, account: Account, client_order_id: str, symbol: object) -> Tally:
        """The record of this id; its behaviour is chosen at first sight and then stays."""
        key = (account.key_id, client_order_id)
        if not client_order_id:
            return Tally(self._choose(account, symbol))
        if key not in self._tallies:
            # An id with a booked order leaves together with it; only ids that were never booked are dropped here.
            while len(self._tallies) >= 2 * self._max_orders:
                self._tallies.pop(next(k for k in self._tallies if k not in self._by_client_id))
            self._tallies[key] = Tally(self._choose(account, symbol))
        return self._tallies[key]

    def submit(self, account: Account, request: OrderRequest, tally: Tally) -> Order:
        """Book the order, or raise the Refusal; a client order id is spent for good."""
        self.settle(account)
        if known := self._by_client_id.get((account.key_id, request.client_order_id)):
            tally.duplicates += 1
            if self._duplicates is Duplicates.REFUSE:
                raise Refusal(Reason.DUPLICATE_ID, "client_order_id must be unique")
            if self._duplicates is Duplicates.RETURN:
                return self.orders[known[0]][1]
        price = self._check(account, request)
        self._make_room()
        life = tally.behaviour.life
        due = self.clock() + life.delay_ms / 1_000
        order = Order(request, life, due, request.limit_price or price, self.fee_rate, self._new_id())
        self._remember(account, order)
        if life.ending == "rejected" and not life.delay_ms:
            self.settle(account)  # the one ending that the vendor's answer to the POST already shows
        return order

    def preview(self, account: Account, request: OrderRequest) -> None:
        """Everything that a submission checks; books nothing. Raises Refusal."""
        self.settle(account)
        self._check(account, request)

    def find(self, account: Account, order_id: str) -> Order:
        self.settle(account)
        order = account.orders.get(order_id)
        if order is None:
            raise Refusal(Reason.NOT_FOUND, f"order not found for {order_id}")
        return order

    def find_by_client_id(self, account: Account, client_order_id: str) -> Order:
        ids = self._by_client_id.get((account.key_id, client_order_id))
        if not ids:
            raise Refusal(Reason.NOT_FOUND, f"order not found for {client_order_id}")
        return self.find(account, ids[0])

    def cancel(self, account: Account, order_id: str) -> Order:
        """Ask for it; the order's life says when it takes effect and what is executed until then."""
        order = self.find(account, order_id)
        if not order.is_open:
            raise Refusal(Reason.NOT_OPEN, f'order is already in "{order.status}" state', state=order.status)
        states = len(order.history)
        order.ask_cancel(self.clock())
        self.feed.tell(account.key_id, order, states, len(order.executions))
        self.settle(account)
        return order

    def orders_of(self, account: Account) -> list[Order]:
        """Oldest first."""
        self.settle(account)
        return list(account.orders.values())

    def listen(self, account: Account) -> Subscription:
        """What happens to the account's orders from now on."""
        self.settle(account)
        return self.feed.listen(account.key_id)

    def settle(self, account: Account) -> None:
        """Play everything that is due on this account's open orders."""
        now = self.clock()
        for order in list(account.open_orders.values()):
            instrument = self.instruments[order.request.symbol]
            states, executions = len(order.history), len(order.executions)
            for execution in order.play(now, instrument.price):
                account.apply(order, execution, instrument)
            if not order.is_open:
                del account.open_orders[order.id]
            self.feed.tell(account.key_id, order, states, executions)

    def settle_listened(self) -> None:
        """Play what is due where somebody listens, as nobody else may ask."""
        for key_id in self.feed.listened:
            if key_id in self.accounts:
                self.settle(self.accounts[key_id])

    def tallies(self) -> Iterator[tuple[str, str, Tally, list[Order]]]:
        """(account key, client order id, tally, booked orders), oldest first."""
        for account in self.accounts.values():
            self.settle(account)
        for (key_id, client_id), tally in self._tallies.items():
            booked = [self.orders[i][1] for i in self._by_client_id.get((key_id, client_id), [])]
            yield key_id, client_id, tally, booked

    def _check(self, account: Account, request: OrderRequest) -> Decimal:
        """The present price of what is asked for. Raises Refusal."""
        instrument = self.instrument(request.symbol)
        instrument.check(request)
        unit_cost = (request.limit_price or instrument.price) * (1 + self.fee_rate)
        account.check_funds(request, unit_cost, self.instruments)
        return instrument.price

    def _remember(self, account: Account, order: Order) -> None:
        self.orders[order.id] = (account, order)
        account.orders[order.id] = account.open_orders[order.id] = order
        if order.request.client_order_id:
            key = (account.key_id, order.request.client_order_id)
            self._by_client_id.setdefault(key, []).append(order.id)
        self.feed.tell(account.key_id, order, 0, 0)

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
                raise Refusal(Reason.BROKEN, "the simulator holds too many open orders")
            order_id, account, order = oldest
            key = (account.key_id, order.request.client_order_id)
            for forgotten in {order_id, *self._by_client_id.pop(key, [])}:
                self.orders.pop(forgotten, None)
                account.orders.pop(forgotten, None)
                account.open_orders.pop(forgotten, None)
            self._tallies.pop(key, None)

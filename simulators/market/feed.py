"""What happens to orders, told as it happens: the vendors' streams render it, and lose what they are told to lose."""

import asyncio
import copy
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from simulators.market.orders import Execution, Order, State

MAX_WAITING = 10_000
MAX_LISTENERS = 10_000


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """`order` is a copy as it was then; `execution` is set on fills. `number` counts events of the whole venue."""

    number: int
    account: str
    state: State
    order: Order
    execution: Execution | None = None
    at_ns: int = field(default_factory=time.time_ns)


class Subscription:
    """`async for event in subscription`; ends when the venue closes it, also where nobody takes what waits."""

    def __init__(self, feed: "Feed", account: str) -> None:
        self._feed = feed
        self._waiting: asyncio.Queue[OrderEvent | None] = asyncio.Queue(MAX_WAITING)
        self._ended = False
        self.account = account

    def put(self, event: OrderEvent) -> None:
        if self._waiting.qsize() >= MAX_WAITING - 1:
            self.end()
        if not self._ended:
            self._waiting.put_nowait(event)

    def end(self) -> None:
        """What was put before is still given out."""
        if not self._ended:
            self._ended = True
            self._waiting.put_nowait(None)
            self._feed.forget(self)

    def __aiter__(self) -> AsyncIterator[OrderEvent]:
        return self

    async def __anext__(self) -> OrderEvent:
        event = await self._waiting.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Feed:
    """Who listens to which account. `drop` and `close` are the faults of streams."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Subscription]] = {}
        self._numbers = itertools.count(1)
        self._to_drop: dict[str | None, int] = {}
        self.dropped = 0

    def listen(self, account: str) -> Subscription:
        """Raises ValueError where too many listen."""
        if sum(map(len, self._listeners.values())) >= MAX_LISTENERS:
            raise ValueError(f"at most {MAX_LISTENERS} listeners")
        subscription = Subscription(self, account)
        self._listeners.setdefault(account, []).append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        left = [s for s in self._listeners.get(subscription.account, []) if s is not subscription]
        if left:
            self._listeners[subscription.account] = left
        else:
            self._listeners.pop(subscription.account, None)

    @property
    def listened(self) -> list[str]:
        """The accounts that somebody listens to."""
        return list(self._listeners)

    def drop(self, count: int, account: str | None = None) -> None:
        """The next `count` events (of an account) that somebody would have heard are lost."""
        self._to_drop[account] = self._to_drop.get(account, 0) + count

    def close(self, account: str | None = None) -> int:
        """End the connections that there are (of an account); how many."""
        there = [s for a, all_of in self._listeners.items() if account in {None, a} for s in all_of]
        for subscription in there:
            subscription.end()
        return len(there)

    def tell(self, account: str, order: Order, since_state: int, since_execution: int) -> None:
        """Everything that happened to an order since it had so many states and executions in its history."""
        if account not in self._listeners:
            return
        states = order.history[since_state:]
        for state in states:
            if state in {State.ACCEPTED, State.NEW, State.PENDING_CANCEL}:
                self._put(account, state, _as_it_was(order, state, since_execution))
        for number, execution in enumerate(order.executions[since_execution:], since_execution + 1):
            full = execution.filled_qty == order.request.qty
            state = State.FILLED if full else State.PARTIALLY_FILLED
            self._put(account, state, _as_it_was(order, state, number), execution)
        for state in states:
            if state in {State.CANCELED, State.EXPIRED, State.REJECTED}:
                self._put(account, state, copy.copy(order))

    def _put(self, account: str, state: State, order: Order, execution: Execution | None = None) -> None:
        event = OrderEvent(next(self._numbers), account, state, order, execution)
        for key in (account, None):
            if self._to_drop.get(key):
                self._to_drop[key] -= 1
                self.dropped += 1
                return
        for subscription in list(self._listeners.get(account, [])):
            subscription.put(event)


def _as_it_was(order: Order, state: State, executions: int) -> Order:
    """A copy in a state that it had after so many executions."""
    then = copy.copy(order)
    then.status, then.executions = state, order.executions[:executions]
    then.cost = sum((e.qty * e.price for e in then.executions), Decimal(0))
    then.fees = sum((e.fee for e in then.executions), Decimal(0))
    then.filled_qty = then.executions[-1].filled_qty if then.executions else Decimal(0)
    then.ended_ns = order.ended_ns if state is State.FILLED else None
    return then

"""The neutral feed of order events: what is told, what is lost on purpose, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from simulators.alpaca import AlpacaSimulator, Behaviour, Life
from simulators.market.exchange import Exchange
from simulators.market.feed import OrderEvent, Subscription
from simulators.market.ledger import Account
from simulators.market.orders import OrderRequest


class Desk:
    """Places orders without a network; time moves by hand."""

    def __init__(self, simulator: AlpacaSimulator, times: list[float]) -> None:
        self.simulator = simulator
        self.times = times

    @property
    def exchange(self) -> Exchange:
        return self.simulator.exchange

    @property
    def account(self) -> Account:
        return self.exchange.accounts["AK1"]

    def buy(self, name: str, life: Life, qty: int = 10) -> str:
        request = OrderRequest(name, "AAPL", "buy", "market", "day", Decimal(qty))
        self.simulator.script(Behaviour(life=life), count=1)
        return self.exchange.submit(self.account, request, self.exchange.tally(self.account, name, "AAPL")).id


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    times = [0.0]
    async with AlpacaSimulator(clock=lambda: times[0]) as simulator:
        simulator.add_account("AK1", "s1")
        yield Desk(simulator, times)


async def heard(subscription: Subscription, count: int) -> list[OrderEvent]:
    async with asyncio.timeout(60):
        return [await anext(subscription) for _ in range(count)]


async def test_every_step_is_told_once_with_the_order_as_it_was(desk: Desk):
    with desk.exchange.listen(desk.account) as events:
        desk.buy("FO-1", Life(steps=2, interval_ms=1_000))
        first = await heard(events, 3)  # nobody asks: what is due happens by itself
        desk.times[0] = 1.0
        told = first + await heard(events, 1)
    assert [(e.state.value, int(e.order.filled_qty)) for e in told] == [
        ("accepted", 0),
        ("new", 0),
        ("partially_filled", 5),
        ("filled", 10),
    ]
    assert [e.execution.qty for e in told if e.execution] == [5, 5]
    assert [e.order.status for e in told] == [e.state for e in told]
    assert [e.number for e in told] == [1, 2, 3, 4]


async def test_an_expiry_after_a_fill_and_a_late_cancel_are_told_in_order(desk: Desk):
    with desk.exchange.listen(desk.account) as events:
        desk.buy("FO-1", Life(ending="expired", steps=2, fill_steps=1))
        assert [e.state for e in await heard(events, 4)] == ["accepted", "new", "partially_filled", "expired"]
        ref = desk.buy("FO-2", Life(ending="stuck", steps=2, cancel_delay_ms=1_000, late_steps=1))
        await heard(events, 2)
        desk.exchange.cancel(desk.account, ref)
        desk.times[0] = 1.0
        told = await heard(events, 3)
    assert [(e.state.value, int(e.order.filled_qty)) for e in told] == [
        ("pending_cancel", 0),
        ("partially_filled", 5),
        ("canceled", 5),
    ]


async def test_dropped_events_are_lost_and_the_next_ones_are_told(desk: Desk):
    with desk.exchange.listen(desk.account) as events:
        desk.simulator.lose_events(2, "AK1")
        desk.buy("FO-1", Life())
        [told] = await heard(events, 1)
    assert (told.state, desk.exchange.feed.dropped) == ("filled", 2)


async def test_a_closed_stream_ends_after_what_was_told_before(desk: Desk):
    events = desk.exchange.listen(desk.account)
    desk.buy("FO-1", Life())
    desk.exchange.settle(desk.account)
    desk.simulator.end_streams()
    desk.buy("FO-2", Life())
    assert [e.order.request.client_order_id async for e in events] == ["FO-1"] * 3
    assert desk.exchange.feed.listened == []


async def test_only_the_accounts_own_orders_are_told(desk: Desk):
    desk.simulator.add_account("AK2", "s2")
    with desk.exchange.listen(desk.exchange.accounts["AK2"]) as events:
        desk.buy("FO-1", Life())
        desk.exchange.settle(desk.account)
    assert [e async for e in events] == []

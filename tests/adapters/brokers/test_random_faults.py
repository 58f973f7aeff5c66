"""Hundreds of seeded runs a venue of submit, look up, cancel and re-send under every fault, against what it booked.

A run fails where an order that should exist is there twice or not at all, where one is there that should not be, where
fills do not add up, or where the state that was reached is not the venue's. Each fault is met at least 5 times;
`make soak` makes 2,000 runs, and meets each 50 times.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.ports import BrokerCredentials, VenueOrder, VenueStatus
from domain.venues import Capabilities
from simulators.market import FaultKind
from simulators.market.orders import State
from tests.adapters.brokers.fates import READ_FAULTS, Fate, Orchestrator, insist, submit_faults
from tests.adapters.brokers.harness import OPENERS, open_alpaca
from tests.adapters.brokers.venue import HELD, PRICE, Venue

RUNS = int(os.environ.get("VANTA_FAULT_RUNS", "600"))
LANES = 12  # venues of their own, with a clock each: in a lane nobody else moves it, and one order follows the other
RUNS_PER_ACCOUNT = 20  # venues that cannot be asked for an id list the account's orders: a long list tests nothing more
SEED = 20_240_607
AT_LEAST = 50 if RUNS >= 2_000 else 5  # in few runs some are met by chance less often than others
TRUE_STATUS = {
    State.FILLED: VenueStatus.FILLED,
    State.CANCELED: VenueStatus.CANCELLED,
    State.EXPIRED: VenueStatus.EXPIRED,
    State.REJECTED: VenueStatus.REJECTED,
}
Lived = Mapping[str, VenueOrder | None]
Played = Mapping[tuple[str, FaultKind], int]


async def _live(venue: Venue, credentials: BrokerCredentials, fates: Sequence[Fate], *, naive: bool = False) -> Lived:
    """What became of every order of an account, by its id."""
    lived = {}
    for fate in fates:
        fate.script(venue, credentials)
        lived[fate.client_order_id] = await Orchestrator(venue, credentials, naive=naive).live_through(fate)
        venue.simulator.stop_failing()  # a fault that nobody met is not the next order's
    return lived


async def _accounts(venue: Venue, numbers: range) -> AsyncIterator[tuple[BrokerCredentials, list[Fate]]]:
    """An account for every few orders."""
    venue.simulator.set_instrument(venue.second_symbol, PRICE, halted=True)
    for first in numbers[::RUNS_PER_ACCOUNT]:
        mine = range(first, min(first + RUNS_PER_ACCOUNT, numbers.stop))
        fates = [Fate.draw(SEED + number, venue.broker.capabilities) for number in mine]
        yield venue.enrol(f"AK-{first}"), fates


async def _check_account(venue: Venue, credentials: BrokerCredentials, fates: Sequence[Fate], lived: Lived) -> None:
    """Every order is there once or not at all, in the state that was reached; fills add up to orders and holding."""
    filled = {fate.client_order_id: Decimal(0) for fate in fates}
    bought = Decimal(sum(fate.by_hand for fate in fates))
    refs = {}
    for fate in fates:
        there, reached = venue.truth(credentials, fate.client_order_id), lived[fate.client_order_id]
        assert len(there) == (fate.refusal is None), (fate, there)
        if not there:
            assert reached is None, fate
            continue
        [order] = there
        assert reached is not None, fate
        assert reached.ref == order.id, fate
        assert (reached.status, reached.filled_qty) == (TRUE_STATUS[order.status], order.filled_qty), fate
        assert reached.avg_price == order.average_price, fate
        refs[order.id] = fate.client_order_id
        bought += order.filled_qty
    since = datetime.now(UTC) - timedelta(hours=1)
    for fill in await insist(venue, lambda: venue.broker.fills_since(credentials, since)):
        if fill.ref in refs:
            filled[refs[fill.ref]] += fill.qty
    assert filled == {name: order.filled_qty if order else 0 for name, order in lived.items() if name in filled}
    positions = await insist(venue, lambda: venue.broker.positions(credentials))
    [held] = [p.qty for p in positions if p.symbol == venue.symbol]
    assert held == HELD + bought


@pytest.mark.timeout(900)  # 40 s of work; on a machine with other work the waits for real time-outs grow with it
@pytest.mark.parametrize("name", OPENERS)
async def test_every_order_is_there_once_or_not_at_all_and_in_the_state_that_was_reached(name: str):
    async def lane(numbers: range) -> tuple[Capabilities, Played]:
        async with OPENERS[name]() as venue:
            async for credentials, fates in _accounts(venue, numbers):
                lived = await _live(venue, credentials, fates)
                await _check_account(venue, credentials, fates, lived)
            return venue.broker.capabilities, venue.simulator.played

    step = -(-RUNS // LANES)
    done = await asyncio.gather(*(lane(range(first, min(first + step, RUNS))) for first in range(0, RUNS, step)))
    played: Counter[tuple[str, FaultKind]] = sum((Counter(met) for _, met in done), Counter())
    wanted = [("submission", FaultKind(kind)) for kind in submit_faults(done[0][0])]
    wanted += [("read", FaultKind(kind)) for kind in READ_FAULTS]
    assert {fault: played[fault] for fault in wanted if played[fault] < AT_LEAST} == {}


@pytest.mark.parametrize("naive", [True, False], ids=["who does not look", "who does not wait before looking"])
async def test_who_sends_again_too_soon_books_twice_and_the_check_sees_it(naive: bool):
    async with open_alpaca(dedupes=False) as venue:
        async for credentials, fates in _accounts(venue, range(60)):
            await _live(venue, credentials, fates, naive=naive)
            venue.clock.advance(60)
            there = [len(venue.truth(credentials, fate.client_order_id)) for fate in fates]
            if max(there) > 1:
                return
    raise AssertionError("nothing was booked twice")

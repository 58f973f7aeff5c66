"""Lines to accounts on fakes: connecting, looking back, booking once, mending, and what one account's trouble costs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.stream_line import Line, Means, Patience
from activities.streams import StreamActivities, StreamLimits, WatchInput
from domain.dispatch import Change, NewFill, SealedKey
from domain.errors import StoreUnavailable, VenueRefused, VenueUnavailable
from domain.orders import FollowerState, Side
from domain.ports import AccountOrder, BrokerCredentials, VenueOrder, VenueStatus
from domain.streams import OrderOwner, StreamAccount, StreamPlan, StreamShard, StreamTally
from tests.domain.life import follow
from tests.domain.pending import pending, venue_order

F, V = FollowerState, VenueStatus
PRICE = Decimal(100)
ME = StreamAccount("t", "cred/F_1/alpaca", 1, "one")
QUICK = Patience(
    connect=timedelta(seconds=5), first=timedelta(milliseconds=1), most=timedelta(milliseconds=2),
    refused=timedelta(minutes=15), turn=timedelta(milliseconds=10),
)  # fmt: skip


class Venue:
    """What is put into `frames` comes by the stream; None ends the connection. An exception is raised."""

    def __init__(self) -> None:
        self.capabilities = SimpleNamespace(looks_up_by_client_id=True)
        self.frames: asyncio.Queue[VenueOrder | Exception | None] = asyncio.Queue()
        self.there: dict[str, VenueOrder] = {}
        self.refuses: set[str] = set()
        self.connections = self.closed = 0
        self.asked: list[str] = []
        self.too_many = False
        self.silent: dict[str, asyncio.Event] = {}

    async def reports(self, credentials: BrokerCredentials) -> AsyncIterator[VenueOrder | None]:
        self.connections += 1
        try:
            if credentials.ref in self.refuses:
                raise VenueRefused("bad_credentials", "no such key")
            if credentials.ref in self.silent:
                await self.silent[credentials.ref].wait()
            yield None
            while (frame := await self.frames.get()) is not None:
                if isinstance(frame, Exception):
                    raise frame
                yield frame
        finally:
            self.closed += 1

    async def look_up(self, _credentials: BrokerCredentials, fo_id: str) -> VenueOrder | None:
        self.asked.append(fo_id)
        return self.there.get(fo_id)

    async def orders_since(self, _credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        self.asked.append("since")
        if self.too_many:
            raise VenueUnavailable("too_many_orders", "more than are read")
        at = datetime.now(UTC)
        return [AccountOrder(order, "AAPL", Side.BUY, None, at) for order in self.there.values()]


@dataclass
class Store:
    """Orders in memory, as `StreamStore` and `DispatchStore` show them."""

    listed: list[StreamAccount] = field(default_factory=lambda: [ME])
    orders: dict[str, Any] = field(default_factory=dict)
    booked: dict[str, NewFill] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    down: bool = False
    looks: int = 0

    def add(self, state: FollowerState, fo_id: str = "FO-1", follower_id: str = "F_1") -> None:
        self.orders[fo_id] = pending(route="alpaca", state=state, fo_id=fo_id, follower_id=follower_id)

    async def accounts(self, _venue: str) -> list[StreamAccount]:
        self.looks += 1
        if self.down:
            raise StoreUnavailable("down")
        return list(self.listed)

    async def key(self, account: StreamAccount) -> Any:
        return SimpleNamespace(key=SealedKey(account.cred_ref, "k", b"")) if account in self.listed else None

    async def open_orders(self, account: StreamAccount, _venue: str) -> list[Any]:
        open_states = {F.RETRY, F.UNKNOWN, F.ACK, F.PARTIALLY_FILLED}
        at = datetime.now(UTC)
        mine = [o for o in self.orders.values() if o.state in open_states and self._is_of(account, o)]
        return [SimpleNamespace(fo_id=o.fo_id, created_at=at) for o in mine]

    def _is_of(self, account: StreamAccount, order: Any) -> bool:
        return account.cred_ref == f"cred/{order.follower_id}/alpaca"

    async def owner(self, account: StreamAccount, _venue: str, fo_id: str) -> OrderOwner | None:
        order = self.orders.get(fo_id)
        if order is None or not self._is_of(account, order):
            return None
        return OrderOwner(order.mo_id, order.follower_id, 0, order.state)

    async def refused(self, account: StreamAccount, _venue: str, code: str, _reason: str) -> bool:
        self.told.append(f"{account.cred_ref} {code}")
        return True

    async def resumed(self, _account: StreamAccount, _venue: str) -> bool:
        return False

    @asynccontextmanager
    async def locked(self, _tenant_id: str, fo_id: str) -> AsyncIterator[tuple[None, Any]]:
        if self.down:
            raise StoreUnavailable("down")
        yield None, self.orders[fo_id]

    async def change(self, _cursor: None, change: Change, *, actor: str) -> None:
        assert actor == "system:streams"
        self.orders[change.fo_id] = follow(self.orders[change.fo_id], change, self.booked, [])


class Accounts:
    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    async def open(self, given: Any) -> tuple[Venue, BrokerCredentials]:
        return self.venue, BrokerCredentials(given.key.ref, "key", "secret")


class Owners:
    def __init__(self) -> None:
        self.woken: list[str] = []
        self.away = False

    async def venue_reported(self, owner: OrderOwner) -> None:
        if self.away:
            raise RuntimeError("no engine")
        self.woken.append(owner.mo_id)


class Setting:
    def __init__(self) -> None:
        self.venue, self.store, self.owners = Venue(), Store(), Owners()
        self.means = Means(
            cast("Any", self.store), cast("Any", self.store), cast("Any", Accounts(self.venue)), self.owners,
            asyncio.Semaphore(2), QUICK,
        )  # fmt: skip
        self.line = Line("alpaca", [ME], self.means)

    def state(self, fo_id: str = "FO-1") -> FollowerState:
        state: FollowerState = self.store.orders[fo_id].state
        return state

    def activities(self, tallies: Sequence[StreamTally] = (), **limits: Any) -> StreamActivities:
        class Shards:
            async def tallies(self, _workflow_id: str) -> list[StreamTally]:
                return list(tallies)

        given = StreamLimits(look_every=timedelta(milliseconds=5), **limits)
        return StreamActivities(cast("Any", self.store), self.means, Shards(), given)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
def s() -> Setting:
    return Setting()


async def test_a_fill_that_is_reported_is_booked_once_and_wakes_the_owner(s: Setting):
    s.store.add(F.ACK)
    async with running(s.line.run()):
        for report in (venue_order(V.PARTIALLY_FILLED, 4, PRICE), *[venue_order(V.FILLED, 10, PRICE)] * 2):
            s.venue.frames.put_nowait(report)
        await until(lambda: s.line.tally.reports == 3)
    assert s.state() is F.CONFIRMED
    assert [fill.qty for fill in s.store.booked.values()] == [4, 6]
    assert s.owners.woken == ["M-1"]
    assert s.line.tally.last_report_s > 0
    assert s.venue.closed == s.venue.connections == 1


async def test_an_order_that_is_not_ours_is_left_alone(s: Setting):
    async with running(s.line.run()):
        s.venue.frames.put_nowait(venue_order(V.FILLED, 10, PRICE))
        await until(lambda: s.line.tally.reports == 1)
    assert s.store.booked == {}


async def test_what_was_missed_while_the_line_was_broken_is_found_by_looking_back(s: Setting):
    s.store.add(F.ACK)
    async with running(s.line.run()):
        await until(lambda: s.venue.asked == ["FO-1"])
        s.venue.there["FO-1"] = venue_order(V.FILLED, 10, PRICE)
        s.venue.frames.put_nowait(VenueUnavailable("no_answer", "broken"))
        await until(lambda: s.state() is F.CONFIRMED)
        await until(lambda: s.line.tally.connected == 1)
    assert (s.venue.connections, s.line.tally.reconnects) == (2, 1)
    assert s.owners.woken == ["M-1"]


async def test_many_open_orders_are_looked_back_for_at_once_unless_there_are_too_many(s: Setting):
    for n in range(5):
        s.store.add(F.ACK, f"FO-{n}")
        s.venue.there[f"FO-{n}"] = replace(venue_order(V.FILLED, 10, PRICE), client_order_id=f"FO-{n}")
    s.venue.there["by hand"] = replace(venue_order(V.FILLED, 10, PRICE), client_order_id="by hand")
    s.venue.too_many = True
    async with running(s.line.run()):
        await until(lambda: s.line.tally.connected == 1)
    assert s.venue.asked == ["since", *(f"FO-{n}" for n in range(5))]
    assert {o.state for o in s.store.orders.values()} == {F.CONFIRMED}


async def test_an_order_taken_for_absent_that_is_there_after_all_is_not_sent_again(s: Setting):
    s.store.add(F.RETRY)
    s.venue.there["FO-1"] = venue_order(V.WORKING)
    async with running(s.line.run()):
        await until(lambda: s.state() is F.ACK)
    assert s.owners.woken == ["M-1"]


@pytest.mark.parametrize("broken", [VenueUnavailable("no_answer", "x"), ValueError("a fault of ours"), None])
async def test_a_line_that_breaks_in_any_way_is_mended(s: Setting, broken: Exception | None):
    async with running(s.line.run()):
        for n in range(1, 4):
            await until(lambda n=n: s.venue.connections == n and s.line.tally.connected == 1)  # type: ignore[misc]
            s.venue.frames.put_nowait(broken)
        await until(lambda: s.line.tally.reconnects == 3)


async def test_a_store_that_is_down_costs_the_connection_and_no_fill(s: Setting):
    s.store.add(F.ACK)
    async with running(s.line.run()):
        await until(lambda: s.line.tally.connected == 1)
        s.store.down = True
        s.venue.frames.put_nowait(venue_order(V.FILLED, 10, PRICE))
        s.venue.there["FO-1"] = venue_order(V.FILLED, 10, PRICE)
        await until(lambda: s.line.tally.reconnects > 1)
        assert s.state() is F.ACK
        s.store.down = False
        await until(lambda: s.state() is F.CONFIRMED)


async def test_an_owner_that_cannot_be_told_is_left_to_its_poll(s: Setting):
    s.store.add(F.ACK)
    s.owners.away = True
    async with running(s.line.run()):
        s.venue.frames.put_nowait(venue_order(V.FILLED, 10, PRICE))
        await until(lambda: s.state() is F.CONFIRMED)
        await until(lambda: s.line.tally.reports == 1)
    assert s.line.tally.reconnects == 0


async def test_a_credential_that_is_refused_stops_its_own_line_only_and_is_said(s: Setting):
    other = StreamAccount("t", "cred/F_2/alpaca", 1, "two")
    s.store.listed.append(other)
    s.venue.refuses.add(ME.cred_ref)
    activities, env, beats = s.activities(), ActivityEnvironment(), list[tuple[int, ...]]()
    env.on_heartbeat = lambda *numbers: beats.append(numbers)
    async with running(env.run(activities.stream_orders, StreamShard("alpaca", 0, 1))):
        await until(lambda: bool(beats) and beats[-1][:3] == (2, 1, 1))
        assert s.store.told == [f"{ME.cred_ref} bad_credentials"]
        assert s.venue.connections == 2
        # Mended by its owner: the new credential is another revision.
        s.venue.refuses.clear()
        s.store.listed[0] = replace(ME, revision=2)
        await until(lambda: beats[-1][:3] == (2, 2, 0))


async def test_followers_who_share_a_key_share_its_one_connection(s: Setting):
    other = replace(ME, cred_ref="cred/F_2/alpaca")
    s.store.listed.append(other)
    for n in (1, 2):
        s.store.add(F.ACK, f"FO-{n}", f"F_{n}")
    activities, env, beats = s.activities(), ActivityEnvironment(), list[tuple[int, ...]]()
    env.on_heartbeat = lambda *numbers: beats.append(numbers)
    async with running(env.run(activities.stream_orders, StreamShard("alpaca", 0, 1))):
        for n in (1, 2):
            s.venue.frames.put_nowait(replace(venue_order(V.FILLED, 10, PRICE), client_order_id=f"FO-{n}"))
        await until(lambda: all(s.state(f"FO-{n}") is F.CONFIRMED for n in (1, 2)))
        await until(lambda: bool(beats) and beats[-1][:2] == (2, 2))
        assert s.venue.connections == 1
        assert s.venue.asked == ["FO-1", "FO-2"]
        s.store.listed.remove(ME)
        await until(lambda: s.venue.connections == 2 and beats[-1][:2] == (1, 1))


async def test_a_venue_that_says_late_that_it_listens_keeps_no_other_line_waiting(s: Setting):
    s.store.listed = [replace(ME, cred_ref=f"cred/F_{n}/alpaca", line=str(n)) for n in range(6)]
    slow = [account.cred_ref for account in s.store.listed[:4]]
    s.venue.silent = {ref: asyncio.Event() for ref in slow}  # twice as many as may connect at once
    activities, env, beats = s.activities(), ActivityEnvironment(), list[tuple[int, ...]]()
    env.on_heartbeat = lambda *numbers: beats.append(numbers)
    async with running(env.run(activities.stream_orders, StreamShard("alpaca", 0, 1))):
        await until(lambda: bool(beats) and beats[-1][:2] == (6, 2))
        for event in s.venue.silent.values():
            event.set()
        await until(lambda: beats[-1][:2] == (6, 6))
        assert s.venue.connections == 6


async def test_a_line_that_never_stands_is_given_up_and_tried_again(s: Setting):
    s.venue.silent = {ME.cred_ref: asyncio.Event()}
    line = Line("alpaca", [ME], replace(s.means, patience=replace(QUICK, connect=timedelta(milliseconds=30))))
    async with running(line.run()):
        await until(lambda: s.venue.closed >= 2)
        assert line.tally.connected == 0
        s.venue.silent[ME.cred_ref].set()
        await until(lambda: line.tally.connected == 1)


async def test_a_shard_keeps_to_its_accounts_as_they_come_and_go(s: Setting):
    s.store.listed = []
    activities, env = s.activities(), ActivityEnvironment()
    async with running(env.run(activities.stream_orders, StreamShard("alpaca", 0, 1))):
        s.store.listed = [ME]
        await until(lambda: s.venue.connections == 1)
        s.store.down, looks = True, s.store.looks
        await until(lambda: s.store.looks > looks + 2)
        assert s.venue.closed == 0
        s.store.down, s.store.listed = False, []
        await until(lambda: s.venue.closed == 1)


async def test_a_worker_that_stops_hands_its_shard_over_at_once(s: Setting):
    activities, env = s.activities(), ActivityEnvironment()
    task = asyncio.create_task(env.run(activities.stream_orders, StreamShard("alpaca", 0, 1)))
    await until(lambda: s.venue.connections == 1)
    env.worker_shutdown()
    with pytest.raises(ApplicationError) as stopped:
        await task
    assert stopped.value.next_retry_delay == timedelta(milliseconds=1)
    assert s.venue.closed == 1


async def test_the_plan_is_told_when_another_number_of_shards_is_wanted(s: Setting):
    activities, env = s.activities(accounts_per_shard=1), ActivityEnvironment()
    first = await env.run(activities.watch_streams, WatchInput("alpaca"))
    assert first == StreamPlan(1, 1, StreamTally())
    async with running(env.run(activities.watch_streams, WatchInput("alpaca", first))) as task:
        looks = s.store.looks
        await until(lambda: s.store.looks > looks + 2)
        assert not task.done()
        s.store.listed.append(StreamAccount("t", "cred/F_2/alpaca", 1, "two"))
        assert (await task).shards >= 2


async def test_the_plan_is_told_now_and_then_when_only_counts_have_changed(s: Setting):
    tally = StreamTally(1, 1, 0, 0, 7, 1_700_000_000)
    activities = s.activities([tally], tell_every=timedelta(milliseconds=40))
    known = StreamPlan(1, 1, StreamTally())
    plan = await ActivityEnvironment().run(activities.watch_streams, WatchInput("alpaca", known))
    assert plan == StreamPlan(1, 1, tally)

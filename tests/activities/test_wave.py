"""One wave after another in one process: what is sent, what is written and when. The store and the wire are played."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import pytest
from temporalio.testing import ActivityEnvironment

from activities import wave as wave_module
from activities.gate import Gate
from activities.lanes import Lanes
from activities.mirroring import ShardKey
from activities.wave import WaveActivities, WaveInput, WaveResult
from adapters.store.frozen import SizedOrder
from adapters.store.waves import WavePage
from domain.dispatch import PendingOrder
from domain.orders import FollowerState, Side
from domain.ports import OutcomeKind, SendOutcome
from tests.domain.pending import outcome, pending

SOON_S = 5
TOTAL = 8


def sized(fo_id: str) -> SizedOrder:
    terms = {"route": "webhook"}
    return SizedOrder(fo_id, f"F_{fo_id}", 0, "AAPL", Side.BUY, terms, Decimal(1), cap_applied=False, carry=Decimal(0),
                      state=FollowerState.SIZED, reason=None, trace=[])  # fmt: skip


@dataclass
class Waves:
    """A page is its orders' names by host; `stopped` ones are not opened."""

    pages: list[dict[str, list[str]]]
    stopped: set[str] = field(default_factory=set)
    opened: list[str] = field(default_factory=list)
    fails: bool = False

    async def page(self, tenant_id: str, mo_id: str, shard: int, route: str) -> WavePage:
        urls: dict[str, str | None] = {
            f"F_{name}": f"https://{host}/hook" for host, names in self.pages[shard].items() for name in names
        }
        orders = tuple(sized(name) for names in self.pages[shard].values() for name in names)
        return WavePage(tenant_id, mo_id, shard, route, {}, orders, urls)

    async def open(
        self, page: WavePage, orders: Sequence[SizedOrder], now: datetime, **_watch: object
    ) -> list[PendingOrder]:
        assert now.tzinfo is not None
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("the database is gone")
        names = [order.fo_id for order in orders if order.fo_id not in self.stopped]
        self.opened += names
        return [pending(fo_id=name) for name in names]


@dataclass
class Store:
    recorded: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def record(self, tenant_id: str, results: Sequence[tuple[PendingOrder, SendOutcome]]) -> None:
        await asyncio.sleep(0)
        self.recorded += [order.fo_id for order, _ in results]
        self.batches.append(len(results))


@dataclass
class Wire:
    """Answers at once, but for the orders that are `held`."""

    mark = 0
    opens_held = False

    held: dict[str, asyncio.Event] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    most: int = 0
    refused: set[str] = field(default_factory=set)

    def hold(self, *names: str) -> asyncio.Event:
        event = asyncio.Event()
        self.held |= dict.fromkeys(names, event)
        return event

    async def send(self, order: PendingOrder) -> SendOutcome:
        self.begun.append(order.fo_id)
        self.most = max(self.most, len(self.begun) - len(self.answered))
        await asyncio.sleep(0)
        if (event := self.held.get(order.fo_id)) is not None:
            await event.wait()
        self.answered.append(order.fo_id)
        return outcome(OutcomeKind.RETRYABLE if order.fo_id in self.refused else OutcomeKind.ACK)


class Process:
    """A worker process with its one gate, whose waves work on `pages`."""

    def __init__(self, *pages: dict[str, list[str]], width: int = 4, batch: int = 3, per_host: int = TOTAL) -> None:
        self.waves, self.store, self.wire = Waves(list(pages)), Store(), Wire()
        self.gate = Gate(total=TOTAL, per_host=per_host)
        self.activities = WaveActivities(
            self.waves, self.store, self.wire, self.gate, Lanes(width), batch=batch,  # type: ignore[arg-type]  # played
        )  # fmt: skip

    def start(self, shard: int = 0) -> tuple[ActivityEnvironment, "asyncio.Task[WaveResult]"]:
        env = ActivityEnvironment()
        wave = WaveInput(ShardKey("t", "M-1", shard), "webhook")
        return env, asyncio.ensure_future(env.run(self.activities.dispatch_wave, wave))

    async def run(self, shard: int = 0) -> WaveResult:
        return await done(self.start(shard)[1])

    def free(self) -> int:
        """How many the gate would let in now; they stay inside."""
        return len(self.gate.enter({"anybody": deque(range(100))}, 100))


async def done(task: "asyncio.Task[WaveResult]") -> WaveResult:
    async with asyncio.timeout(SOON_S):
        return await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0)


async def turns(count: int = 50) -> None:
    """Everything that can go on by itself has gone on."""
    for _ in range(count):
        await asyncio.sleep(0)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 40])
async def test_every_order_is_sent_once_and_what_was_sent_is_recorded(count: int) -> None:
    process = Process({"a.example": names("a", count), "b.example": names("b", count)})
    result = await process.run()
    everybody = sorted(names("a", count) + names("b", count))
    assert sorted(process.wire.begun) == sorted(process.store.recorded) == everybody
    assert result == WaveResult(sent=2 * count, stopped=0, recorded=2 * count)
    assert process.wire.most <= TOTAL
    assert process.free() == TOTAL


async def test_an_order_that_a_guard_stops_counts_as_stopped_and_leaves_the_gate() -> None:
    process = Process({"a.example": names("a", 20)})
    process.waves.stopped = set(names("a", 17))
    result = await process.run()
    assert result == WaveResult(sent=3, stopped=17, recorded=3)
    assert sorted(process.wire.begun) == ["a17", "a18", "a19"]
    assert process.free() == TOTAL


async def test_orders_that_could_not_be_opened_leave_the_gate_and_end_the_wave() -> None:
    process = Process({"a.example": names("a", 6)})
    process.waves.fails = True
    with pytest.raises(ExceptionGroup) as raised:
        await process.run()
    assert raised.group_contains(ConnectionError)
    assert process.free() == TOTAL


async def test_a_full_host_does_not_keep_the_page_from_another() -> None:
    process = Process({"slow.example": names("s", 12), "quick.example": names("q", 12)}, batch=4, per_host=4)
    go = process.wire.hold(*names("s", 12))
    _, task = process.start()
    await until(lambda: set(names("q", 12)) <= set(process.wire.answered))
    assert len(process.waves.opened) == 16
    go.set()
    assert (await done(task)).recorded == 24


async def test_a_cancelled_wave_does_not_send_what_stands_in_line_and_frees_its_places() -> None:
    process = Process({"a.example": names("a", 20)}, width=2, batch=6)
    go = process.wire.hold(*names("a", 20))
    env, task = process.start()
    await until(lambda: len(process.waves.opened) == TOTAL and len(process.wire.begun) == 2)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await done(task)
    go.set()
    await until(lambda: len(process.wire.answered) == 2)
    await turns()
    assert process.wire.begun == ["a0", "a1"]
    assert process.free() == TOTAL


async def test_a_wave_that_was_cancelled_leaves_the_others_undisturbed() -> None:
    process = Process({"a.example": names("a", 6)}, {"a.example": names("b", 6)}, width=1)
    go = process.wire.hold("a0")
    env, first = process.start(0)
    await until(lambda: process.wire.begun == ["a0"])
    _, second = process.start(1)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await done(first)
    go.set()
    assert await done(second) == WaveResult(sent=6, stopped=0, recorded=6)
    assert sorted(process.store.recorded) == names("b", 6)


async def test_results_wait_until_no_wave_of_the_process_has_anything_left_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wave_module, "RECORD_WITHIN_S", 600)
    process = Process({"a.example": names("a", 3)}, {"b.example": names("b", 3)})
    go = process.wire.hold("b2")
    (_, first), (_, second) = process.start(0), process.start(1)
    await until(lambda: len(process.wire.answered) == 5)
    await turns()
    assert process.store.recorded == []
    go.set()
    assert [(await done(task)).recorded for task in (first, second)] == [3, 3]


async def test_results_are_written_in_time_while_another_wave_is_still_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wave_module, "RECORD_WITHIN_S", 0.02)
    process = Process({"a.example": names("a", 3)}, {"b.example": names("b", 3)})
    go = process.wire.hold("b2")
    (_, first), (_, second) = process.start(0), process.start(1)
    assert (await done(first)).recorded == 3
    await until(lambda: len(process.store.recorded) == 5)
    assert not second.done()
    go.set()
    assert (await done(second)).recorded == 3


async def test_results_are_written_in_batches_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave_module, "RECORD_MOST", 5)
    process = Process({"a.example": names("a", 12)})
    assert (await process.run()).recorded == 12
    assert process.store.batches == [5, 5, 2]


async def test_an_order_that_stood_in_line_too_long_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave_module, "LINE_MOST_S", 0.05)
    process = Process({"a.example": names("a", 3)}, width=1)
    go = process.wire.hold("a0")
    _, task = process.start()
    await until(lambda: process.wire.begun == ["a0"])
    await asyncio.sleep(0.1)  # time itself is what this is about
    go.set()
    assert await done(task) == WaveResult(sent=1, stopped=2, recorded=1)
    assert process.wire.begun == ["a0"]
    assert process.free() == TOTAL


async def test_what_was_not_taken_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave_module, "RECORD_WITHIN_S", 600)
    process = Process({"a.example": names("a", 3)})
    process.wire.refused = {"a0"}
    go = process.wire.hold("a2")
    _, task = process.start()
    await until(lambda: "a0" in process.store.recorded)
    assert not task.done()
    go.set()
    assert (await done(task)).recorded == 3

"""What the gate lets in, and when it opens again."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from activities.gate import Gate

HOSTS = ("a.example", "b.example", "c.example")
SOON_S = 5


def lines(**waiting: int) -> dict[str, deque[int]]:
    """So many in line for each host."""
    return {host: deque(range(count)) for host, count in waiting.items()}


def let_in(gate: Gate, waiting: dict[str, deque[int]], most: int = 1_000) -> Counter[str]:
    return Counter(host for host, _ in gate.enter(waiting, most))


def leave(gate: Gate, host: str, times: int) -> None:
    for _ in range(times):
        gate.leave(host)


async def asks(gate: Gate, *, of: int) -> list["asyncio.Task[None]"]:
    waiters = [asyncio.create_task(gate.reopened()) for _ in range(of)]
    await asyncio.sleep(0)  # each now stands at the gate
    return waiters


async def pass_by(waiters: Iterable["asyncio.Task[None]"]) -> None:
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*waiters)


_STEP = st.one_of(
    st.tuples(st.just("come"), st.sampled_from(HOSTS), st.integers(1, 12)),
    st.tuples(st.just("enter"), st.just(""), st.integers(1, 12)),
    st.tuples(st.just("leave"), st.sampled_from(HOSTS), st.integers(1, 12)),
)


@given(total=st.integers(1, 12), per_host=st.integers(1, 12), steps=st.lists(_STEP, max_size=60))
def test_it_never_lets_in_more_than_it_may_and_loses_nobody(
    total: int, per_host: int, steps: list[tuple[str, str, int]]
) -> None:
    gate = Gate(total=total, per_host=per_host)
    waiting: dict[str, deque[int]] = {}
    inside: Counter[str] = Counter()
    came, entered = dict.fromkeys(HOSTS, 0), {host: list[int]() for host in HOSTS}
    for what, host, count in steps:
        if what == "come":
            waiting.setdefault(host, deque()).extend(range(came[host], came[host] + count))
            came[host] += count
        elif what == "enter":
            batch = gate.enter(waiting, count)
            assert len(batch) <= count
            for name, item in batch:
                entered[name].append(item)
                inside[name] += 1
        else:
            for _ in range(min(count, inside[host])):
                gate.leave(host)
                inside[host] -= 1
        assert inside.total() <= total
        assert max(inside.values(), default=0) <= per_host
    while waiting:
        for host in HOSTS:
            leave(gate, host, inside[host])
        inside.clear()
        batch = gate.enter(waiting, 1_000)
        assert batch, "an empty gate must let somebody in"
        for name, item in batch:
            entered[name].append(item)
            inside[name] += 1
    assert entered == {host: list(range(came[host])) for host in HOSTS}


def test_a_full_host_does_not_hold_the_others_up() -> None:
    gate = Gate(total=10, per_host=3)
    waiting = lines(slow=5, quick=4)
    assert let_in(gate, waiting) == {"slow": 3, "quick": 3}
    leave(gate, "quick", 3)
    assert let_in(gate, waiting) == {"quick": 1}
    assert {host: len(line) for host, line in waiting.items()} == {"slow": 2}


def test_a_host_that_was_full_reopens_only_at_half() -> None:
    gate = Gate(total=100, per_host=6)
    waiting = lines(h=20)
    assert let_in(gate, waiting) == {"h": 6}
    leave(gate, "h", 2)
    assert let_in(gate, waiting) == {}
    leave(gate, "h", 1)
    assert let_in(gate, waiting) == {"h": 3}


def test_a_process_that_was_full_reopens_only_at_half() -> None:
    gate = Gate(total=6, per_host=100)
    waiting = lines(a=4, b=20)
    assert let_in(gate, waiting) == {"a": 4, "b": 2}
    leave(gate, "a", 2)
    assert let_in(gate, waiting) == {}
    leave(gate, "a", 1)
    assert let_in(gate, waiting) == {"b": 3}


def test_a_host_that_was_never_full_is_open_above_its_half() -> None:
    gate = Gate(total=100, per_host=6)
    assert let_in(gate, lines(h=5)) == {"h": 5}
    assert let_in(gate, lines(h=5)) == {"h": 1}


def test_a_batch_ends_at_its_size_and_the_line_goes_on_from_there() -> None:
    gate = Gate(total=100, per_host=100)
    waiting = lines(h=5)
    assert gate.enter(waiting, 3) == [("h", 0), ("h", 1), ("h", 2)]
    assert gate.enter(waiting, 3) == [("h", 3), ("h", 4)]
    assert waiting == {}


async def test_all_who_wait_are_woken_when_a_full_host_reopens() -> None:
    gate = Gate(total=100, per_host=4)
    let_in(gate, lines(h=4))
    waiters = await asks(gate, of=3)
    leave(gate, "h", 1)
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiters)
    leave(gate, "h", 1)
    await pass_by(waiters)


async def test_all_who_wait_are_woken_when_the_process_has_room_again() -> None:
    gate = Gate(total=4, per_host=100)
    let_in(gate, lines(a=2, b=2))
    waiters = await asks(gate, of=3)
    leave(gate, "a", 2)
    await pass_by(waiters)


async def test_who_comes_after_a_reopening_waits_for_the_next() -> None:
    gate = Gate(total=100, per_host=2)
    let_in(gate, lines(h=2))
    leave(gate, "h", 1)
    let_in(gate, lines(h=1))
    (late,) = await asks(gate, of=1)
    assert not late.done()
    leave(gate, "h", 2)
    await pass_by([late])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def windows(gate: Gate, clock: Clock, takes: Iterable[float]) -> list[int]:
    """How many one host is let in, round after round, when half of them are answered after so many seconds."""
    seen, waiting = [], {"a": deque(range(10_000))}
    inside = 0
    for seconds in takes:
        inside += len(gate.enter(waiting, 10_000))
        seen.append(inside)
        clock.now += seconds
        while not gate_is_open(gate):
            gate.leave("a")
            inside -= 1
    return seen


def gate_is_open(gate: Gate) -> bool:
    probe = {"a": deque([0])}
    if gate.enter(probe, 1):
        gate.leave("a")
        return True
    return False


def test_a_host_that_answers_fast_is_given_more_ahead_up_to_its_most() -> None:
    clock = Clock()
    gate = Gate(total=10_000, per_host=500, first=100, clock=clock)
    assert windows(gate, clock, [0.1] * 5) == [100, 200, 400, 500, 500]


def test_a_host_that_answers_slowly_is_given_no_more_than_are_sent_at_once() -> None:
    clock = Clock()
    gate = Gate(total=10_000, per_host=500, first=100, clock=clock)
    assert windows(gate, clock, [5] * 3) == [100, 100, 100]


def test_a_host_that_becomes_slow_is_given_less_again() -> None:
    clock = Clock()
    gate = Gate(total=10_000, per_host=400, first=100, clock=clock)
    assert windows(gate, clock, [0.1, 0.1, 5, 5, 5]) == [100, 200, 400, 200, 100]

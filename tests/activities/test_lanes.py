"""Jobs side by side for one destination, and independent of every other."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.lanes import Job, Lanes

SOON_S = 5


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0)


class Jobs:
    """Jobs that note how many of their host run, and last until they are let go."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.done: list[tuple[str, int]] = []

    def job(self, host: str, n: int, until: asyncio.Event | int) -> Job:
        """`until` an event is set, or for so many turns of the loop."""

        async def run() -> None:
            self.running[host] += 1
            self.peak[host] = max(self.peak[host], self.running[host])
            if isinstance(until, asyncio.Event):
                await until.wait()
            else:
                for _ in range(until):
                    await asyncio.sleep(0)
            self.running[host] -= 1
            self.done.append((host, n))

        return run


@settings(deadline=None)
@given(width=st.integers(1, 4), turns=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=40))
async def test_no_host_has_more_than_the_width_at_once_and_every_job_runs_once(
    width: int, turns: list[tuple[str, int]]
) -> None:
    jobs, lanes = Jobs(), Lanes(width)
    for n, (host, last) in enumerate(turns):
        lanes.put(host, jobs.job(host, n, last))
        if n % 3 == 0:
            await asyncio.sleep(0)  # some come while others run, or after the lane has ended
    await until(lambda: len(jobs.done) == len(turns))
    assert all(peak <= width for peak in jobs.peak.values())
    assert sorted(jobs.done) == sorted((host, n) for n, (host, _) in enumerate(turns))


async def test_a_host_gets_its_whole_width() -> None:
    jobs, lanes, go = Jobs(), Lanes(3), asyncio.Event()
    for n in range(10):
        lanes.put("h", jobs.job("h", n, go))
    await until(lambda: jobs.running["h"] == 3)
    go.set()
    await until(lambda: len(jobs.done) == 10)
    assert jobs.peak["h"] == 3


@pytest.mark.parametrize("width", [1, 2])
async def test_a_slow_host_does_not_delay_another(width: int) -> None:
    jobs, lanes, go = Jobs(), Lanes(width), asyncio.Event()
    for n in range(5):
        lanes.put("slow", jobs.job("slow", n, go))
    for n in range(5):
        lanes.put("quick", jobs.job("quick", n, 1))
    await until(lambda: len(jobs.done) == 5)
    assert {host for host, _ in jobs.done} == {"quick"}
    assert jobs.running["slow"] == width
    go.set()
    await until(lambda: len(jobs.done) == 10)


async def test_one_lane_serves_in_the_order_of_coming() -> None:
    jobs, lanes = Jobs(), Lanes(1)
    for n in range(5):
        lanes.put("h", jobs.job("h", n, 5 - n))
    await until(lambda: len(jobs.done) == 5)
    assert jobs.done == [("h", n) for n in range(5)]


async def test_a_lane_ends_when_it_is_empty_and_begins_anew_with_the_next_job() -> None:
    jobs, lanes = Jobs(), Lanes(2)
    before = asyncio.all_tasks()
    for rounds in (1, 2):
        for n in range(6):
            lanes.put("h", jobs.job("h", n, 1))
        assert len(asyncio.all_tasks() - before) == 2
        await until(lambda: asyncio.all_tasks() == before)
        assert len(jobs.done) == 6 * rounds

"""What the workflow engine costs by itself: one bare round trip, and an empty child workflow per follower."""

import asyncio
import time
import uuid

from bench.engine_workflows import QUEUE, ROUND_TRIP_QUEUE, EmptyOrder, Pages, RoundTrip
from bench.measure import TIMEOUT_S, Bench

# 1,000 children took 14 s without a bound or with one of 200, and 17 to 21 s with one of 50.
WINDOW = 0


async def round_trip(bench: Bench) -> float:
    """Seconds from starting a workflow that returns at once to its result, by a warm worker with default settings."""
    async with asyncio.timeout(TIMEOUT_S):
        await _bare(bench)
        began = time.monotonic()
        await _bare(bench)
        return time.monotonic() - began


async def _bare(bench: Bench) -> None:
    await bench.temporal.execute_workflow(RoundTrip.run, id=f"bench-{uuid.uuid4()}", task_queue=ROUND_TRIP_QUEUE)


async def empty_children(bench: Bench, followers: int, window: int = WINDOW) -> float:
    """Seconds from starting the order to its result, which follows its last child's end by two workflow tasks."""
    began = time.monotonic()
    async with asyncio.timeout(TIMEOUT_S):
        await bench.temporal.execute_workflow(
            EmptyOrder.run, Pages(followers, window), id=f"bench-{uuid.uuid4()}", task_queue=QUEUE
        )
    return time.monotonic() - began

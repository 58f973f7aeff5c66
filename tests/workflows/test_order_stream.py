"""A venue's streams: shards are begun, changed and ended as planned, and go on elsewhere when their worker is gone."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.streams import WatchInput
from domain.streams import StreamInput, StreamPlan, StreamShard, StreamTally
from temporal import queues
from temporal import search_attributes as sa
from temporal.streams import HeartbeatShards
from workflows.order_stream import OrderStreamWorkflow


class FakeStreams:
    """Tells `wanted` shards; those that are under way are in `running`, and each says `tally` of itself."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.running: list[StreamShard] = []
        self.begun: list[StreamShard] = []
        self.watched: list[StreamPlan | None] = []
        self.tally = StreamTally(10, 10, 0, 0, 3, 1_700_000_000)
        self.stops: asyncio.Event = asyncio.Event()

    @activity.defn
    async def watch_streams(self, watch: WatchInput) -> StreamPlan:
        self.watched.append(watch.known)
        plan = StreamPlan(self.wanted, self.wanted * 10, self.tally)
        while watch.known is not None and plan == watch.known:
            activity.heartbeat()
            await asyncio.sleep(0.05)
            plan = StreamPlan(self.wanted, self.wanted * 10, self.tally)
        return plan

    @activity.defn
    async def stream_orders(self, shard: StreamShard) -> None:
        self.running.append(shard)
        self.begun.append(shard)
        try:
            while not self.stops.is_set():
                activity.heartbeat(*self.tally.numbers())
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self.stops.wait()
        finally:
            self.running.remove(shard)
        raise RuntimeError("its worker is gone")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not holds():
            await asyncio.sleep(0.02)


def worker(env: WorkflowEnvironment, fake: FakeStreams) -> Worker:
    return Worker(
        env.client, task_queue=queues.STREAMS, workflows=[OrderStreamWorkflow],
        activities=[fake.watch_streams, fake.stream_orders],
    )  # fmt: skip


async def start(env: WorkflowEnvironment, shards: int = 0) -> WorkflowHandle[Any, None]:
    return await env.client.start_workflow(
        OrderStreamWorkflow.run, StreamInput("alpaca", shards), id=f"streams/{uuid.uuid4()}", task_queue=queues.STREAMS
    )


def shards_of(count: int) -> set[StreamShard]:
    return {StreamShard("alpaca", n, count) for n in range(count)}


async def test_shards_follow_the_plan_and_no_account_has_two(local: WorkflowEnvironment):
    fake = FakeStreams(2)
    async with worker(local, fake):
        handle = await start(local)
        await until(lambda: set(fake.running) == shards_of(2))
        fake.wanted = 3
        await until(lambda: set(fake.running) == shards_of(3))
        assert len(fake.begun) == 5
        fake.wanted = 0
        await until(lambda: not fake.running)
        await handle.terminate()


async def test_the_console_shows_how_the_streams_do(local: WorkflowEnvironment):
    fake = FakeStreams(1)
    async with worker(local, fake):
        handle = await start(local)
        await until(lambda: len(fake.running) == 1)
        found = await HeartbeatShards(local.client).tallies(handle.id)
        async with asyncio.timeout(60):
            while found != [fake.tally]:
                found = await HeartbeatShards(local.client).tallies(handle.id)
        fake.tally = StreamTally(10, 9, 1, 4, 8, 1_700_000_001)
        async with asyncio.timeout(60):
            while (await handle.describe()).typed_search_attributes.get(sa.STATE) != "degraded":
                await asyncio.sleep(0.05)
        details = await handle.query("__temporal_workflow_metadata")
        assert "9 of 10 accounts connected" in str(details)
        await handle.terminate()


async def test_a_shard_that_fails_is_begun_again(local: WorkflowEnvironment):
    fake = FakeStreams(1)
    async with worker(local, fake):
        handle = await start(local)
        await until(lambda: len(fake.running) == 1)
        fake.stops.set()
        await until(lambda: len(fake.begun) == 2)
        fake.stops.clear()
        await until(lambda: len(fake.begun) > 2 and len(fake.running) == 1)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()


async def test_a_run_that_goes_on_as_a_new_one_begins_its_shards_at_once(local: WorkflowEnvironment):
    fake = FakeStreams(2)
    async with worker(local, fake):
        handle = await start(local, 2)
        await until(lambda: set(fake.running) == shards_of(2))
        await until(lambda: len(fake.watched) > 1)
        assert fake.watched[0] == StreamPlan(2, 0, StreamTally())
        assert len(fake.begun) == 2
        await handle.terminate()

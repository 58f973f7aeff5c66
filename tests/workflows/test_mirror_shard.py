import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Interceptor, Worker

from domain.mirroring import ShardInput
from domain.orders import FollowerState
from temporal import ids, queues
from tests.workflows.crossing import EndChildFirst
from tests.workflows.fakes import FakeMirroring, page_of
from workflows.mirror_shard import MirrorShardWorkflow
from workflows.registry import ALL

PAGE = ShardInput("t", "M-1", "V_1", "AAPL", "day", 0, wave=True, children_starting=50)


@asynccontextmanager
async def serving(
    env: WorkflowEnvironment, fake: FakeMirroring, *, interceptors: Sequence[Interceptor] = ()
) -> AsyncIterator[None]:
    """Workers as in worker.py: workflows and their steps on two queues, what is sent on a third."""
    async with AsyncExitStack() as running:
        for queue in (queues.ORCHESTRATION, queues.FOLLOWERS):
            worker = Worker(
                env.client, task_queue=queue, workflows=ALL, activities=fake.all(), interceptors=interceptors
            )
            await running.enter_async_context(worker)
        sender = Worker(env.client, task_queue=queues.DISPATCH, activities=fake.dispatching())
        await running.enter_async_context(sender)
        yield


async def start(env: WorkflowEnvironment, page: ShardInput) -> WorkflowHandle[Any, None]:
    return await env.client.start_workflow(
        MirrorShardWorkflow.run, page, id=ids.shard(page.mo_id, page.shard), task_queue=queues.ORCHESTRATION
    )


def fresh(**fields: Any) -> ShardInput:
    return replace(PAGE, mo_id=f"M-{uuid.uuid4().hex}", **fields)


async def test_a_page_is_expanded_sent_in_a_wave_and_handed_over(skipping: WorkflowEnvironment):
    done, left = page_of(2, FollowerState.CONFIRMED)[0], page_of(2)[1]
    fake = FakeMirroring([done, left])
    async with serving(skipping, fake):
        await (await start(skipping, PAGE)).result()
    assert fake.calls == ["expand 0", "wave webhook", "list", "deliver FO-1"]


async def test_every_order_gets_its_owner_even_when_the_wave_has_ended_it(skipping: WorkflowEnvironment):
    fake = FakeMirroring(page_of(3, FollowerState.CONFIRMED))
    async with serving(skipping, fake):
        await (await start(skipping, PAGE)).result()
        for n in range(3):
            owner = skipping.client.get_workflow_handle(ids.follower_order("M-1", f"F_{n}"))
            assert await owner.result() == "confirmed"


async def test_without_a_wave_the_owners_do_everything(skipping: WorkflowEnvironment):
    fake = FakeMirroring(page_of(2))
    async with serving(skipping, fake):
        await (await start(skipping, replace(PAGE, wave=False))).result()
    assert fake.calls[:2] == ["expand 0", "list"]
    assert sorted(fake.calls[2:]) == ["deliver FO-0", "deliver FO-1"]


async def test_a_retry_that_is_due_does_not_wait_for_the_waves_slowest_receiver(skipping: WorkflowEnvironment):
    slow, failed = page_of(2)
    fake = FakeMirroring([slow, failed])
    fake.due = [failed]
    fake.wave_ends = asyncio.Event()  # set by the failed order's next attempt: without it, the wave never ends
    async with serving(skipping, fake), asyncio.timeout(60):
        await (await start(skipping, fresh())).result()
    assert fake.calls[:4] == ["expand 0", "wave webhook", "deliver FO-1", "list"]
    assert sorted(fake.calls[4:]) == ["deliver FO-0"]


async def test_a_wave_that_fails_is_not_repeated_and_holds_nobody_up(skipping: WorkflowEnvironment):
    fake = FakeMirroring(page_of(2))
    fake.wave_fails = True
    async with serving(skipping, fake):
        await (await start(skipping, PAGE)).result()
    assert fake.calls.count("wave webhook") == 1
    assert sorted(fake.calls[3:]) == ["deliver FO-0", "deliver FO-1"]


async def test_a_wave_is_given_up_when_no_worker_picks_it_up_or_its_worker_falls_silent(local: WorkflowEnvironment):
    async with serving(local, FakeMirroring(page_of(1, FollowerState.CONFIRMED))):
        handle = await start(local, fresh())
        await handle.result()
    [wave] = [
        event.activity_task_scheduled_event_attributes
        async for event in handle.fetch_history_events()
        if event.activity_task_scheduled_event_attributes.activity_type.name == "dispatch_wave"
    ]
    assert wave.schedule_to_start_timeout.ToTimedelta() == timedelta(minutes=1)
    assert wave.heartbeat_timeout.ToTimedelta() == timedelta(seconds=6)
    assert wave.retry_policy.maximum_attempts == 1


async def test_an_empty_page_sends_no_wave(skipping: WorkflowEnvironment):
    fake = FakeMirroring([])
    async with serving(skipping, fake):
        await (await start(skipping, PAGE)).result()
    assert fake.calls == ["expand 0", "list"]


async def test_a_page_that_is_held_hands_over_only_what_is_due_until_it_is_released(local: WorkflowEnvironment):
    waiting, due = page_of(2)
    fake = FakeMirroring([waiting, due])
    fake.due = [due]
    fake.delivering = {"FO-1": asyncio.Event()}
    async with serving(local, fake), asyncio.timeout(60):
        handle = await start(local, fresh(wave=False, held=True))
        await _hanging(fake, "FO-1")
        assert fake.calls == ["deliver FO-1"]
        await handle.signal(MirrorShardWorkflow.release)
        fake.delivering.clear()
        await handle.signal(MirrorShardWorkflow.cancel)
        await handle.result()
    assert fake.calls[1:3] == ["expand 0", "list"]
    assert sorted(fake.calls[3:]) == ["deliver FO-0", "deliver FO-1"]


@pytest.mark.parametrize("window", [1, 3])
async def test_no_more_children_are_being_started_at_once_than_the_window_lets(local: WorkflowEnvironment, window: int):
    page = fresh(children_starting=window)
    async with serving(local, FakeMirroring(page_of(10, FollowerState.CONFIRMED))):
        handle = await start(local, page)
        await handle.result()
    starting, most, started = 0, 0, 0
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            starting += 1
        elif event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
            starting, started = starting - 1, started + 1
        most = max(most, starting)
    assert (most, started) == (window, 10)


async def _hanging(fake: FakeMirroring, *fo_ids: str) -> None:
    """The owners of these orders have made an attempt and wait an hour for the next one."""
    async with asyncio.timeout(60):
        for fo_id in fo_ids:
            await fake.delivering[fo_id].wait()


async def test_an_owner_that_an_operator_ended_is_not_the_others_trouble(local: WorkflowEnvironment):
    page, fake = fresh(), FakeMirroring(page_of(3))
    fake.delivering = {"FO-1": asyncio.Event()}
    async with serving(local, fake):
        handle = await start(local, page)
        await _hanging(fake, "FO-1")
        await local.client.get_workflow_handle(ids.follower_order(page.mo_id, "F_1")).terminate("by hand")
        async with asyncio.timeout(60):
            await handle.result()
    assert {"deliver FO-0", "deliver FO-2"} <= set(fake.calls)


async def test_a_cancel_reaches_every_owner_that_is_still_at_work(local: WorkflowEnvironment):
    page, fake = fresh(), FakeMirroring(page_of(3))
    fake.delivering = {"FO-0": asyncio.Event(), "FO-2": asyncio.Event()}
    async with serving(local, fake):
        handle = await start(local, page)
        await _hanging(fake, "FO-0", "FO-2")
        fake.delivering.clear()
        await handle.signal(MirrorShardWorkflow.cancel)
        async with asyncio.timeout(60):
            await handle.result()
    assert fake.calls.count("deliver FO-0") == fake.calls.count("deliver FO-2") == 2


async def test_a_cancel_that_crosses_with_an_owners_end_harms_nobody(local: WorkflowEnvironment):
    page, fake = fresh(), FakeMirroring(page_of(2))
    fake.delivering = {"FO-0": asyncio.Event(), "FO-1": asyncio.Event()}
    crossing = EndChildFirst(local, ids.follower_order(page.mo_id, "F_0"))
    async with serving(local, fake, interceptors=[crossing]):
        handle = await start(local, page)
        await _hanging(fake, "FO-0", "FO-1")
        fake.delivering.clear()
        await handle.signal(MirrorShardWorkflow.cancel)
        async with asyncio.timeout(60):
            await handle.result()
    assert crossing.ended
    assert fake.calls.count("deliver FO-1") == 2

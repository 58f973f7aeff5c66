"""Schedules on a real server: as configured, and as an operator left them."""

import asyncio
from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from temporal import ids
from temporal.schedules import ensure_ingest, ensure_marks, ensure_reference, ensure_streams
from tests.workflows.conftest import local, server  # noqa: F401  the same server as the workflows' tests have


async def test_a_pause_of_the_marks_outlives_a_start_and_their_interval_does_not(local: WorkflowEnvironment):  # noqa: F811
    await ensure_marks(local.client, every_s=3_600)
    handle = local.client.get_schedule_handle(ids.MARKS)
    assert not (await handle.describe()).schedule.state.paused
    await handle.pause(note="an operator")
    await ensure_marks(local.client, every_s=7_200)
    schedule = (await handle.describe()).schedule
    assert (schedule.state.paused, schedule.state.note) == (True, "an operator")
    assert [interval.every for interval in schedule.spec.intervals] == [timedelta(hours=2)]


async def test_reference_data_is_refreshed_at_once_only_when_its_schedule_is_first_made(local: WorkflowEnvironment):  # noqa: F811
    handle = local.client.get_schedule_handle(ids.REFERENCE)
    await ensure_reference(local.client, every_s=86_400, at_once=True)
    async with asyncio.timeout(60):
        while (await handle.describe()).info.num_actions == 0:
            await asyncio.sleep(0.05)
    await ensure_reference(local.client, every_s=3_600, at_once=True)
    described = await handle.describe()
    assert described.info.num_actions == 1
    assert [interval.every for interval in described.schedule.spec.intervals] == [timedelta(hours=1)]
    await handle.delete()


async def test_the_queue_is_read_or_not_as_configured(local: WorkflowEnvironment):  # noqa: F811
    for paused in (True, False, True):
        await ensure_ingest(local.client, every_s=3_600, paused=paused)
        schedule = (await local.client.get_schedule_handle(ids.INGEST).describe()).schedule
        assert schedule.state.paused is paused


async def test_streams_begin_at_once_where_they_are_on(local: WorkflowEnvironment):  # noqa: F811
    every = timedelta(hours=1)
    handle = local.client.get_schedule_handle(ids.streams("alpaca"))
    await ensure_streams(local.client, "alpaca", every=every, paused=True)
    assert (await handle.describe()).schedule.state.paused
    assert (await handle.describe()).info.num_actions == 0
    for _ in range(2):
        await ensure_streams(local.client, "alpaca", every=every, paused=False)
    async with asyncio.timeout(60):
        while (described := await handle.describe()).info.num_actions == 0:
            await asyncio.sleep(0.05)
    assert not described.schedule.state.paused
    [begun] = described.info.running_actions
    assert begun.workflow_id.startswith("streams/alpaca")  # type: ignore[attr-defined]
    await handle.delete()

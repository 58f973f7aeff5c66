"""Schedules on a real server: as configured, and as an operator left them."""

from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from temporal import ids
from temporal.schedules import ensure_ingest, ensure_marks
from tests.workflows.conftest import local  # noqa: F401  the same server as the workflows' tests have


async def test_a_pause_of_the_marks_outlives_a_start_and_their_interval_does_not(local: WorkflowEnvironment):  # noqa: F811
    await ensure_marks(local.client, every_s=3_600)
    handle = local.client.get_schedule_handle(ids.MARKS)
    assert not (await handle.describe()).schedule.state.paused
    await handle.pause(note="an operator")
    await ensure_marks(local.client, every_s=7_200)
    schedule = (await handle.describe()).schedule
    assert (schedule.state.paused, schedule.state.note) == (True, "an operator")
    assert [interval.every for interval in schedule.spec.intervals] == [timedelta(hours=2)]


async def test_the_queue_is_read_or_not_as_configured(local: WorkflowEnvironment):  # noqa: F811
    for paused in (True, False, True):
        await ensure_ingest(local.client, every_s=3_600, paused=paused)
        schedule = (await local.client.get_schedule_handle(ids.INGEST).describe()).schedule
        assert schedule.state.paused is paused

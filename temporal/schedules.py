"""Schedules, created or brought up to date at start-up; running this twice changes nothing."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from temporal import ids, queues

# The server's default is a year: after an outage it would read the queue once for every interval that was missed.
_CATCH_UP = timedelta(minutes=1)


async def ensure_ingest(client: Client, *, every_s: int, paused: bool) -> None:
    """Read the OS's queue every `every_s` seconds, never twice at once."""
    state = ScheduleState(paused=paused, note="no queue path is set" if paused else "reads autotrade_queue.json")
    await _ensure(client, ids.INGEST, "IngestQueueWorkflow", timedelta(seconds=every_s), state)


async def ensure_marks(client: Client, *, every_s: int) -> None:
    """Refresh prices and mark NAVs every `every_s` seconds, never twice at once."""
    state = ScheduleState(note="last prices, and every vault's NAV at them")
    await _ensure(client, ids.MARKS, "MarkPricesWorkflow", timedelta(seconds=every_s), state)


async def _ensure(client: Client, name: str, workflow: str, every: timedelta, state: ScheduleState) -> None:
    """Create the schedule, or bring it up to date."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(workflow, id=name, task_queue=queues.ORCHESTRATION),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        state=state,
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:

        def update(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule=schedule)

        await client.get_schedule_handle(name).update(update)

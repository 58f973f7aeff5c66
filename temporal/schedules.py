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
    schedule = Schedule(
        action=ScheduleActionStartWorkflow("IngestQueueWorkflow", id=ids.INGEST, task_queue=queues.ORCHESTRATION),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=every_s))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        state=ScheduleState(paused=paused, note="no queue path is set" if paused else "reads autotrade_queue.json"),
    )
    try:
        await client.create_schedule(ids.INGEST, schedule)
    except ScheduleAlreadyRunningError:

        def update(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule=schedule)

        await client.get_schedule_handle(ids.INGEST).update(update)

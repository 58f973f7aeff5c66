"""Schedules, created or brought up to date at start-up; running this twice changes nothing."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

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
from temporalio.common import TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from domain.billing_comparison import ComparisonInput
from domain.runs import ReconcileInput
from domain.streams import StreamInput
from temporal import ids, queues

# The server's default is a year: after an outage it would read the queue once for every interval that was missed.
_CATCH_UP = timedelta(minutes=1)
_BILLING_CATCH_UP = timedelta(hours=6)  # a day's comparison is worth more than being in time
_RECONCILE_CATCH_UP = timedelta(minutes=5)


async def ensure_ingest(client: Client, *, every_s: int, paused: bool) -> None:
    """Read the OS's queue every `every_s` seconds, never twice at once."""
    state = ScheduleState(paused=paused, note="no queue path is set" if paused else "reads autotrade_queue.json")
    await _ensure(client, ids.INGEST, "IngestQueueWorkflow", timedelta(seconds=every_s), state)


async def ensure_marks(client: Client, *, every_s: int) -> None:
    """Refresh prices and mark NAVs every `every_s` seconds, never twice at once."""
    state = ScheduleState(note="last prices, and every vault's NAV at them")
    every = timedelta(seconds=every_s)
    await _ensure(client, ids.MARKS, "MarkPricesWorkflow", every, state, keeps_state=True)


async def ensure_refresh(client: Client, *, every_s: int) -> None:
    """Exchange access tokens that are about to expire every `every_s` seconds, never twice at once."""
    state = ScheduleState(note="access tokens of brokers, before they expire")
    every, queue = timedelta(seconds=every_s), queues.RECONCILIATION
    await _ensure(client, ids.REFRESH, "RefreshCredentialsWorkflow", every, state, keeps_state=True, queue=queue)


async def ensure_reference(client: Client, *, every_s: int, at_once: bool) -> None:
    """Refresh exchange calendars and instruments every `every_s` seconds; `at_once`: also when it is first made."""
    state = ScheduleState(note="exchanges' sessions, and instruments as their venues tell them")
    every = timedelta(seconds=every_s)
    await _ensure(client, ids.REFERENCE, "RefreshReferenceWorkflow", every, state, keeps_state=True, at_once=at_once)


async def ensure_billing(client: Client, *, every_s: int, lookback_days: int) -> None:
    """Compare all invoices with the payment systems' every `every_s` seconds, never twice at once."""
    state = ScheduleState(note="our invoices, beside those of the payment systems")
    every, start = timedelta(seconds=every_s), ComparisonInput(lookback_days)
    await _ensure(
        client, ids.BILLING, "ReconcileBillingWorkflow", every, state, keeps_state=True, queue=queues.BILLING,
        start=start, catch_up=_BILLING_CATCH_UP,
    )  # fmt: skip


async def _ensure(
    client: Client,
    name: str,
    workflow: str,
    every: timedelta,
    state: ScheduleState,
    *,
    keeps_state: bool = False,
    at_once: bool = False,
    queue: str = queues.ORCHESTRATION,
    start: Any = None,
    catch_up: timedelta = _CATCH_UP,
) -> None:
    """Create the schedule, or bring it up to date; with `keeps_state` a pause outlives our next start."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(workflow, args=[] if start is None else [start], id=name, task_queue=queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=catch_up),
        state=state,
    )
    try:
        await client.create_schedule(name, schedule, trigger_immediately=at_once)
    except ScheduleAlreadyRunningError:

        def update(found: ScheduleUpdateInput) -> ScheduleUpdate:
            if keeps_state:
                schedule.state = found.description.schedule.state
            return ScheduleUpdate(schedule=schedule)

        await client.get_schedule_handle(name).update(update)


async def ensure_reconciliation(
    client: Client, start: ReconcileInput, attributes: TypedSearchAttributes, *, every: timedelta
) -> None:
    """Reconcile the vault every so often, first when one interval has passed, never twice at once."""
    name = ids.reconcile(start.vault_id)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "ReconcileVaultWorkflow",
            start,
            id=name,
            task_queue=queues.RECONCILIATION,
            static_summary=f"reconcile {start.vault_id}",
            typed_search_attributes=attributes,
        ),
        # Each vault at a time of its own within the interval, so that brokers do not hear of all at once.
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=every, offset=_offset(start.vault_id, every))],
            start_at=datetime.now(UTC) + every,
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_RECONCILE_CATCH_UP),
        state=ScheduleState(note="compares followers' positions with their brokers and receivers"),
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:

        def update(found: ScheduleUpdateInput) -> ScheduleUpdate:
            # Who paused it, and when it first began, stays.
            there = found.description.schedule
            schedule.state, schedule.spec.start_at = there.state, there.spec.start_at
            return ScheduleUpdate(schedule=schedule)

        await client.get_schedule_handle(name).update(update)


async def ensure_streams(client: Client, venue: str, *, every: timedelta, paused: bool) -> None:
    """See to it that the venue's streams run: a run goes on for ever, and is begun again should somebody end it."""
    name = ids.streams(venue)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "OrderStreamWorkflow",
            StreamInput(venue),
            id=name,
            task_queue=queues.STREAMS,
            static_summary=f"order streams of {venue}",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        state=ScheduleState(paused=paused, note="streams are off" if paused else "fills as the venue reports them"),
    )
    handle = client.get_schedule_handle(name)
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await handle.update(lambda _: ScheduleUpdate(schedule=schedule))
    if not paused:
        await handle.trigger()


async def remove(client: Client, name: str) -> None:
    """Delete a schedule; one that is not there is no error."""
    try:
        await client.get_schedule_handle(name).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


def _offset(name: str, every: timedelta) -> timedelta:
    seconds = max(1, int(every.total_seconds()))
    return timedelta(seconds=int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % seconds)

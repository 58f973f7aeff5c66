"""One round of reference data; a Schedule starts it a few times a day and never twice at once."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.reference import ReferenceActivities, RefreshDone

# Of three, as the Schedule's next round does all of it again anyway.
_RETRY = RetryPolicy(maximum_attempts=3)
_TIMEOUT = timedelta(minutes=15)
_HEARTBEAT = timedelta(seconds=8)


@dataclass(slots=True)
class ReferenceRefreshed:
    calendars: RefreshDone
    instruments: RefreshDone


@workflow.defn
class RefreshReferenceWorkflow:
    @workflow.run
    async def run(self) -> ReferenceRefreshed:
        calendars = await workflow.execute_activity_method(
            ReferenceActivities.refresh_calendars,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary="exchanges' sessions, a month back and eighteen ahead",
        )
        instruments = await workflow.execute_activity_method(
            ReferenceActivities.refresh_instruments,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary="steps, minimums and flags as venues tell them",
        )
        problems = [*calendars.problems, *instruments.problems]
        workflow.set_current_details(
            f"{calendars.changed} sessions of {calendars.asked} calendars and {instruments.changed} of "
            f"{instruments.asked} instruments changed" + "".join(f"\n- {problem}" for problem in problems)
        )
        return ReferenceRefreshed(calendars, instruments)

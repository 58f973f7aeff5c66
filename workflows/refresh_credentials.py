"""One round of access tokens that are about to expire; a Schedule starts it every minute and never twice at once."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.refreshing import RefreshActivities, RefreshRound

# Of three, as the Schedule's next round does all of it again anyway.
_RETRY = RetryPolicy(maximum_attempts=3)
_TIMEOUT = timedelta(minutes=5)
_HEARTBEAT = timedelta(seconds=8)


@workflow.defn
class RefreshCredentialsWorkflow:
    @workflow.run
    async def run(self) -> RefreshRound:
        done = await workflow.execute_activity_method(
            RefreshActivities.refresh_credentials,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary="exchange access tokens that are about to expire",
        )
        workflow.set_current_details(f"{done.refreshed} refreshed, {done.broken} broken, {done.later} left for later")
        return done

"""One reading of the OS's autotrade_queue.json; a Schedule starts it every few seconds and never twice at once."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.ingest import IngestActivities, IngestResult


@workflow.defn
class IngestQueueWorkflow:
    @workflow.run
    async def run(self) -> IngestResult:
        result = await workflow.execute_activity_method(
            IngestActivities.ingest,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=8),
            retry_policy=RetryPolicy(maximum_attempts=3),
            summary="read the queue, admit each entry once",
        )
        workflow.set_current_details(
            f"{result.admitted} admitted, {result.refused} refused, {result.rejected} rejected, {result.known} known"
        )
        return result

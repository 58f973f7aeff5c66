"""A venue's order streams: its accounts shared out over shards, each a long activity that keeps their connections."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    from activities.streams import StreamActivities, WatchInput
    from domain.streams import StreamInput, StreamPlan, StreamShard, StreamTally
    from temporal import policies
    from temporal import search_attributes as sa


@workflow.defn
class OrderStreamWorkflow:
    @workflow.init
    def __init__(self, start: StreamInput) -> None:
        self._venue = start.venue
        self._known: StreamPlan | None = None
        self._state: str | None = None
        self._shards: list[ActivityHandle[None]] = []

    @workflow.run
    async def run(self, start: StreamInput) -> None:
        """Goes on for ever, as a new run now and then; what lies between, the look back of each connection finds."""
        if start.shards:
            self._begin(start.shards)
            self._known = StreamPlan(start.shards, 0, StreamTally())
        while not workflow.info().is_continue_as_new_suggested():
            plan = await self._watch()
            if plan.shards != len(self._shards):
                await self._end()
                self._begin(plan.shards)
            self._known = plan
            self._show(plan)
        shards = len(self._shards)
        await self._end()
        workflow.continue_as_new(StreamInput(self._venue, shards))

    async def _watch(self) -> StreamPlan:
        return await workflow.execute_activity_method(
            StreamActivities.watch_streams,
            WatchInput(self._venue, self._known),
            start_to_close_timeout=policies.STREAM_WATCH_TIMEOUT,
            heartbeat_timeout=policies.STREAM_HEARTBEAT,
            retry_policy=policies.STREAM_RETRY,
            summary=f"accounts at {self._venue} that come and go",
        )

    def _begin(self, shards: int) -> None:
        for number in range(shards):
            self._shards.append(
                workflow.start_activity_method(
                    StreamActivities.stream_orders,
                    StreamShard(self._venue, number, shards),
                    start_to_close_timeout=policies.STREAM_TIMEOUT,
                    heartbeat_timeout=policies.STREAM_HEARTBEAT,
                    retry_policy=policies.STREAM_RETRY,
                    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=f"shard {number + 1} of {shards}",
                )
            )

    async def _end(self) -> None:
        """An account must not be listened to by two shards: venues close the older connection."""
        for shard in self._shards:
            shard.cancel()
        for shard in self._shards:
            with suppress(ActivityError):  # it was cancelled
                await shard
        self._shards.clear()

    def _show(self, plan: StreamPlan) -> None:
        workflow.set_current_details(f"{plan.tally.words()}\n\n{plan.accounts} accounts in {plan.shards} shards")
        state = plan.tally.state
        if state != self._state:
            workflow.upsert_search_attributes([sa.STATE.value_set(state)])
            self._state = state

"""One manager order: admit it, mirror its pages, settle it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.workflow import ChildWorkflowHandle

from workflows.mirror_shard import MirrorShardWorkflow, ShardInput

with workflow.unsafe.imports_passed_through():
    from activities.mirroring import CancelInput, MirrorActivities, OrderKey
    from domain.mirroring import Admission, Cancellation, MirrorOrderInput, Settlement
    from domain.orders import ManagerState
    from domain.sizing import plain
    from temporal import ids, policies
    from temporal import search_attributes as sa

_HOT = Priority(priority_key=1)


@dataclass(slots=True)
class MirrorResult:
    """How the order ended: counts of follower orders by state, and where its trade log lies."""

    state: ManagerState
    counts: dict[str, int] = field(default_factory=dict)
    trade_log: str | None = None


@workflow.defn
class MirrorOrderWorkflow:
    @workflow.init
    def __init__(self, order: MirrorOrderInput) -> None:
        self._order = order
        self._key = OrderKey(order.tenant_id, order.mo_id)
        self._admission: Admission | None = None
        self._refused: ApplicationError | None = None
        self._shards: list[ChildWorkflowHandle[MirrorShardWorkflow, None]] = []
        self._settling = False

    @workflow.run
    async def run(self, order: MirrorOrderInput) -> MirrorResult:
        admission = await self._admit()
        if admission.state is not ManagerState.DISPATCHING:
            # Refused, or an order of long ago whose key came again after its workflow had been forgotten.
            workflow.upsert_search_attributes([sa.STATE.value_set(admission.state)])
            self._show(f"**{admission.state}** · {admission.reason or 'ended earlier'}")
            await workflow.wait_condition(workflow.all_handlers_finished)
            return MirrorResult(admission.state)
        await self._mirror(admission)
        settlement = await self._settle()
        trade_log = await self._archive()
        self._show(f"**{settlement.state}** · " + _counts(settlement))
        workflow.upsert_search_attributes([sa.STATE.value_set(settlement.state)])
        await workflow.wait_condition(workflow.all_handlers_finished)
        return MirrorResult(settlement.state, settlement.counts, trade_log)

    @workflow.update
    async def admit(self) -> Admission:
        """The verdict at the door; fails with the code of an order that could not even be recorded."""
        await workflow.wait_condition(lambda: self._admission is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused
        assert self._admission is not None
        return self._admission

    @workflow.update
    async def cancel(self, actor: str) -> Cancellation:
        """Cancel what was never sent, and have the rest cancelled where its venue allows it."""
        done = await workflow.execute_activity_method(
            MirrorActivities.cancel,
            CancelInput(self._order.tenant_id, self._order.mo_id, actor),
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="cancel what was never sent",
            priority=_HOT,
        )
        for shard in self._shards:
            await _signal_cancel(shard)
        self._show(f"**cancelled** · {done.cancelled} never sent, {done.in_flight} on their way")
        return done

    @cancel.validator
    def _may_cancel(self, actor: str) -> None:
        if self._admission is None or not self._admission.accepted:
            raise ApplicationError("the order was not admitted, so there is nothing to cancel", type="not-admitted")
        if self._settling:
            raise ApplicationError("the order has settled already", type="already-settled")

    async def _admit(self) -> Admission:
        try:
            admission = await workflow.execute_activity_method(
                MirrorActivities.admit,
                self._order,
                start_to_close_timeout=policies.STORE_TIMEOUT,
                retry_policy=policies.STORE_RETRY,
                summary="guards, snapshot, row",
                priority=_HOT,
            )
        except ActivityError as error:
            # The caller that waits in `admit` hears why, then the workflow ends as failed for operators to see.
            cause = error.cause
            kind = cause.type if isinstance(cause, ApplicationError) else "admission-failed"
            self._refused = ApplicationError(str(cause), type=kind, non_retryable=True)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refused from error
        self._admission = admission
        return admission

    async def _mirror(self, admission: Admission) -> None:
        self._show(f"**dispatching** · {admission.followers} followers in {admission.shards} pages")
        order, intent = self._order, self._order.intent
        for number in range(admission.shards):
            shard = ShardInput(
                tenant_id=order.tenant_id,
                mo_id=order.mo_id,
                vault_id=intent.vault_id,
                symbol=intent.symbol,
                tif=intent.tif,
                shard=number,
                wave=admission.wave,
                children_starting=admission.children_starting,
            )
            self._shards.append(
                await workflow.start_child_workflow(
                    MirrorShardWorkflow.run,
                    shard,
                    id=ids.shard(order.mo_id, number),
                    static_summary=f"page {number + 1} of {admission.shards} · {intent.side} {intent.symbol}",
                    search_attributes=workflow.info().typed_search_attributes,
                    priority=_HOT,
                )
            )
        await asyncio.gather(*(_end_of(shard) for shard in self._shards))

    async def _settle(self) -> Settlement:
        self._settling = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        return await workflow.execute_activity_method(
            MirrorActivities.settle,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="count and close",
        )

    async def _archive(self) -> str:
        return await workflow.execute_activity_method(
            MirrorActivities.archive,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="trade_log.jsonl to the audit bucket",
        )

    def _show(self, line: str) -> None:
        intent = self._order.intent
        workflow.set_current_details(
            f"{intent.side} {plain(intent.qty)} {intent.symbol} on {intent.vault_id}\n\n{line}"
        )


async def _signal_cancel(shard: ChildWorkflowHandle[MirrorShardWorkflow, None]) -> None:
    if not shard.done():
        with suppress(ApplicationError):  # it has ended, and word of that is on its way to us
            await shard.signal(MirrorShardWorkflow.cancel)


async def _end_of(shard: ChildWorkflowHandle[MirrorShardWorkflow, None]) -> None:
    try:
        await shard
    except ChildWorkflowError as error:
        # The other pages go on, and the order settles: with errors, as this page's orders are not all over.
        workflow.logger.warning("a page did not finish: %s", error)


def _counts(settlement: Settlement) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(settlement.counts.items())) or "no followers"

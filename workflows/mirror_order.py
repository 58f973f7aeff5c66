"""One manager order: admit it, send its first waves, hand its pages over, settle it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError
from temporalio.workflow import ChildWorkflowHandle

from workflows.mirror_shard import MirrorShardWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.mirroring import CancelInput, MirrorActivities, OrderKey, ShardKey
    from activities.wave import WaveActivities, WaveInput
    from domain.mirroring import Admission, Cancellation, MirrorOrderInput, Settlement, ShardInput
    from domain.orders import ManagerState
    from domain.sizing import plain
    from temporal import ids, policies, queues
    from temporal import search_attributes as sa

# Waves go before the children of orders that were sent earlier: the last follower's price is the product.
_HOT = Priority(priority_key=1)
_LATER = Priority(priority_key=3)
_PAGES_STARTING = 100

# Runs that began before waves belonged to the manager order go on as they began: their pages send their own.
PATCH_WAVES = "waves-by-the-manager-order"
_EXPIRY = "system:expiry"


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
        self._shards: dict[int, ChildWorkflowHandle[MirrorShardWorkflow, None]] = {}
        self._owns_waves = True
        self._sent = 0
        self._cancelled = False
        self._expired = False
        self._expiry: asyncio.Task[None] | None = None
        self._settling = False
        self._releasing = False
        self._calling_off = 0

    @workflow.run
    async def run(self, order: MirrorOrderInput) -> MirrorResult:
        self._owns_waves = workflow.patched(PATCH_WAVES)
        admission = await self._admit()
        if admission.waits_until is not None:
            admission = await self._wait_for_session(admission)
        if admission.state is not ManagerState.DISPATCHING:
            # Refused, or an order of long ago whose key came again after its workflow had been forgotten.
            workflow.upsert_search_attributes([sa.STATE.value_set(admission.state)])
            self._settling = True  # nothing is to be called off any more
            ended = "called off before its session opened" if self._cancelled else "ended earlier"
            self._show(f"**{admission.state}** · {admission.reason or ended}")
            await workflow.wait_condition(workflow.all_handlers_finished)
            return MirrorResult(admission.state)
        self._show(f"**dispatching** · {admission.followers} followers in {admission.shards} pages")
        if admission.expires_at is not None and self._expiry is None:
            self._expiry = asyncio.create_task(self._expire(admission.expires_at))
        if self._owns_waves:
            await self._mirror(admission)
        else:
            for number in range(admission.shards):
                await self._start_shard(admission, number, wave=admission.wave)
        await asyncio.gather(*(_end_of(shard) for shard in self._shards.values()))
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
        return await self._call_off(actor)

    @cancel.validator
    def _may_cancel(self, actor: str) -> None:
        if self._admission is None or not self._admission.accepted:
            raise ApplicationError("the order was not admitted, so there is nothing to cancel", type="not-admitted")
        if self._expired:
            raise ApplicationError("the order has expired already", type="already-expired")
        if self._settling:
            raise ApplicationError("the order has settled already", type="already-settled")

    async def _wait_for_session(self, admission: Admission) -> Admission:
        """Until it begins, is refused or is called off. It has no snapshot yet: it is judged and sized when it begins.

        A release and a cancel keep out of each other's way, as a cancel must know of the pages that a release makes.
        """
        if admission.expires_at is not None:
            self._expiry = asyncio.create_task(self._expire(admission.expires_at))
        while admission.waits_until is not None:
            at = admission.waits_until
            summary = f"waits for the session to open at {at.isoformat()}"
            if admission.reason is not None:
                summary = f"waits, and is looked at again at {at.isoformat()}: {admission.reason}"
            self._show(f"**received** · {summary}")
            with suppress(TimeoutError):
                wait = max(at - workflow.now(), timedelta(0))
                await workflow.wait_condition(lambda: self._cancelled, timeout=wait, timeout_summary=summary)
            await workflow.wait_condition(lambda: not self._calling_off)
            self._releasing = True
            admission = self._admission = await self._release()
            self._releasing = False
        return admission

    async def _release(self) -> Admission:
        return await workflow.execute_activity_method(
            MirrorActivities.release,
            self._order,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="judge anew; snapshot, row",
            priority=_HOT,
        )

    async def _expire(self, at: datetime) -> None:
        """What is still open when the order's time is over is called off; the fills that came stay."""
        wait, summary = max(at - workflow.now(), timedelta(0)), f"expires at {at.isoformat()}"
        try:
            await workflow.wait_condition(
                lambda: self._settling or self._cancelled, timeout=wait, timeout_summary=summary
            )
        except TimeoutError:
            await self._call_off(_EXPIRY, expired=True)

    async def _call_off(self, actor: str, *, expired: bool = False) -> Cancellation:
        """Cancel or expire: the same path, to the owners and through them to the venues."""
        if self._releasing:
            await workflow.wait_condition(lambda: not self._releasing)
        self._calling_off += 1
        try:
            return await self._end(actor, expired=expired)
        finally:
            self._calling_off -= 1

    async def _end(self, actor: str, *, expired: bool) -> Cancellation:
        assert self._admission is not None
        done = await workflow.execute_activity_method(
            MirrorActivities.cancel,
            CancelInput(self._order.tenant_id, self._order.mo_id, actor, self._admission.shards, expired),
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="cancel what was never sent",
            priority=_HOT,
        )
        self._cancelled, self._expired = True, done.state is ManagerState.EXPIRED
        for shard in list(self._shards.values()):
            await _signal(shard, MirrorShardWorkflow.cancel)
        self._show(f"**{done.state}** · {done.cancelled} never sent, {done.in_flight} on their way")
        return done

    async def _admit(self) -> Admission:
        try:
            # Within the first workflow task: two round trips through the server less before the first request leaves.
            admission = await (self._admit_locally() if self._owns_waves else self._admit_remotely())
        except FailureError as error:
            # The caller that waits in `admit` hears why, then the workflow ends as failed for operators to see.
            cause = error.cause if isinstance(error, ActivityError) else error  # a local one comes as it is
            kind = cause.type if isinstance(cause, ApplicationError) else "admission-failed"
            self._refused = ApplicationError(str(cause), type=kind, non_retryable=True)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refused from error
        self._admission = admission
        return admission

    async def _admit_locally(self) -> Admission:
        return await workflow.execute_local_activity_method(
            MirrorActivities.admit,
            self._order,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            local_retry_threshold=policies.STORE_RETRY_LOCALLY,
            summary="guards, snapshot, row",
        )

    async def _admit_remotely(self) -> Admission:
        return await workflow.execute_activity_method(
            MirrorActivities.admit,
            self._order,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="guards, snapshot, row",
            priority=_HOT,
        )

    async def _mirror(self, admission: Admission) -> None:
        """Send every page's waves; their pages begin when all are over, so that nothing else takes their time.

        A page with an order that is due for more (a retry, a fill to wait for) begins while waves are under way, and
        has its other orders wait.
        """
        waves = self._start_waves(admission) if admission.wave else []
        while not await _over_within(policies.WAVE_LOOK, waves):
            due = [number for number in await self._due_pages() if number not in self._shards]
            await asyncio.gather(*(self._start_shard(admission, number, held=True) for number in due))
        if waves:
            self._show(f"**dispatching** · first wave: {self._sent} of {admission.followers} followers attempted")
        held = list(self._shards.values())
        rest = [number for number in range(admission.shards) if number not in self._shards]
        for first in range(0, len(rest), _PAGES_STARTING):  # all in one task could exceed the size of a message
            some = rest[first : first + _PAGES_STARTING]
            await asyncio.gather(*(self._start_shard(admission, number) for number in some))
        for shard in held:
            await _signal(shard, MirrorShardWorkflow.release)

    def _start_waves(self, admission: Admission) -> list[asyncio.Task[None]]:
        slots = asyncio.Semaphore(admission.waves_at_once)
        return [
            asyncio.create_task(self._wave(slots, ShardKey(self._key.tenant_id, self._key.mo_id, number), route))
            for number, routes in enumerate(admission.routes)
            for route in routes
        ]

    async def _wave(self, slots: asyncio.Semaphore, page: ShardKey, route: str) -> None:
        async with slots:
            try:
                result = await workflow.execute_activity_method(
                    WaveActivities.dispatch_wave,
                    WaveInput(page, route),
                    task_queue=queues.for_route(route),
                    start_to_close_timeout=policies.WAVE_TIMEOUT,
                    schedule_to_start_timeout=policies.WAVE_PICKUP,
                    heartbeat_timeout=policies.WAVE_HEARTBEAT,
                    retry_policy=policies.ONCE,
                    summary=f"first attempts by {route}, page {page.shard + 1}",
                    priority=_HOT,
                )
            except ActivityError:
                # Its worker died or was stopped. What it had claimed is `sent` in the database; the owners find out.
                workflow.logger.warning("a %s wave did not finish; its orders go on one by one", route)
            else:
                self._sent += result.sent

    async def _due_pages(self) -> list[int]:
        return await workflow.execute_activity_method(
            MirrorActivities.list_due_pages,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="what the waves have left to its owner",
        )

    async def _start_shard(self, admission: Admission, number: int, *, wave: bool = False, held: bool = False) -> None:
        order, intent = self._order, self._order.intent
        shard = ShardInput(
            tenant_id=order.tenant_id,
            mo_id=order.mo_id,
            vault_id=intent.vault_id,
            symbol=intent.symbol,
            tif=intent.tif,
            shard=number,
            wave=wave,
            children_starting=max(1, admission.children_starting // admission.shards),
            held=held,
        )
        started = self._shards[number] = await workflow.start_child_workflow(
            MirrorShardWorkflow.run,
            shard,
            id=ids.shard(order.mo_id, number),
            task_queue=queues.FOLLOWERS,
            static_summary=f"page {number + 1} of {admission.shards} · {intent.side} {intent.symbol}",
            search_attributes=workflow.info().typed_search_attributes,
            priority=_LATER,
        )
        if self._cancelled and self._owns_waves:
            # The guards stop what is still to be sent; what its wave has left open at a venue only a cancel ends.
            await _signal(started, MirrorShardWorkflow.cancel)

    async def _settle(self) -> Settlement:
        self._settling = True
        if self._expiry is not None:
            await self._expiry
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


async def _signal(
    shard: ChildWorkflowHandle[MirrorShardWorkflow, None],
    signal: Callable[[MirrorShardWorkflow], Awaitable[None] | None],
) -> None:
    if not shard.done():
        with suppress(ApplicationError):  # it has ended, and word of that is on its way to us
            await shard.signal(signal)


async def _over_within(wait: timedelta, waves: list[asyncio.Task[None]]) -> bool:
    try:
        await workflow.wait_condition(lambda: all(wave.done() for wave in waves), timeout=wait)
    except TimeoutError:
        return False
    return True


async def _end_of(shard: ChildWorkflowHandle[MirrorShardWorkflow, None]) -> None:
    try:
        await shard
    except ChildWorkflowError as error:
        # The other pages go on, and the order settles: with errors, as this page's orders are not all over.
        workflow.logger.warning("a page did not finish: %s", error)


def _counts(settlement: Settlement) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(settlement.counts.items())) or "no followers"

"""One page of a manager order's followers: give every order its owner."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from workflows.follower_order import FollowerOrderWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.mirroring import MirrorActivities, ShardKey
    from activities.wave import WaveActivities, WaveInput, WaveResult
    from domain.mirroring import FollowerOrderInput, OrderRef, ShardInput
    from domain.sizing import plain
    from temporal import ids, policies, queues
    from temporal import search_attributes as sa

# Waves go before the children of orders that were sent earlier: the last follower's price is the product.
_WAVE = Priority(priority_key=1)
_CHILD = Priority(priority_key=4)


@workflow.defn
class MirrorShardWorkflow:
    @workflow.init
    def __init__(self, page: ShardInput) -> None:
        self._page = page
        self._key = ShardKey(page.tenant_id, page.mo_id, page.shard)
        self._children: list[ChildWorkflowHandle[FollowerOrderWorkflow, str]] = []
        self._owners: dict[str, asyncio.Task[None]] = {}
        self._starting = asyncio.Semaphore(page.children_starting)
        self._cancelled = False
        self._held = page.held

    @workflow.run
    async def run(self, page: ShardInput) -> None:
        while self._held:
            self._hand_over(await self._list(MirrorActivities.list_due, "what the waves have left to its owner"))
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: not self._held, timeout=policies.WAVE_LOOK)
        routes = await self._expand()
        if page.wave:
            await self._send_waves(routes)
        self._hand_over(await self._list(MirrorActivities.list_orders, "where each order stands"))
        await asyncio.gather(*self._owners.values())
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.signal
    async def cancel(self) -> None:
        """Tell every order's owner; those that start later learn it from the guards."""
        self._cancelled = True
        for child in self._children:
            if not child.done():
                await _tell(child)

    @workflow.signal
    async def release(self) -> None:
        """The first waves are over: every order gets its owner."""
        self._held = False

    async def _expand(self) -> dict[str, int]:
        return await workflow.execute_activity_method(
            MirrorActivities.expand,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="size whom no wave has sized",
            priority=_WAVE,
        )

    async def _send_waves(self, routes: dict[str, int]) -> None:
        waves = {route: self._start_wave(route, count) for route, count in sorted(routes.items())}
        while not await self._over_within(policies.WAVE_LOOK, waves):
            self._hand_over(await self._list(MirrorActivities.list_due, "what the wave has left to its owner"))
        sent = 0
        for route, wave in waves.items():
            try:
                sent += (await wave).sent
            except ActivityError:
                # Its worker died or was stopped. What it had claimed is `sent` in the database; the owners find out.
                workflow.logger.warning("the %s wave did not finish; its orders go on one by one", route)
        workflow.set_current_details(f"first wave: {sent} of {sum(routes.values())} attempted")

    async def _over_within(self, wait: timedelta, waves: dict[str, ActivityHandle[WaveResult]]) -> bool:
        try:
            await workflow.wait_condition(lambda: all(wave.done() for wave in waves.values()), timeout=wait)
        except TimeoutError:
            return False
        return True

    def _start_wave(self, route: str, count: int) -> ActivityHandle[WaveResult]:
        return workflow.start_activity_method(
            WaveActivities.dispatch_wave,
            WaveInput(self._key, route),
            task_queue=queues.for_route(route),
            start_to_close_timeout=policies.WAVE_TIMEOUT,
            schedule_to_start_timeout=policies.WAVE_PICKUP,
            heartbeat_timeout=policies.WAVE_HEARTBEAT,
            retry_policy=policies.ONCE,
            summary=f"first attempts by {route}: {count}",
            priority=_WAVE,
        )

    async def _list(self, step: Callable[..., Awaitable[list[OrderRef]]], summary: str) -> list[OrderRef]:
        return await workflow.execute_activity_method(
            step,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary=summary,
        )

    def _hand_over(self, orders: list[OrderRef]) -> None:
        for order in orders:
            if order.fo_id not in self._owners:
                self._owners[order.fo_id] = asyncio.create_task(self._own(order))

    async def _own(self, order: OrderRef) -> None:
        try:
            async with self._starting:
                child = await self._start_child(order)
            self._children.append(child)
            if self._cancelled:
                await _tell(child)
            await child
        except (ChildWorkflowError, WorkflowAlreadyStartedError) as error:
            # One follower's trouble (an operator ended its workflow, say) is not the others'.
            workflow.logger.warning("the owner of %s did not finish: %s", order.fo_id, error)

    async def _start_child(self, order: OrderRef) -> ChildWorkflowHandle[FollowerOrderWorkflow, str]:
        page, symbol = self._page, order.symbol or self._page.symbol
        return await workflow.start_child_workflow(
            FollowerOrderWorkflow.run,
            FollowerOrderInput(page.tenant_id, order, page.tif),
            id=ids.follower_order(page.mo_id, order.follower_id, order.leg),
            static_summary=f"{order.side} {plain(order.qty)} {symbol} for {order.follower_id} by {order.route}",
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(sa.TENANT, page.tenant_id),
                    SearchAttributePair(sa.VAULT, page.vault_id),
                    SearchAttributePair(sa.FOLLOWER, order.follower_id),
                    SearchAttributePair(sa.SYMBOL, symbol),
                    SearchAttributePair(sa.STATE, order.state),
                ]
            ),
            priority=_CHILD,
        )


async def _tell(child: ChildWorkflowHandle[FollowerOrderWorkflow, str]) -> None:
    with suppress(ApplicationError):  # it has ended, and word of that is on its way to us
        await child.signal(FollowerOrderWorkflow.cancel)

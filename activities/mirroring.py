"""The manager order's own steps: admit, expand a page, list its orders, settle, cancel, archive."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import translated
from domain.mirroring import Admission, Cancellation, MirrorOrderInput, OrderRef, Settlement
from domain.orders import ManagerState

if TYPE_CHECKING:
    from adapters.objects import ObjectStore
    from adapters.store.dispatch import DispatchStore
    from adapters.store.expansion import ExpansionStore
    from adapters.store.releasing import ReleaseStore
    from adapters.store.settlement import SettlementStore


@dataclass(frozen=True, slots=True)
class OrderKey:
    tenant_id: str
    mo_id: str


@dataclass(frozen=True, slots=True)
class ShardKey:
    """One page of a manager order's followers."""

    tenant_id: str
    mo_id: str
    shard: int


@dataclass(frozen=True, slots=True)
class CancelInput:
    tenant_id: str
    mo_id: str
    actor: str
    shards: int = 0
    expired: bool = False


class MirrorActivities:
    """The last three are handed to the workflows, which must not read settings themselves."""

    def __init__(
        self,
        admission: "ReleaseStore",
        expansion: "ExpansionStore",
        dispatch: "DispatchStore",
        settlement: "SettlementStore",
        objects: "ObjectStore",
        *,
        wave: bool,
        waves_at_once: int,
        children_starting: int,
    ) -> None:
        self._admission = admission
        self._expansion = expansion
        self._dispatch = dispatch
        self._settlement = settlement
        self._objects = objects
        self._wave = wave
        self._waves_at_once = waves_at_once
        self._children_starting = children_starting

    @activity.defn
    async def admit(self, order: MirrorOrderInput) -> Admission:
        async with translated():
            return self._with_settings(await self._admission.admit(order, datetime.now(UTC)))

    def _with_settings(self, admission: Admission) -> Admission:
        return replace(
            admission,
            wave=self._wave,
            waves_at_once=self._waves_at_once,
            children_starting=self._children_starting,
        )

    @activity.defn
    async def release(self, order: MirrorOrderInput) -> Admission:
        """Judge an order anew whose session has begun: it starts, is refused, or waits on."""
        async with translated():
            return self._with_settings(await self._admission.release(order, datetime.now(UTC)))

    @activity.defn
    async def expand(self, key: ShardKey) -> dict[str, int]:
        """Store the orders that no wave has stored; how many are to be sent, by route."""
        return await self._expansion.expand(key.tenant_id, key.mo_id, key.shard)

    @activity.defn
    async def list_orders(self, key: ShardKey) -> list[OrderRef]:
        return await self._dispatch.refs(key.tenant_id, key.mo_id, key.shard)

    @activity.defn
    async def list_due(self, key: ShardKey) -> list[OrderRef]:
        """The orders that the page's wave, still under way, has left with something to do."""
        return await self._dispatch.refs(key.tenant_id, key.mo_id, key.shard, due_only=True)

    @activity.defn
    async def list_due_pages(self, key: OrderKey) -> list[int]:
        """The pages that have such an order."""
        return await self._dispatch.due_pages(key.tenant_id, key.mo_id)

    @activity.defn
    async def settle(self, key: OrderKey) -> Settlement:
        return await self._settlement.settle(key.tenant_id, key.mo_id)

    @activity.defn
    async def cancel(self, order: CancelInput) -> Cancellation:
        """Stop every send that is still to come; then write down, as cancelled, the orders that nobody had stored."""
        wanted = ManagerState.EXPIRED if order.expired else ManagerState.CANCELLED
        first = await self._settlement.cancel(order.tenant_id, order.mo_id, order.actor, wanted)
        for shard in range(order.shards):
            await self._expansion.expand(order.tenant_id, order.mo_id, shard)
        if not order.shards:
            return first
        rest = await self._settlement.cancel(order.tenant_id, order.mo_id, order.actor, wanted)
        return replace(rest, cancelled=first.cancelled + rest.cancelled)

    @activity.defn
    async def archive(self, key: OrderKey) -> str:
        """Write the order's trade_log.jsonl to the audit bucket; its key. A repeat finds it there."""
        events = self._settlement.trade_log(key.tenant_id, key.mo_id)
        return await self._objects.put_trade_log(key.tenant_id, key.mo_id, events)

"""What the owner of a redriven order does besides owning it: judge it anew first, take leave of it in the end."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from activities.delivery import FollowerOrderKey
from domain.mirroring import RedriveRequest, RedriveVerdict

if TYPE_CHECKING:
    from adapters.objects import ObjectStore
    from adapters.store.redrive import RedriveStore
    from adapters.store.settlement import SettlementStore


@dataclass(frozen=True, slots=True)
class RedriveInput:
    order: FollowerOrderKey
    request: RedriveRequest


class RedriveActivities:
    def __init__(self, store: "RedriveStore", settlement: "SettlementStore", objects: "ObjectStore") -> None:
        self._store = store
        self._settlement = settlement
        self._objects = objects

    @activity.defn
    async def redrive(self, wanted: RedriveInput) -> RedriveVerdict:
        """Reopen the dead letter's order if everything still allows it; a repeat finds it reopened."""
        key = wanted.order
        return await self._store.redrive(key.tenant_id, key.fo_id, wanted.request, datetime.now(UTC))

    @activity.defn
    async def close_redrive(self, key: FollowerOrderKey) -> None:
        """The order is over: its manager order has nothing in flight any more, unless something else of it is.

        The last to end archives the trade log anew, with what has come since the manager order settled.
        """
        mo_id = await self._store.close(key.tenant_id, key.fo_id)
        if mo_id is not None:
            events = self._settlement.trade_log(key.tenant_id, mo_id)
            await self._objects.put_trade_log(key.tenant_id, mo_id, events)

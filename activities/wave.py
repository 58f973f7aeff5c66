"""The wave: a page's first attempts, concurrently, with claims and results written in bulk.

It is an accelerator and owns nothing: whatever it leaves behind when it dies is in the database as untouched or as
claimed, and the order's own workflow takes it from there.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from activities.heartbeat import beating
from activities.mirroring import ShardKey
from activities.sending import Sending
from domain.dispatch import PendingOrder
from domain.ports import SendOutcome

if TYPE_CHECKING:
    from adapters.store.dispatch import DispatchStore

RECORD_MOST = 250

_Result = tuple[PendingOrder, SendOutcome]


@dataclass(frozen=True, slots=True)
class WaveInput:
    shard: ShardKey
    route: str


@dataclass(slots=True)
class WaveResult:
    """Counts of orders: `sent` were attempted, `stopped` were refused by a guard at the last moment."""

    sent: int = 0
    stopped: int = 0
    recorded: int = 0


class WaveActivities:
    """`concurrency` bounds the requests in flight, `batch` the orders claimed ahead of being sent."""

    def __init__(self, store: "DispatchStore", sending: Sending, *, concurrency: int, batch: int) -> None:
        self._store = store
        self._sending = sending
        self._concurrency = concurrency
        self._batch = batch

    @activity.defn
    async def dispatch_wave(self, wave: WaveInput) -> WaveResult:
        result = WaveResult()
        # Bounded by what can be in flight: a recorder that falls behind slows the sends down instead of growing.
        done: asyncio.Queue[_Result | None] = asyncio.Queue(maxsize=self._concurrency + self._batch)
        async with beating(lambda: (result.sent, result.recorded)), asyncio.TaskGroup() as group:
            group.create_task(self._record(wave.shard.tenant_id, done, result))
            await self._send_all(wave, done, result)
            await done.put(None)
        return result

    async def _send_all(self, wave: WaveInput, done: "asyncio.Queue[_Result | None]", result: WaveResult) -> None:
        slots = asyncio.Semaphore(self._concurrency)

        async def send(order: PendingOrder) -> None:
            try:
                await done.put((order, await self._sending.send(order)))
            finally:
                slots.release()

        key = wave.shard
        async with asyncio.TaskGroup() as group:
            while claim := await self._store.claim_page(
                key.tenant_id, key.mo_id, key.shard, wave.route, self._batch, datetime.now(UTC)
            ):
                result.stopped += claim.stopped
                for order in claim.send:
                    await slots.acquire()
                    result.sent += 1
                    group.create_task(send(order))

    async def _record(self, tenant_id: str, done: "asyncio.Queue[_Result | None]", result: WaveResult) -> None:
        """Write whatever has finished since the last write, in one transaction, until the wave says None."""
        last = False
        while not last:
            batch: list[_Result] = []
            item = await done.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= RECORD_MOST or done.empty():
                    break
                item = done.get_nowait()
            last = item is None
            if batch:
                await self._store.record(tenant_id, batch)
                result.recorded += len(batch)

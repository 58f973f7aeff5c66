"""The wave: a page's first attempts, concurrently, with claims and results written in bulk.

It is an accelerator and owns nothing: whatever it leaves behind when it dies is in the database as claimed or not there
at all, and the order's own workflow takes it from there.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from temporalio import activity

from activities.gate import Gate
from activities.heartbeat import beating
from activities.lanes import Lanes
from activities.mirroring import ShardKey
from activities.sending import Sending
from domain.dispatch import PendingOrder
from domain.ports import OutcomeKind, SendOutcome

if TYPE_CHECKING:
    from adapters.store.dispatch import DispatchStore
    from adapters.store.frozen import SizedOrder
    from adapters.store.waves import WavePage, WaveStore

# The last follower's price comes before everybody's confirmation: what was taken is written when no wave of the process
# has anything left to send, but no later than this after it is known; what was not is written at once.
RECORD_WITHIN_S = 4
RECORD_MOST = 250
# An owner takes a claimed order for lost 12 s after its claim, 10 s of which are the request's own.
LINE_MOST_S = 2


@dataclass(frozen=True, slots=True)
class WaveInput:
    shard: ShardKey
    route: str


@dataclass(slots=True)
class WaveResult:
    """Counts of orders: `sent` were attempted, `stopped` were left to their owners."""

    sent: int = 0
    stopped: int = 0
    recorded: int = 0


class WaveActivities:
    """`gate` bounds what is claimed in this process, `lanes` what is on the wire to one destination.

    `batch` orders are claimed in one transaction.
    """

    def __init__(
        self, waves: "WaveStore", store: "DispatchStore", sending: Sending, gate: Gate, lanes: Lanes, *, batch: int
    ) -> None:
        self._waves = waves
        self._store = store
        self._sending = sending
        self._gate = gate
        self._lanes = lanes
        self._batch = batch
        self._sending_pages = 0
        self._runs: set[_Run] = set()

    @activity.defn
    async def dispatch_wave(self, wave: WaveInput) -> WaveResult:
        run = _Run()
        self._runs.add(run)
        result = run.result
        try:
            async with beating(lambda: (result.sent, result.recorded)), asyncio.TaskGroup() as group:
                group.create_task(self._record(wave.shard.tenant_id, run))
                with self._sending_page():
                    await self._send_page(wave, run)
                run.end()
        finally:
            self._runs.discard(run)
            # A wave that was cancelled must not send what still stands in line: its owners will.
            run.closed = True
        return result

    async def _send_page(self, wave: WaveInput, run: "_Run") -> None:
        key = wave.shard
        page = await self._waves.page(key.tenant_id, key.mo_id, key.shard, wave.route)
        waiting = page.by_host()
        while waiting:
            batch = self._gate.enter(waiting, self._batch)
            if batch:
                await self._send_batch(page, batch, run)
            else:
                await self._gate.reopened()
        await run.idle.wait()

    async def _send_batch(self, page: "WavePage", batch: "list[tuple[str, SizedOrder]]", run: "_Run") -> None:
        hosts = {order.fo_id: host for host, order in batch}
        try:
            claimed = time.monotonic()
            mark, held = self._sending.mark, self._sending.opens_held
            orders = [order for _, order in batch]
            for order in await self._waves.open(page, orders, datetime.now(UTC), mark=mark, opens_held=held):
                host = hosts.pop(order.fo_id)
                run.sending()
                self._lanes.put(host, partial(self._send, order, host, run, claimed))
        finally:
            run.result.stopped += len(hosts)
            for host in hosts.values():
                self._gate.leave(host)

    async def _send(self, order: PendingOrder, host: str, run: "_Run", claimed: float) -> None:
        try:
            if run.closed or time.monotonic() - claimed > LINE_MOST_S:
                run.too_late()
            else:
                run.add(order, await self._sending.send(order))
        finally:
            self._gate.leave(host)
            run.sent()

    async def _record(self, tenant_id: str, run: "_Run") -> None:
        """Write whatever has come back since the last write, in one transaction, until all is written."""
        while True:
            await run.some.wait()
            if self._sending_pages:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECORD_WITHIN_S):
                        await run.now.wait()
            run.now.clear()
            while batch := run.take(RECORD_MOST):
                await self._store.record(tenant_id, batch)
                run.result.recorded += len(batch)
            if run.complete:
                return

    @contextmanager
    def _sending_page(self) -> Iterator[None]:
        self._sending_pages += 1
        try:
            yield
        finally:
            self._sending_pages -= 1
            if self._sending_pages == 0:
                for run in self._runs:
                    run.now.set()


class _Run:
    """One wave: how many are on their way, and what has come back and is not yet written. A page bounds both."""

    def __init__(self) -> None:
        self.result = WaveResult()
        self.idle = asyncio.Event()
        self.idle.set()
        self.some = asyncio.Event()
        self.now = asyncio.Event()
        self.complete = False
        self.closed = False
        self._on_their_way = 0
        self._unwritten: deque[tuple[PendingOrder, SendOutcome]] = deque()

    def sending(self) -> None:
        self.result.sent += 1
        self._on_their_way += 1
        self.idle.clear()

    def too_late(self) -> None:
        self.result.sent -= 1
        self.result.stopped += 1

    def sent(self) -> None:
        self._on_their_way -= 1
        if self._on_their_way == 0:
            self.idle.set()

    def add(self, order: PendingOrder, outcome: SendOutcome) -> None:
        self._unwritten.append((order, outcome))
        self.some.set()
        if outcome.kind is not OutcomeKind.ACK:
            self.now.set()  # its next attempt is counted from when this one's end is written

    def end(self) -> None:
        self.complete = True
        self.some.set()

    def take(self, most: int) -> list[tuple[PendingOrder, SendOutcome]]:
        taken = [self._unwritten.popleft() for _ in range(min(most, len(self._unwritten)))]
        if not self._unwritten and not self.complete:
            self.some.clear()
        return taken

"""autotrade_queue.json: every entry once, a bad one aside with its reason, a half-written file left alone."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from activities.heartbeat import beating
from domain import ids, intents, queuefile
from domain.errors import InvalidInput, VantaError
from domain.mirroring import Admission, MirrorOrderInput
from domain.queuefile import Entry

if TYPE_CHECKING:
    from adapters.queue import QueueFile
    from adapters.store.ingestion import IngestionStore


class OrderStarter(Protocol):
    """Hands an order to its workflow and waits for the verdict; the API uses the same one."""

    async def admit(self, order: MirrorOrderInput) -> Admission | None: ...


@dataclass(slots=True)
class IngestResult:
    """Entries of this reading: `known` were taken before, `rejected` went to the rejects file."""

    admitted: int = 0
    refused: int = 0
    rejected: int = 0
    known: int = 0


class IngestActivities:
    def __init__(self, queue: "QueueFile", store: "IngestionStore", starter: OrderStarter) -> None:
        self._queue = queue
        self._store = store
        self._starter = starter
        self._taken: set[str] = set()  # spares a look-up per entry and reading; the database is what counts

    @activity.defn
    async def ingest(self) -> IngestResult:
        result = IngestResult()
        text = await asyncio.to_thread(self._queue.read)
        if text is None:
            return result
        async with beating(lambda: (result.admitted,)):
            for entry in queuefile.parse(text):
                await self._take(entry, result)
        return result

    async def _take(self, entry: Entry, result: IngestResult) -> None:
        if await asyncio.to_thread(self._queue.is_rejected, entry):
            # It stays rejected: an order must not start days later because its vault or symbol has appeared.
            result.known += 1
            return
        try:
            await self._admit(entry, result)
        except VantaError as error:
            if error.retryable:
                raise  # the entry is not at fault: the whole reading is tried again
            await asyncio.to_thread(self._queue.reject, entry, str(error))
            result.rejected += 1

    async def _admit(self, entry: Entry, result: IngestResult) -> None:
        if entry.key in self._taken:
            result.known += 1
            return
        if entry.fault is not None:
            raise InvalidInput("entry", entry.fault)
        intent, meta = intents.parse_intent(entry.fields)
        tenant_id = await self._store.tenant_of_vault(intent.vault_id)
        if tenant_id is None:
            raise InvalidInput("vault_id", f"no vault {intent.vault_id!r}")
        if await self._store.is_known(tenant_id, entry.key):
            result.known += 1
            self._taken.add(entry.key)
            return
        mo_id = ids.manager_order_id(tenant_id, f"queue:{entry.key}")
        order = MirrorOrderInput(
            tenant_id, mo_id, intent, meta, intents.fingerprint(entry.fields), "queue", "system:autotrade"
        )
        await self._store.require_symbol(tenant_id, intent.symbol)
        admission = await self._starter.admit(order)
        outcome = "ended" if admission is None else "admitted" if admission.accepted else "refused"
        await self._store.remember(tenant_id, entry.key, mo_id, outcome)
        if outcome == "ended":  # an earlier reading handed it over and died before it could say so
            result.known += 1
        elif outcome == "admitted":
            result.admitted += 1
        else:
            result.refused += 1

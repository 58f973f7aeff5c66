"""From the outbox to JetStream: at least once from here, de-duplicated there by Nats-Msg-Id."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import nats
import orjson
import psycopg
from nats.aio.client import Client as NatsClient
from nats.js import JetStreamContext
from psycopg.rows import dict_row

_log = logging.getLogger("vanta.relay")
_BACKOFF_MOST_S = 30

_TAKE = """
SELECT outbox_id, subject, payload FROM outbox ORDER BY outbox_id LIMIT %s FOR UPDATE SKIP LOCKED
"""


class Relay:
    """Runs until cancelled; a database or a bus that is away makes it wait, and nothing is lost meanwhile."""

    def __init__(self, dsn: str, nats_url: str, *, batch: int, idle_ms: int, timeout_s: int) -> None:
        self._dsn = dsn
        self._nats_url = nats_url
        self._batch = batch
        self._idle_ms = idle_ms
        self._timeout_s = timeout_s

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                await self._connected()
            except (psycopg.Error, nats.errors.Error, OSError, TimeoutError) as error:
                failures += 1
                wait = min(2**failures, _BACKOFF_MOST_S)
                _log.warning("the relay waits %s s: %s", wait, type(error).__name__)
                await asyncio.sleep(wait)
            else:
                failures = 0

    async def _connected(self) -> None:
        bus = await nats.connect(self._nats_url, connect_timeout=self._timeout_s, max_reconnect_attempts=3)
        try:
            async with await psycopg.AsyncConnection.connect(
                self._dsn, row_factory=dict_row, connect_timeout=self._timeout_s
            ) as database:
                while True:
                    if await self.pump(database, bus) == 0:
                        await asyncio.sleep(self._idle_ms / 1000)
        finally:
            await bus.close()

    async def pump(self, database: psycopg.AsyncConnection[dict[str, Any]], bus: NatsClient) -> int:
        """Publish one batch and delete it once every event is acknowledged; how many there were."""
        async with database.transaction(), database.cursor() as cursor:
            await cursor.execute(_TAKE, [self._batch])
            rows = await cursor.fetchall()
            if rows:
                await self._publish(bus.jetstream(timeout=self._timeout_s), rows)
                await cursor.execute("DELETE FROM outbox WHERE outbox_id = ANY(%s)", [[r["outbox_id"] for r in rows]])
        return len(rows)

    async def _publish(self, stream: JetStreamContext, rows: Sequence[dict[str, Any]]) -> None:
        # In order and all at once: the acknowledgements are awaited together, not one round trip per event.
        waiting = [
            await stream.publish_async(
                row["subject"],
                orjson.dumps(row["payload"], default=str),
                headers={"Nats-Msg-Id": str(row["outbox_id"])},
            )
            for row in rows
        ]
        async with asyncio.timeout(self._timeout_s):
            await asyncio.gather(*waiting)

"""From the outbox to JetStream: at least once from here, de-duplicated there by Nats-Msg-Id."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import nats
import orjson
import psycopg
from nats.aio.client import Client as NatsClient
from nats.js import JetStreamContext
from psycopg.rows import dict_row

from adapters.ending import wanted

_log = logging.getLogger("vanta.relay")
_BACKOFF_MOST_S = 30

Row = dict[str, Any]

# Whole rows, as long as they stay within the batch together, and always the first. What a dead relay's connection
# still holds is passed over.
_TAKE = """
WITH taken AS (
  SELECT outbox_id, event_ids, subject, payload FROM outbox ORDER BY outbox_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), counted AS (
  SELECT *, sum(coalesce(cardinality(event_ids), 1)) OVER w AS events, row_number() OVER w AS n
  FROM taken WINDOW w AS (ORDER BY outbox_id)
)
SELECT outbox_id, event_ids, subject, payload FROM counted WHERE n = 1 OR events <= %(batch)s ORDER BY outbox_id
"""

# The time is written in UTC whatever the session's time zone is.
_EVENTS = """
SELECT event_id, 'mirror.' || tenant_id || '.' || entity || '.' || action AS subject,
  jsonb_build_object('event_id', event_id, 'tenant_id', tenant_id, 'entity', entity, 'entity_id', entity_id,
    'action', action, 'actor', actor, 'mo_id', mo_id, 'ts', (to_jsonb(ts AT TIME ZONE 'UTC') #>> '{}') || '+00:00',
    'payload', payload - 'trace') AS body
FROM audit_events WHERE event_id = ANY(%s::bigint[])
"""

_DELETE = "DELETE FROM outbox WHERE outbox_id = ANY(%s::bigint[])"


@dataclass(frozen=True, slots=True)
class Message:
    """`message_id` is the same whenever the message is published again; JetStream drops the repeats."""

    subject: str
    body: Row
    message_id: str


async def compose(cursor: psycopg.AsyncCursor[Row], rows: Sequence[Row]) -> list[Message]:
    """The messages of outbox rows, in order. Raises LookupError where an event that a row names is not to be seen."""
    await cursor.execute(_EVENTS, [[event_id for row in rows for event_id in row["event_ids"] or ()]])
    # The prefixes keep the ids of events, of dead letters and of the bare numbers of former releases apart.
    events = {e["event_id"]: Message(e["subject"], e["body"], f"event-{e['event_id']}") async for e in cursor}
    messages = []
    for row in rows:
        if row["event_ids"] is None:
            messages.append(Message(row["subject"], row["payload"], f"dlx-{row['outbox_id']}"))
        else:
            messages += [events[event_id] for event_id in row["event_ids"]]
    return messages


def _parts(rows: Sequence[Row], most: int) -> list[Sequence[Row]]:
    """A row that alone is more than a batch, cut up; all others together."""
    ids = rows[0]["event_ids"] or () if len(rows) == 1 else ()
    if len(ids) <= most:
        return [rows]
    return [[{**rows[0], "event_ids": ids[at : at + most]}] for at in range(0, len(ids), most)]


Hears = Callable[[Sequence[Message]], Awaitable[None]]


class Relay:
    """Runs until cancelled; a database or a bus that is away makes it wait, and nothing is lost meanwhile.

    `hears` is told of events before the bus is, which may be away; like the bus it may be told more than once.
    """

    def __init__(
        self, dsn: str, nats_url: str, *, batch: int, idle_ms: int, timeout_s: int, hears: Hears | None = None
    ) -> None:
        self._dsn = dsn
        self._nats_url = nats_url
        self._batch = batch
        self._idle_ms = idle_ms
        self._timeout_s = timeout_s
        self._hears = hears

    async def run(self) -> None:
        failures = 0
        while wanted():
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
                while wanted():
                    if await self.pump(database, bus) == 0:
                        await asyncio.sleep(self._idle_ms / 1000)
        finally:
            await bus.close()

    async def pump(self, database: psycopg.AsyncConnection[Row], bus: NatsClient) -> int:
        """Publish what a batch of rows stands for, and delete them once all is acknowledged; how many messages."""
        published = 0
        async with database.transaction(), database.cursor() as cursor:
            await cursor.execute(_TAKE, {"batch": self._batch})
            rows = await cursor.fetchall()
            for part in _parts(rows, self._batch) if rows else ():
                messages = await compose(cursor, part)
                if self._hears is not None:
                    await self._hears(messages)
                await self._publish(bus.jetstream(timeout=self._timeout_s), messages)
                published += len(messages)
            if rows:
                await cursor.execute(_DELETE, [[row["outbox_id"] for row in rows]])
        return published

    async def _publish(self, stream: JetStreamContext, messages: Sequence[Message]) -> None:
        # In order and all at once: the acknowledgements are awaited together, not one round trip per event.
        waiting = [
            await stream.publish_async(
                message.subject,
                orjson.dumps(message.body, default=str),
                headers={"Nats-Msg-Id": message.message_id},
            )
            for message in messages
        ]
        async with asyncio.timeout(self._timeout_s):
            await asyncio.gather(*waiting)

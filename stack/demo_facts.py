"""What the demonstration left behind, read from every place that should know: API, database, bus, S3, simulators."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import nats
import psycopg
from botocore.exceptions import ClientError
from nats.js import JetStreamContext

from adapters.objects import ObjectStore
from adapters.store.database import Database
from domain.kills import EVERYBODY
from settings import Settings
from stack.demo_scenario import TENANT, Script
from stack.demo_stage import Enrolled, Stage, account_secret

_QUIET_S = 20  # for the relay to catch up and the last trade log to be written
_EVERY_S = 0.2
_MOST_BURIED = 100
EVENTS, DLX = "mirror_events", "mirror_dispatch_dlx"
_WAITING = "SELECT coalesce(sum(coalesce(cardinality(event_ids), 1)), 0) FROM outbox"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """`dags` by manager order id; `held` and `venue_held` are quantities by follower id; `trade_logs` are S3 keys and

    their numbers of lines, for those that are there.
    """

    dags: Mapping[str, Json]
    held: Mapping[str, Decimal]
    venue_held: Mapping[str, Decimal]
    bookings: Sequence[Json]
    deliveries: Sequence[Json]
    dead_letters: Sequence[Json]
    buried: Sequence[Json]
    rejects: Sequence[Json]
    ingested: int
    audit_events: int
    stream_events: int
    outbox: int
    trade_logs: Mapping[str, int] = field(default_factory=dict)


class Inquiry:
    def __init__(self, settings: Settings, database: Database, stage: Stage, queue: Path) -> None:
        self._settings = settings
        self._database = database
        self._stage = stage
        self._queue = queue

    async def gather(self, script: Script, enrolled: Sequence[Enrolled]) -> Facts:
        """Waits, within bounds, for the outbox to drain and the trade logs to appear; then reads everything once."""
        logs = await self._trade_logs([order.mo_id for order in script.orders])
        outbox = await self._drained_outbox()
        stream_events, buried = await self._streams()
        async with self._stage.client() as http:
            dags = {o.mo_id: await self._dag(http, o.mo_id) for o in script.orders}
            bookings = await _get(http, f"{self._stage.simulators.alpaca}/_control/orders")
            deliveries = await _get(http, f"{self._stage.simulators.receiver}/received")
            venue_held = {
                e.follower_id: await self._venue_held(http, e) for e in enrolled if e.member.route == "alpaca"
            }
        counted = "SELECT count(*) AS n FROM "
        # What all tenants share, such as instruments, has its events under nobody's id.
        audited = [(await self._rows(counted + "audit_events", of))[0]["n"] for of in (TENANT, EVERYBODY)]
        ingested = await self._rows(counted + "ingested_entries")
        positions = await self._rows("SELECT holder_id, qty FROM positions")
        return Facts(
            dags=dags,
            held={row["holder_id"]: row["qty"] for row in positions},
            venue_held=venue_held,
            bookings=bookings["orders"],
            deliveries=deliveries,
            dead_letters=await self._rows("SELECT * FROM dead_letters ORDER BY dead_letter_id"),
            buried=buried,
            rejects=_rejects(self._queue),
            stream_events=stream_events,
            outbox=outbox,
            trade_logs=logs,
            audit_events=sum(audited),
            ingested=ingested[0]["n"],
        )

    async def _rows(self, statement: str, tenant_id: str = TENANT) -> list[Json]:
        async with self._database.cursor(tenant_id) as cursor:
            cursor.filtered = False  # it looks at whole tables, so at the tenant's part of them
            await cursor.execute(statement)
            return await cursor.fetchall()

    async def _dag(self, http: httpx.AsyncClient, mo_id: str) -> Json:
        answer = await http.get(f"{self._stage.api_url}/v1/manager-orders/{mo_id}/dag")
        found: Json = answer.json() if answer.is_success else {"follower_orders": [], "audit_events": []}
        return found

    async def _venue_held(self, http: httpx.AsyncClient, follower: Enrolled) -> Decimal:
        headers = {"APCA-API-KEY-ID": follower.key, "APCA-API-SECRET-KEY": account_secret(follower.key)}
        found = await http.get(f"{self._stage.simulators.alpaca}/v2/positions", headers=headers)
        return sum((Decimal(p["qty"]) for p in found.raise_for_status().json()), Decimal(0))

    async def _drained_outbox(self) -> int:
        """Events that the bus still does not have, after waiting for there to be none."""
        dsn = self._settings.postgres.relay_dsn
        assert dsn is not None, "the embedded stack has a relay role"
        deadline = time.monotonic() + _QUIET_S
        async with await psycopg.AsyncConnection.connect(dsn.get_secret_value(), autocommit=True) as connection:
            while True:
                row = await (await connection.execute(_WAITING)).fetchone()
                left = int(row[0]) if row else 0
                if left == 0 or time.monotonic() > deadline:
                    return left
                await asyncio.sleep(_EVERY_S)

    async def _streams(self) -> tuple[int, list[Json]]:
        """How many events the bus has, and the dead letters that it holds."""
        nats_settings = self._settings.nats
        bus = await nats.connect(nats_settings.url.get_secret_value(), connect_timeout=nats_settings.timeout_s)
        try:
            stream = bus.jetstream(timeout=nats_settings.timeout_s)
            events = (await stream.stream_info(EVENTS)).state.messages
            return events, await _read_stream(stream, DLX)
        finally:
            await bus.close()

    async def _trade_logs(self, mo_ids: Sequence[str]) -> dict[str, int]:
        store = ObjectStore(self._settings.s3)
        deadline = time.monotonic() + _QUIET_S
        found: dict[str, int] = {}
        while len(found) < len(mo_ids) and time.monotonic() < deadline:
            for mo_id in mo_ids:
                key = f"{TENANT}/{mo_id}/trade_log.jsonl"
                try:
                    found[key] = (await store.get(key)).count(b"\n")
                except ClientError:
                    await asyncio.sleep(_EVERY_S)  # settled, but not archived yet
        return found


async def _get(http: httpx.AsyncClient, url: str) -> Any:
    return (await http.get(url)).raise_for_status().json()


async def _read_stream(stream: JetStreamContext, name: str) -> list[Json]:
    state = (await stream.stream_info(name)).state
    numbers = range(state.first_seq, min(state.last_seq, state.first_seq + _MOST_BURIED) + 1)
    messages = [await stream.get_msg(name, seq=number) for number in numbers if state.messages]
    return [json.loads(message.data or b"{}") for message in messages]


def _rejects(queue: Path) -> list[Json]:
    rejects = queue.with_name(f"{queue.stem}.rejects.jsonl")
    return [json.loads(line) for line in rejects.read_text("utf-8").splitlines()] if rejects.exists() else []

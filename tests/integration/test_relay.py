"""The outbox's way to the event bus: nothing lost, nothing twice, whatever dies on the way."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import nats
import orjson
import psycopg
import pytest
from nats.aio.client import Client as NatsClient
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from psycopg.rows import dict_row

from adapters.relay import Message, Relay
from adapters.store.changes import EMIT
from adapters.store.dispatch import DispatchStore
from domain.dispatch import Change
from domain.orders import FollowerState
from simulators.receiver import Behaviour
from tests.conftest import owner_dsn
from tests.world import World

Connection = psycopg.AsyncConnection[dict[str, Any]]


@asynccontextmanager
async def _bus(world: World) -> AsyncIterator[NatsClient]:
    client = await nats.connect(world.settings.nats.url.get_secret_value(), connect_timeout=5)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _outbox(world: World) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(_dsn(world), row_factory=dict_row, autocommit=True) as connection:
        yield connection


def _dsn(world: World) -> str:
    dsn = world.settings.postgres.relay_dsn
    assert dsn is not None
    return dsn.get_secret_value()


def _relay(world: World) -> Relay:
    return Relay(_dsn(world), world.settings.nats.url.get_secret_value(), batch=200, idle_ms=20, timeout_s=5)


async def _drained(outbox: Connection, timeout_s: int = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            found = await (await outbox.execute("SELECT count(*) AS n FROM outbox")).fetchone()
            if found is not None and found["n"] == 0:
                return
            await asyncio.sleep(0.05)


async def _streamed(bus: NatsClient, stream: str, subject: str) -> list[dict[str, Any]]:
    """Every event of the stream under the subject."""
    # Nothing is acknowledged: a consumer that waits for that stops at a thousand.
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=30)
    consumer = await bus.jetstream().pull_subscribe(subject, stream=stream, config=config)
    events: list[dict[str, Any]] = []
    while left := (await consumer.consumer_info()).num_pending:
        events += [orjson.loads(message.data) for message in await consumer.fetch(min(left, 500), timeout=10)]
    await consumer.unsubscribe()
    return events


async def _audited(world: World) -> list[int]:
    found = await world.rows("SELECT event_id FROM audit_events ORDER BY event_id")
    return [row["event_id"] for row in found]


async def _check_each_audit_event_is_on_the_bus_once(world: World, bus: NatsClient) -> None:
    events = await _streamed(bus, "mirror_events", f"mirror.{world.tenant_id}.>")
    assert Counter(event["event_id"] for event in events) == Counter(await _audited(world))


async def _mirrored(world: World, followers: int = 5) -> None:
    vault = await world.vault()
    for _ in range(followers):
        await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)


async def test_every_audit_event_goes_out_once_though_the_relay_dies_before_it_can_delete(world: World):
    await _mirrored(world)
    relay = _relay(world)
    async with _bus(world) as bus, _outbox(world) as outbox:
        async with outbox.transaction(force_rollback=True):  # published, and no word of it kept
            assert await relay.pump(outbox, bus) > 0
        while await relay.pump(outbox, bus):
            pass
        await _check_each_audit_event_is_on_the_bus_once(world, bus)


async def test_who_listens_to_the_relay_hears_each_event_before_the_bus_does(world: World):
    heard: list[tuple[str, str]] = []

    async def hears(messages: Sequence[Message]) -> None:
        heard.extend((message.body["entity"], message.body["action"]) for message in messages)
        raise ConnectionError("and then the bus is gone")

    vault = await world.vault()
    nats_url = world.settings.nats.url.get_secret_value()
    relay = Relay(_dsn(world), nats_url, batch=10_000, idle_ms=20, timeout_s=5, hears=hears)
    async with _bus(world) as bus, _outbox(world) as outbox:
        with pytest.raises(ConnectionError):
            await relay.pump(outbox, bus)
        assert ("vault", "created") in heard, vault
        while await _relay(world).pump(outbox, bus):
            pass
        await _check_each_audit_event_is_on_the_bus_once(world, bus)


async def test_an_event_on_the_bus_says_what_the_audit_event_says_without_its_trace(world: World):
    vault = await world.vault()
    follower = await world.webhook(vault)
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    async with _bus(world) as bus, _outbox(world) as outbox:
        while await _relay(world).pump(outbox, bus):
            pass
        events = await _streamed(bus, "mirror_events", f"mirror.{world.tenant_id}.follower_order.sized")
    [sized] = [event for event in events if event["mo_id"] == admission.mo_id]
    [audited] = await world.rows("SELECT * FROM audit_events WHERE event_id = %s", sized["event_id"])
    assert sized["entity_id"] == audited["entity_id"]
    assert sized["payload"] == {name: value for name, value in audited["payload"].items() if name != "trace"}
    assert sized["payload"]["follower_id"] == follower


# One statement with an event for each of so many made-up entities.
_STATEMENT = f"""
WITH e AS (
  SELECT %(tenant)s::uuid AS tenant_id, 'note' AS entity, %(name)s || lpad(n::text, 6, '0') AS entity_id,
         %(name)s AS action, 'user:test' AS actor, NULL AS mo_id, '{{}}'::jsonb AS payload, 1 AS n
  FROM generate_series(1, %(events)s) AS n
), {EMIT}
SELECT count(*) AS n FROM a
"""


async def _state(world: World, name: str, events: int) -> None:
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(_STATEMENT, {"tenant": world.tenant_id, "name": name, "events": events})
        assert await cursor.fetchone() == {"n": events}


async def test_the_events_of_a_statement_wait_in_one_row_and_arrive_in_order(world: World):
    async with _bus(world) as bus, _outbox(world) as outbox:
        while await _relay(world).pump(outbox, bus):
            pass
        await _state(world, "in_order", 450)
        waiting = await (await outbox.execute("SELECT event_ids FROM outbox")).fetchall()
        audited = await world.rows("SELECT event_id FROM audit_events WHERE action = 'in_order' ORDER BY entity_id")
        assert [row["event_ids"] for row in waiting] == [[row["event_id"] for row in audited]]
        assert await _relay(world).pump(outbox, bus) == 450  # more than a batch, yet the row goes as a whole
        events = await _streamed(bus, "mirror_events", f"mirror.{world.tenant_id}.note.in_order")
    assert [event["event_id"] for event in events] == waiting[0]["event_ids"]


async def test_a_batch_takes_the_whole_rows_that_fit_into_it(world: World):
    async with _bus(world) as bus, _outbox(world) as outbox:
        while await _relay(world).pump(outbox, bus):
            pass
        for size in (120, 80, 1, 300, 5):
            await _state(world, "batched", size)
        pumps = [await _relay(world).pump(outbox, bus) for _ in range(5)]
        events = await _streamed(bus, "mirror_events", f"mirror.{world.tenant_id}.note.batched")
    assert pumps == [200, 1, 300, 5, 0]
    assert [event["event_id"] for event in events] == sorted(event["event_id"] for event in events)


async def test_an_event_that_the_relay_may_not_see_stays_in_the_outbox(world: World):
    async with (
        _bus(world) as bus,
        _outbox(world) as outbox,
        await psycopg.AsyncConnection.connect(owner_dsn(world.settings), autocommit=True) as owner,
    ):
        while await _relay(world).pump(outbox, bus):
            pass
        await _state(world, "hidden", 1)
        await owner.execute("ALTER POLICY relay ON audit_events USING (action <> 'hidden')")
        try:
            with pytest.raises(LookupError):
                await _relay(world).pump(outbox, bus)
        finally:
            await owner.execute("ALTER POLICY relay ON audit_events USING (true)")
        assert await _relay(world).pump(outbox, bus) == 1


async def test_the_time_of_an_event_is_in_utc_whatever_the_relays_time_zone(world: World):
    async with _bus(world) as bus, _outbox(world) as outbox:
        await outbox.execute("SET timezone TO 'Asia/Tokyo'")
        await _state(world, "timed", 1)
        while await _relay(world).pump(outbox, bus):
            pass
        [event] = await _streamed(bus, "mirror_events", f"mirror.{world.tenant_id}.note.timed")
    [audited] = await world.rows("SELECT ts FROM audit_events WHERE event_id = %s", event["event_id"])
    # Postgres writes no zeros at the end of a fraction of a second, Python does: moments are compared, and the zone.
    told = datetime.fromisoformat(event["ts"])
    assert (told, told.utcoffset()) == (audited["ts"], timedelta())
    assert event["ts"].endswith("+00:00")


async def test_a_dead_letter_goes_to_its_own_stream_with_its_whole_context(world: World):
    vault = await world.vault()
    follower = await world.webhook(vault, Behaviour(kind="fail", status=503))
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: bool(o) and o[follower]["state"] == "retry")
    order = (await world.follower_orders(admission.mo_id))[follower]
    # What the order's owner does when it gives up; waiting for all five attempts would take a minute and a half.
    store = DispatchStore(world.database)
    async with store.locked(world.tenant_id, order["fo_id"]) as (cursor, pending):
        await store.change(
            cursor, Change(pending.fo_id, pending.state, (FollowerState.DEAD_LETTER,), reason="unresolved")
        )
    await world.orders.cancel(admission.mo_id, actor="user:test")
    assert (await world.settled(admission.mo_id)).counts == {"dead_letter": 1}
    async with _bus(world) as bus, _outbox(world) as outbox:
        while await _relay(world).pump(outbox, bus):
            pass
        [letter] = [
            found
            for found in await _streamed(bus, "mirror_dispatch_dlx", f"mirror_dispatch_dlx.{world.tenant_id}")
            if found["fo_id"] == order["fo_id"]
        ]
        await _check_each_audit_event_is_on_the_bus_once(world, bus)
    assert (letter["reason"], letter["follower_id"], letter["mo_id"]) == ("unresolved", follower, admission.mo_id)
    assert {"symbol", "side", "qty", "route", "vault_id", "last_error", "trace", "attempts"} <= set(letter["context"])
    assert [a["code"] for a in letter["context"]["attempts"]][:1] == ["http_503"]


@pytest.fixture
async def relay_process(world: World) -> AsyncIterator[str]:
    name = "worker-relay"
    argv = [sys.executable, "-m", "cli", "worker", "--role", "relay"]
    await asyncio.to_thread(world.stack.start_process, name, argv)
    yield name
    await asyncio.to_thread(world.stack.end, name)


async def test_a_bus_that_is_down_and_a_relay_that_is_killed_lose_nothing(world: World, relay_process: str):
    async with _outbox(world) as outbox:
        await _drained(outbox)
        await asyncio.to_thread(world.stack.kill, "nats")
        await _mirrored(world)
        left = await (await outbox.execute("SELECT count(*) AS n FROM outbox")).fetchone()
        assert left is not None
        assert left["n"] > 0
        await asyncio.to_thread(world.stack.kill, relay_process)
        await asyncio.to_thread(world.stack.restart, "nats")
        await asyncio.to_thread(world.stack.restart, relay_process)
        await _mirrored(world, 2)
        await asyncio.to_thread(world.stack.kill, relay_process)
        await asyncio.to_thread(world.stack.restart, relay_process)
        await _drained(outbox)
    async with _bus(world) as bus:
        await _check_each_audit_event_is_on_the_bus_once(world, bus)

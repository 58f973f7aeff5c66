"""What a wave stores before it sends, and what it leaves to others."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.enrolment import credential_ref
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WavePage, WaveStore
from domain import ids
from domain.dispatch import PendingOrder
from domain.enrolment import BrokerAccount
from domain.mirroring import Admission
from domain.orders import FollowerState
from domain.sessions import DAYS
from domain.sizing import Mode
from settings import Settings
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import COIN, EQUITY, Floor, Pause, SpiedDatabase

SOON_S = 20


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def opened(floor: Floor, page: WavePage, now: datetime | None = None) -> list[PendingOrder]:
    return await WaveStore(floor.database).open(page, page.orders, now or datetime.now(UTC))


async def stored(floor: Floor, mo_id: str) -> dict[str, dict[str, Any]]:
    """The follower orders by follower."""
    rows = await floor.rows("SELECT * FROM follower_orders WHERE mo_id = %s", mo_id)
    return {row["follower_id"]: row for row in rows}


async def events(floor: Floor, mo_id: str) -> list[tuple[str, str]]:
    rows = await floor.rows(
        "SELECT entity_id, action FROM audit_events WHERE mo_id = %s AND entity = 'follower_order' ORDER BY event_id",
        mo_id,
    )
    return [(row["entity_id"], row["action"]) for row in rows]


async def outbox(settings: Settings, tenant_id: str) -> list[list[int]]:
    """The ids of the events of each row; the application itself cannot read it."""
    assert settings.postgres.relay_dsn is not None
    dsn = settings.postgres.relay_dsn.get_secret_value()
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        found = await connection.execute(
            "SELECT event_ids FROM outbox WHERE tenant_id = %s ORDER BY outbox_id", [tenant_id]
        )
        return [row["event_ids"] for row in await found.fetchall()]


async def test_open_stores_order_attempt_two_events_and_one_outbox_row(floor: Floor, settings: Settings) -> None:
    followers = {await floor.follower() for _ in range(3)}
    mo_id = (await floor.admit()).mo_id
    before = await outbox(settings, floor.tenant_id)
    pending = await opened(floor, await floor.page(mo_id))

    assert {order.follower_id for order in pending} == followers
    assert {(order.state, order.attempts) for order in pending} == {(FollowerState.SENT, 1)}
    rows = await stored(floor, mo_id)
    assert {f: (r["state"], r["dispatch_attempts"], r["route"]) for f, r in rows.items()} == dict.fromkeys(
        followers, ("sent", 1, "webhook")
    )
    attempts = await floor.rows("SELECT fo_id, attempt_no, via, outcome FROM attempts")
    assert sorted(tuple(row.values()) for row in attempts) == sorted((o.fo_id, 1, "wave", None) for o in pending)
    assert await events(floor, mo_id) == [
        (order.fo_id, action) for order in sorted(pending, key=lambda o: o.fo_id) for action in ("sized", "sent")
    ]
    written = await floor.rows("SELECT event_id FROM audit_events WHERE entity = 'follower_order' ORDER BY event_id")
    assert (await outbox(settings, floor.tenant_id))[len(before) :] == [[row["event_id"] for row in written]]


async def test_a_second_open_of_the_same_orders_returns_nothing_and_writes_nothing(
    floor: Floor, settings: Settings
) -> None:
    for _ in range(3):
        await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    await opened(floor, page)
    before = await stored(floor, mo_id), await events(floor, mo_id), await outbox(settings, floor.tenant_id)
    assert await opened(floor, page) == []
    assert before == (await stored(floor, mo_id), await events(floor, mo_id), await outbox(settings, floor.tenant_id))
    assert [row["n"] for row in await floor.rows("SELECT count(*) AS n FROM attempts")] == [3]


async def test_two_opens_of_the_same_orders_at_once_send_each_order_once(floor: Floor) -> None:
    for _ in range(20):
        await floor.follower()
    page = await floor.page((await floor.admit()).mo_id)
    first, second = await asyncio.gather(opened(floor, page), opened(floor, page))
    assert sorted(o.fo_id for o in first + second) == sorted(o.fo_id for o in page.orders)


async def test_what_is_sent_agrees_with_what_its_owner_would_send(floor: Floor) -> None:
    """The wave composes the order from page and snapshot; the owner reads it back from its row."""
    await floor.follower(persona="athena", max_pos_usd=Decimal(5_000))
    await floor.follower(equities=BrokerAccount("alpaca", "key", "secret", "live"))
    mo_id = (await floor.admit(meta={"reason_vector": ["trend"]})).mo_id
    for route in ("webhook", "alpaca"):
        (mine,) = await opened(floor, await floor.page(mo_id, route))
        async with DispatchStore(floor.database).locked(floor.tenant_id, mine.fo_id) as (_, his):
            assert mine == his


async def test_followers_of_one_host_stand_in_one_line(floor: Floor) -> None:
    same = ("https://one.example/a", "https://ONE.example/b?u=1", "https://one.example?u=2", "https://one.example")
    other = ("https://one.example:8443/a", "https://two.example/one.example")
    lines: dict[str, set[str]] = {}
    for url in (*same, *other):
        host = "one.example" if url in same else url.split("/")[2]
        lines.setdefault(host, set()).add(await floor.follower(webhook_url=url))
    page = await floor.page((await floor.admit()).mo_id)
    assert {host: {order.follower_id for order in line} for host, line in page.by_host().items()} == lines


async def cancel(floor: Floor, mo_id: str, _follower_id: str) -> datetime | None:
    await SettlementStore(floor.database).cancel(floor.tenant_id, mo_id, ACTOR)
    return None


async def kill(floor: Floor, _mo_id: str, follower_id: str) -> datetime | None:
    await floor.rows("UPDATE followers SET kill_switch = true WHERE follower_id = %s", follower_id)
    return None


async def disable(floor: Floor, _mo_id: str, follower_id: str) -> datetime | None:
    await floor.rows("UPDATE followers SET endpoint_disabled_at = now() WHERE follower_id = %s", follower_id)
    return None


async def expire(floor: Floor, _mo_id: str, _follower_id: str) -> datetime | None:
    return datetime.now(UTC) + timedelta(hours=2)


async def close(floor: Floor, _mo_id: str, _follower_id: str) -> datetime | None:
    other_day = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
    hours = {"time_zone": "UTC", "days": [other_day], "open": "09:00", "close": "10:00"}
    changes = {"risk_profile": {"trading_hours": hours}}
    await floor.registry.update_vault(floor.tenant_id, floor.vault_id, changes, actor=ACTOR)
    return None


@pytest.mark.parametrize("happens", [cancel, kill, disable, expire, close])
async def test_an_order_that_a_guard_stops_is_neither_stored_nor_returned(
    floor: Floor, happens: Callable[[Floor, str, str], Any]
) -> None:
    follower_id = await floor.follower()
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    mo_id = (await floor.admit(meta={"expires_at": expires})).mo_id
    page = await floor.page(mo_id)
    now = await happens(floor, mo_id, follower_id)
    assert await opened(floor, page, now) == []
    assert await stored(floor, mo_id) == {}
    assert await events(floor, mo_id) == []
    assert await floor.rows("SELECT * FROM attempts") == []


@pytest.mark.parametrize("happens", [kill, disable])
async def test_one_follower_that_is_stopped_does_not_stop_the_others(
    floor: Floor, happens: Callable[[Floor, str, str], Any]
) -> None:
    stopped, other = await floor.follower(), await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    await happens(floor, mo_id, stopped)
    assert [order.follower_id for order in await opened(floor, page)] == [other]
    assert set(await stored(floor, mo_id)) == {other}


async def test_expansion_stores_what_the_wave_has_left_and_a_repeat_nothing(floor: Floor) -> None:
    sent = [await floor.follower() for _ in range(2)]
    stopped, shadow = await floor.follower(), await floor.follower(mode=Mode.SHADOW)
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    await kill(floor, mo_id, stopped)
    await opened(floor, page)
    first = await stored(floor, mo_id)

    expansion = ExpansionStore(floor.database)
    assert await expansion.expand(floor.tenant_id, mo_id, 0) == {"webhook": 1}
    rows = await stored(floor, mo_id)
    assert {f: row["state"] for f, row in rows.items()} == {**dict.fromkeys(sent, "sent"), stopped: "sized",
                                                          shadow: "shadowed"}  # fmt: skip
    assert {f: rows[f] for f in sent} == first
    fo_id = ids.follower_order_id(mo_id, stopped)
    assert [e for e in await events(floor, mo_id) if e[0] == fo_id] == [(fo_id, "sized")]
    told = await events(floor, mo_id)
    assert await expansion.expand(floor.tenant_id, mo_id, 0) == {}
    assert (await stored(floor, mo_id), await events(floor, mo_id)) == (rows, told)


async def test_what_expansion_has_stored_is_not_opened(floor: Floor) -> None:
    await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    assert await opened(floor, page) == []
    assert await floor.rows("SELECT * FROM attempts") == []


async def test_a_cancel_that_comes_during_open_waits_and_counts_the_orders_as_in_flight(floor: Floor) -> None:
    for _ in range(3):
        await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    pause = Pause("INSERT INTO follower_orders")
    waves = WaveStore(cast("Database", SpiedDatabase(floor.database, pause)))
    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        opening = group.create_task(waves.open(page, page.orders, datetime.now(UTC)))
        await pause.reached.wait()
        cancelling = group.create_task(SettlementStore(floor.database).cancel(floor.tenant_id, mo_id, ACTOR))
        while not cancelling.done() and not await floor.rows(
            "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", pause.pid
        ):
            await asyncio.sleep(0.01)
        assert not cancelling.done(), "cancelled while its orders were being claimed"
        pause.go_on.set()
    assert len(opening.result()) == 3
    assert (cancelling.result().cancelled, cancelling.result().in_flight) == (0, 3)


async def test_an_open_that_comes_during_a_cancel_waits_and_returns_nothing(floor: Floor) -> None:
    await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    pause = Pause("UPDATE positions")  # the last statement of a cancel before anything was sent
    settlement = SettlementStore(cast("Database", SpiedDatabase(floor.database, pause)))
    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        cancelling = group.create_task(settlement.cancel(floor.tenant_id, mo_id, ACTOR))
        await pause.reached.wait()
        opening = group.create_task(opened(floor, page))
        while not opening.done() and not await floor.rows(
            "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", pause.pid
        ):
            await asyncio.sleep(0.01)
        pause.go_on.set()
    assert opening.result() == []
    assert (cancelling.result().cancelled, cancelling.result().in_flight) == (0, 0)
    assert await stored(floor, mo_id) == {}


@pytest.mark.parametrize(("symbol", "rail"), [(EQUITY, "equities"), (COIN, "crypto")])
async def test_the_broker_route_gets_the_credential_of_the_orders_rail(
    floor: Floor, box: SecretBox, symbol: str, rail: str
) -> None:
    account = BrokerAccount("alpaca", "one-key", "one-secret", "live")
    follower_id = await floor.follower(equities=account)
    # Enrolment gives a follower one account per venue; older rows may have two at one.
    other = f"{credential_ref(follower_id, 'alpaca')}/crypto"
    key_id, sealed = box.seal(b'{"key_id": "c", "secret": "c"}', aad=other)
    await floor.rows(
        "INSERT INTO credentials (cred_ref, tenant_id, venue, environment, key_id, sealed) "
        "VALUES (%s, %s, 'alpaca', 'paper', %s, %s)",
        other, floor.tenant_id, key_id, sealed,
    )  # fmt: skip
    await floor.rows(
        "UPDATE followers SET bridged_brokers = bridged_brokers || jsonb_build_object('crypto_ref', %s::text) "
        "WHERE follower_id = %s",
        other, follower_id,
    )  # fmt: skip
    admission = await floor.admit(symbol)
    assert admission.routes == (("alpaca",),)
    (order,) = await opened(floor, await floor.page(admission.mo_id, "alpaca"))
    assert order.credential is not None
    mine = {"equities": (credential_ref(follower_id, "alpaca"), "live"), "crypto": (other, "paper")}
    assert (order.credential.ref, order.environment) == mine[rail]
    assert box.open(order.credential.key_id, order.credential.sealed, aad=order.credential.ref)


async def test_a_credential_that_was_withdrawn_after_admission_is_not_used(floor: Floor) -> None:
    await floor.follower(equities=BrokerAccount("alpaca", "key", "secret"))
    admission = await floor.admit()
    page = await floor.page(admission.mo_id, "alpaca")
    await floor.rows("UPDATE credentials SET status = 'revoked'")
    assert [order.credential for order in await opened(floor, page)] == [None]


async def test_rotating_webhook_keys_come_newest_first_without_the_expired(floor: Floor, box: SecretBox) -> None:
    followers = [await floor.follower(), await floor.follower()]
    now = datetime.now(UTC)
    for follower_id in followers:
        ref = ids.webhook_key_ref(follower_id)
        for version, expires in ((3, now + timedelta(hours=1)), (2, now - timedelta(hours=1)), (4, None)):
            key_id, sealed = box.seal(f"{follower_id} {version}".encode(), aad=ref)
            await floor.rows(
                "INSERT INTO webhook_keys (key_ref, version, tenant_id, key_id, sealed, expires_at) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                ref, version, floor.tenant_id, key_id, sealed, expires,
            )  # fmt: skip
    admission: Admission = await floor.admit()
    for order in await opened(floor, await floor.page(admission.mo_id)):
        assert {key.ref for key in order.keys} == {ids.webhook_key_ref(order.follower_id)}
        plain = [box.open(key.key_id, key.sealed, aad=key.ref) for key in order.keys]
        assert plain[:2] == [f"{order.follower_id} {version}".encode() for version in (4, 3)]
        assert len(plain) == 3, "the first key has not expired"

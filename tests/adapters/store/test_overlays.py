"""Overlays on the real Postgres: once per key, told to audit and outbox, and what the guards read in step with them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from adapters.store.database import Database
from adapters.store.overlays import OverlayStore, to_domain
from adapters.store.registry import Registry
from domain import ids
from domain.admission import Halt
from domain.enrolment import NewFollower, NewVault
from domain.errors import IdempotencyKeyReused, InvalidInput, NotFound
from domain.flip_mode import EndOverlay, ExtendOverlay, StartOverlay
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.requests import Once, Slice
from domain.sizing import Mode
from settings import Settings
from tests.adapters.store.conftest import ACTOR
from tests.conftest import owner_dsn

K = OverlayKind
MINUTE = timedelta(minutes=1)
FLIP = NewOverlay(K.FLIP, "", ttl=45 * MINUTE, params=Params(persona="ares", amplify=Decimal("0.35")), reason="news")


@pytest.fixture
def store(database: Database) -> OverlayStore:
    return OverlayStore(database)


@pytest.fixture
async def vault(registry: Registry, tenant: str) -> str:
    made = await registry.create_vault(tenant, NewVault("Alpha"), actor=ACTOR, once=Once("v", "vault", "f"))
    return made.row.vault_id


@pytest.fixture
async def follower(registry: Registry, tenant: str, vault: str) -> str:
    new = NewFollower(vault, "Bob", mode=Mode.SHADOW)
    return (await registry.create_follower(tenant, new, actor=ACTOR, once=Once("f", "bob", "f"))).row.follower_id


def start_of(tenant: str, new: NewOverlay, key: str = "k", fingerprint: str = "f") -> StartOverlay:
    return StartOverlay(tenant, ids.overlay_id(tenant, key), new, Once("start_overlay", key, fingerprint), ACTOR)


async def events(database: Database, tenant: str) -> list[dict[str, Any]]:
    async with database.cursor(tenant) as cursor:
        cursor.filtered = False
        await cursor.execute(
            "SELECT entity, entity_id, action, actor, payload FROM audit_events "
            "WHERE action LIKE 'overlay_%%' ORDER BY event_id"
        )
        return await cursor.fetchall()


async def guards(database: Database, tenant: str, vault: str, follower: str) -> tuple[Any, ...]:
    """(tenant's halt, vault's halt and maintenance, follower's halt and maintenance)"""
    async with database.cursor(tenant) as cursor:
        cursor.filtered = False
        await cursor.execute(
            "SELECT t.halt AS t, v.halt AS v, v.maintenance AS vm, f.halt AS f, f.maintenance AS fm "
            "FROM tenants t, vaults v, followers f WHERE v.vault_id = %s AND f.follower_id = %s",
            [vault, follower],
        )
        row = await cursor.fetchone()
    assert row is not None
    return tuple(row.values())


async def age(settings: Settings, overlay_id: str, minutes: float) -> None:
    """Make time pass for one overlay."""
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings)) as connection:
        await connection.execute(
            "UPDATE overlays SET starts_at = starts_at - %(by)s * interval '1 minute', "
            "expires_at = expires_at - %(by)s * interval '1 minute' WHERE overlay_id = %(id)s",
            {"by": minutes, "id": overlay_id},
        )


async def test_a_flip_is_stored_with_its_time_and_told(
    store: OverlayStore, database: Database, tenant: str, vault: str
) -> None:
    started = await store.start(start_of(tenant, replace(FLIP, vault_id=vault)))
    row = started.row
    assert not started.replayed
    assert row.expires_at == row.starts_at + 45 * MINUTE
    overlay = to_domain(row)
    assert overlay.params == FLIP.params
    assert overlay.active(datetime.now(UTC))
    (event,) = await events(database, tenant)
    assert (event["entity"], event["entity_id"], event["action"]) == ("vault", vault, "overlay_started")
    assert (event["payload"]["params"], event["actor"]) == ({"persona": "ares", "amplify": "0.35"}, ACTOR)


async def test_a_repeat_finds_the_first_and_another_request_under_the_key_is_refused(
    store: OverlayStore, database: Database, tenant: str, vault: str
) -> None:
    start = start_of(tenant, replace(FLIP, vault_id=vault))
    first, *others = await asyncio.gather(*(store.start(start) for _ in range(4)))
    assert {r.row.overlay_id for r in others} == {first.row.overlay_id}
    assert sorted(r.replayed for r in (first, *others)) == [False, True, True, True]
    assert {r.row.expires_at for r in others} == {first.row.expires_at}
    with pytest.raises(IdempotencyKeyReused):
        await store.start(start_of(tenant, replace(FLIP, vault_id=vault, reason="other"), fingerprint="g"))
    earlier = await store.before_starting(start)
    assert earlier is not None
    assert earlier.overlay_id == first.row.overlay_id
    assert len(await events(database, tenant)) == 1


async def test_what_is_wrong_or_unknown_changes_nothing(
    store: OverlayStore, registry: Registry, database: Database, tenant: str, vault: str, follower: str
) -> None:
    other = (await registry.create_vault(tenant, NewVault("B"), actor=ACTOR, once=Once("v", "b", "f"))).row.vault_id
    for new, error in (
        (replace(FLIP, vault_id=vault, ttl=61 * MINUTE), InvalidInput),
        (replace(FLIP, vault_id="V_none"), NotFound),
        (replace(FLIP, vault_id=vault, follower_id="F_none"), NotFound),
        (replace(FLIP, vault_id=other, follower_id=follower), NotFound),
    ):
        with pytest.raises(error):
            await store.start(start_of(tenant, new))
    assert await events(database, tenant) == []
    assert await store.list(tenant, vault, Slice(10)) == []


async def test_an_extension_counts_from_the_start_and_never_past_the_longest_time(
    store: OverlayStore, database: Database, settings: Settings, tenant: str, vault: str
) -> None:
    row = (await store.start(start_of(tenant, replace(FLIP, vault_id=vault, ttl=30 * MINUTE)))).row
    await age(settings, row.overlay_id, 20)
    longer = ExtendOverlay(tenant, row.overlay_id, 60 * MINUTE, "user:ann")
    extended = await store.extend(longer)
    assert extended.expires_at == extended.starts_at + 60 * MINUTE
    assert (await store.extend(longer)).expires_at == extended.expires_at
    with pytest.raises(InvalidInput, match="ttl_minutes"):
        await store.extend(replace(longer, ttl=61 * MINUTE))
    told = await events(database, tenant)
    assert [event["action"] for event in told] == ["overlay_started", "overlay_extended"]
    assert told[1]["actor"] == "user:ann"
    await age(settings, row.overlay_id, 41)
    with pytest.raises(InvalidInput, match="over"):
        await store.extend(longer)


async def test_it_ends_once_and_says_how(
    store: OverlayStore, database: Database, settings: Settings, tenant: str, vault: str
) -> None:
    async def start(key: str) -> str:
        return (await store.start(start_of(tenant, replace(FLIP, vault_id=vault), key))).row.overlay_id

    cancelled, late, due = await start("a"), await start("b"), await start("c")
    ended = await store.end(EndOverlay(tenant, cancelled, EndReason.CANCELLED, "user:ann"))
    assert ended.end_reason == "cancelled"
    assert (await store.get(tenant, cancelled)).ended_by == "user:ann"
    again = await store.end(EndOverlay(tenant, cancelled, EndReason.EXPIRED, "system:flip"))
    assert (again.end_reason, again.ended_at) == ("cancelled", ended.ended_at)
    # Whoever comes late finds that its time had ended it; and its time ends it even by a clock that is a bit ahead.
    await age(settings, late, 50)
    await age(settings, due, 44.95)
    for overlay_id, reason in ((late, EndReason.CANCELLED), (due, EndReason.EXPIRED)):
        ended = await store.end(EndOverlay(tenant, overlay_id, reason, "user:ann"))
        assert (ended.end_reason, ended.ended_at) == ("expired", ended.expires_at)
    assert [event["action"] for event in await events(database, tenant)][3:] == ["overlay_ended"] * 3


async def test_what_has_time_left_does_not_expire(store: OverlayStore, tenant: str, vault: str) -> None:
    overlay_id = (await store.start(start_of(tenant, replace(FLIP, vault_id=vault)))).row.overlay_id
    assert (await store.end(EndOverlay(tenant, overlay_id, EndReason.EXPIRED, "system:flip"))).ended_at is None
    assert (await store.find(tenant, overlay_id)).active(datetime.now(UTC))


async def test_halts_and_maintenance_are_what_the_guards_read_while_any_of_them_lasts(
    store: OverlayStore, database: Database, tenant: str, vault: str, follower: str
) -> None:
    async def start(key: str, kind: OverlayKind, level: Halt | None = None, **scope: Any) -> str:
        new = NewOverlay(kind, scope.get("vault_id", vault), scope.get("follower_id"), params=Params(level=level))
        return (await store.start(start_of(tenant, new, key))).row.overlay_id

    async def lift(overlay_id: str) -> tuple[Any, ...]:
        await store.end(EndOverlay(tenant, overlay_id, EndReason.LIFTED, ACTOR))
        return await guards(database, tenant, vault, follower)

    opens = await start("a", K.HALT, Halt.HALT_OPENS)
    everything = await start("b", K.HALT, Halt.HALT_ALL)
    flatten = await start("c", K.HALT, Halt.FLATTEN)
    assert await guards(database, tenant, vault, follower) == (None, "halt_all", False, None, False)
    own = await start("d", K.HALT, Halt.HALT_OPENS, follower_id=follower)
    maintenance = await start("e", K.MAINTENANCE, follower_id=follower)
    closed = await start("f", K.MAINTENANCE)
    whole = await start("g", K.HALT, Halt.HALT_ALL, vault_id=None)
    assert await guards(database, tenant, vault, follower) == ("halt_all", "halt_all", True, "halt_opens", True)
    assert await lift(everything) == ("halt_all", "flatten", True, "halt_opens", True)
    assert await lift(flatten) == ("halt_all", "halt_opens", True, "halt_opens", True)
    assert await lift(maintenance) == ("halt_all", "halt_opens", True, "halt_opens", False)
    assert await lift(opens) == ("halt_all", None, True, "halt_opens", False)
    assert await lift(closed) == ("halt_all", None, False, "halt_opens", False)
    assert await lift(own) == ("halt_all", None, False, None, False)
    assert await lift(whole) == (None, None, False, None, False)
    told = await events(database, tenant)
    assert {event["entity"] for event in told} == {"vault", "follower", "tenant"}
    assert [e["payload"]["halt"] for e in told if e["entity"] == "vault"][:3] == ["halt_opens", "halt_all", "halt_all"]


async def test_halts_that_end_at_once_leave_nothing_behind(
    store: OverlayStore, database: Database, tenant: str, vault: str, follower: str
) -> None:
    halt = NewOverlay(K.HALT, vault, params=Params(level=Halt.HALT_ALL))
    started = await asyncio.gather(*(store.start(start_of(tenant, halt, str(n))) for n in range(4)))
    assert (await guards(database, tenant, vault, follower))[1] == "halt_all"
    ends = (EndOverlay(tenant, one.row.overlay_id, EndReason.LIFTED, ACTOR) for one in started)
    await asyncio.gather(*(store.end(end) for end in ends))
    assert (await guards(database, tenant, vault, follower))[1] is None


async def test_a_list_shows_the_latest_first_page_by_page(
    store: OverlayStore, settings: Settings, tenant: str, vault: str, follower: str
) -> None:
    made = []
    for number in range(4):
        new = replace(FLIP, vault_id=vault, follower_id=follower if number % 2 else None)
        made.append((await store.start(start_of(tenant, new, str(number)))).row.overlay_id)
    await store.end(EndOverlay(tenant, made[0], EndReason.CANCELLED, ACTOR))
    await age(settings, made[1], 46)  # its time has come, and nobody has said so yet
    shown = await store.list(tenant, vault, Slice(2))
    assert [row.overlay_id for row in shown] == [made[3], made[2]]
    rest = await store.list(tenant, vault, Slice(9, after=(shown[-1].starts_at, shown[-1].overlay_id)))
    assert [row.overlay_id for row in rest] == [made[0], made[1]]
    active = await store.list(tenant, vault, Slice(9), active=True)
    assert [row.overlay_id for row in active] == [made[3], made[2]]
    over = await store.list(tenant, vault, Slice(9), active=False)
    assert [row.overlay_id for row in over] == [made[0], made[1]]


async def test_another_tenant_sees_none(store: OverlayStore, registry: Registry, tenant: str, vault: str) -> None:
    row = (await store.start(start_of(tenant, replace(FLIP, vault_id=vault)))).row
    stranger = "00000000-0000-0000-0000-00000000000a"
    await registry.ensure_tenant(stranger, "Stranger", actor=ACTOR)
    with pytest.raises(NotFound):
        await store.get(stranger, row.overlay_id)
    with pytest.raises(NotFound):
        await store.end(EndOverlay(stranger, row.overlay_id, EndReason.CANCELLED, ACTOR))
    with pytest.raises(NotFound):
        await store.get(tenant, row.overlay_id, vault_id="V_other")

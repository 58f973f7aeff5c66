"""What the application's database role cannot do, whatever the code above it gets wrong."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, InsufficientPrivilege
from sqlmodel import SQLModel

import models
from adapters.store.registry import Registry
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.requests import Once
from settings import Settings
from tests.adapters.store.conftest import ACTOR

assert models.__all__
SHARED = {
    "instruments", "login_attempts", "market_calendars", "market_sessions", "payment_events", "platform_halts",
    "price_history", "prices", "senders",
}  # fmt: skip
OWNED = sorted(name for name in SQLModel.metadata.tables if name not in SHARED)
READABLE = [name for name in OWNED if name != "outbox"]
# What a tenant has after the fixture has run.
FILLED = [
    "tenants", "vaults", "followers", "webhook_keys", "credentials", "idempotency_keys", "audit_events", "row_history",
]  # fmt: skip
Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Connection]:
    """A bare connection of the application's role, outside any tenant."""
    dsn = settings.postgres.dsn.get_secret_value()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def filled(registry: Registry, tenant: str) -> str:
    once = (Once("test", f"{tenant}-{n}", "f") for n in range(9))
    vault = (await registry.create_vault(tenant, NewVault("A"), actor=ACTOR, once=next(once))).row.vault_id
    for new in (
        NewFollower(vault, "hooked", webhook_url="https://follower.example/"),
        NewFollower(vault, "bridged", equities=BrokerAccount("alpaca", "key", "secret")),
    ):
        await registry.create_follower(tenant, new, actor=ACTOR, once=next(once))
    return tenant


async def _count(connection: Connection, table: str, where: str = "true") -> int:
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table), sql.SQL(where))
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


async def _become(connection: Connection, tenant_id: str) -> None:
    await connection.execute("SELECT set_config('vanta.tenant_id', %s, false)", [tenant_id])


@pytest.mark.parametrize("table", READABLE)
async def test_without_a_tenant_no_row_shows(app: Connection, filled: str, table: str) -> None:
    assert await _count(app, table) == 0


@pytest.mark.parametrize("table", READABLE)
async def test_a_tenant_sees_its_own_rows_only(app: Connection, filled: str, table: str) -> None:
    await _become(app, filled)
    mine = await _count(app, table)
    assert mine == await _count(app, table, f"tenant_id = '{filled}'")
    assert (mine > 0) == (table in FILLED)
    await _become(app, str(uuid.uuid4()))
    assert await _count(app, table) == 0


async def test_a_tenant_cannot_write_rows_of_another(app: Connection, filled: str) -> None:
    other = str(uuid.uuid4())
    await _become(app, filled)
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        await app.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'x')", [other])
    await _become(app, other)
    done = await app.execute("UPDATE vaults SET label = 'mine now'")
    assert done.rowcount == 0
    await _become(app, filled)
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        await app.execute("UPDATE vaults SET tenant_id = %s", [other])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'nobody'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY",
        "DROP TABLE audit_events",
        "CREATE TABLE mine (x int)",
        "UPDATE snapshots SET digest = ''",
        "UPDATE fills SET qty = 0",
        "UPDATE idempotency_keys SET response = '{}'",
        "SELECT * FROM outbox",
        "DELETE FROM outbox",
        "SET ROLE vanta_owner",
    ],
)
async def test_what_is_written_once_stays(app: Connection, filled: str, statement: str) -> None:
    await _become(app, filled)
    with pytest.raises(InsufficientPrivilege):
        await app.execute(statement)


@pytest.mark.parametrize("table", sorted(SQLModel.metadata.tables))
async def test_no_row_of_any_table_can_be_deleted(app: Connection, filled: str, table: str) -> None:
    await _become(app, filled)
    with pytest.raises(InsufficientPrivilege):
        await app.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


async def test_every_table_of_a_tenant_is_under_row_level_security(app: Connection) -> None:
    found = await app.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relrowsecurity"
    )
    assert sorted(row[0] for row in await found.fetchall()) == OWNED
    roles = await app.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    assert await roles.fetchone() == (False,)


@pytest.fixture
async def relay(settings: Settings) -> AsyncIterator[Connection]:
    assert settings.postgres.relay_dsn is not None
    dsn = settings.postgres.relay_dsn.get_secret_value()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def test_the_relay_reads_the_events_of_every_tenant(relay: Connection, filled: str, registry: Registry) -> None:
    other = str(uuid.uuid4())
    await registry.ensure_tenant(other, "Other", actor=ACTOR)
    for tenant in (filled, other):
        assert await _count(relay, "audit_events", f"tenant_id = '{tenant}'") > 0


@pytest.mark.parametrize("table", sorted({*OWNED, *SHARED} - {"audit_events", "outbox"}))
async def test_the_relay_reads_no_table_but_audit_events_and_outbox(relay: Connection, table: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        await _count(relay, table)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_events DEFAULT VALUES",
        "UPDATE audit_events SET actor = 'nobody'",
        "DELETE FROM audit_events",
        "SELECT 1 FROM audit_events FOR UPDATE",
        "INSERT INTO outbox DEFAULT VALUES",
        "UPDATE outbox SET event_ids = '{1}'",
    ],
)
async def test_the_relay_can_change_no_event(relay: Connection, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        await relay.execute(statement)


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("event_ids", "'{}'"),
        ("subject", "'mirror_dispatch_dlx.x'"),
        ("event_ids, subject, payload", "'{1}', 'mirror_dispatch_dlx.x', '{}'"),
    ],
)
async def test_an_outbox_row_has_events_or_a_message_of_its_own(
    app: Connection, filled: str, columns: str, values: str
) -> None:
    await _become(app, filled)
    with pytest.raises(CheckViolation, match="ck_outbox_one_form"):
        await app.execute(f"INSERT INTO outbox (tenant_id, {columns}) VALUES ('{filled}', {values})")

"""An order that was under way when its followers became pages goes on as it was."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from adapters.store.database import Database
from adapters.store.expansion import ExpansionStore
from adapters.store.waves import WaveStore
from domain import ids
from settings import Settings
from stack import Stack
from tests.migrations.scratch import scratch_database, upgrade

TENANT = "5f0c7f0e-6a53-4f0e-9d5e-2a0f4a1d9b12"
MO = "M-UNDERWAY"
NAME = "migrating_pages"
SNAPSHOT = {
    "taken_at": "2026-01-30T15:00:00+00:00", "sizing_version": 1, "effect": "open", "rail": "fiat", "price": "200",
    "price_source": "test", "personas": [], "followers": "d" * 64, "nav_usd": "1000000", "position": "0",
    "qty_step": "1", "fine_step": "0.000001", "min_qty": "0", "min_notional": "0",
}  # fmt: skip
# By page: each follower with its holding and what differs from the usual terms. In no order, as the rows had none.
PAGES: dict[int, dict[str, tuple[str, dict[str, Any]]]] = {
    0: {"F_c": ("0.50", {}), "F_a": ("0", {"scale": "2"}), "F_b": ("7", {"route": "alpaca"})},
    1: {"F_e": ("0", {"mode": "shadow", "route": None}), "F_d": ("0", {"kill_switch": True})},
}
KEPT = ("manager_orders", "snapshots", "follower_orders", "attempts", "audit_events", "outbox")


@pytest.fixture
def scratch(stack: Stack, settings: Settings) -> Iterator[str]:
    with scratch_database(stack, settings, NAME) as dsn:
        yield dsn


def terms(**different: Any) -> dict[str, Any]:
    return {
        "mode": "proportional", "scale": "1", "max_pos_usd": None, "kill_switch": False, "persona": None,
        "fractional": False, "endpoint_disabled": False, "route": "webhook", **different,
    }  # fmt: skip


def order_under_way(connection: psycopg.Connection[Any]) -> None:
    """As revision 0002 kept it; the first follower's order has been sent."""
    execute = connection.execute
    execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'Old')", [TENANT])
    execute("INSERT INTO vaults (vault_id, tenant_id, label) VALUES ('V_1', %s, 'Old')", [TENANT])
    execute(
        "INSERT INTO manager_orders (mo_id, tenant_id, vault_id, symbol, venue, side, qty, order_type, tif, state, "
        "effect, fingerprint, source, actor, followers, shards) VALUES (%s, %s, 'V_1', 'AAPL', 'XNAS', 'buy', 10, "
        "'market', 'day', 'dispatching', 'open', 'f', 'api', 'user:test', 5, 2)",
        [MO, TENANT],
    )
    execute(
        "INSERT INTO snapshots (mo_id, tenant_id, taken_at, body, digest) VALUES (%s, %s, %s, %s, 'the-digest')",
        [MO, TENANT, datetime(2026, 1, 30, 15, tzinfo=UTC), Jsonb(SNAPSHOT)],
    )
    for shard, followers in PAGES.items():
        for follower_id, (holding, different) in followers.items():
            execute(
                "INSERT INTO followers (follower_id, tenant_id, subscriber_tenant_id, vault_id, mode) "
                "VALUES (%s, %s, %s, 'V_1', 'proportional')",
                [follower_id, TENANT, TENANT],
            )
            execute(
                "INSERT INTO snapshot_followers (mo_id, follower_id, tenant_id, shard, holding, terms) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [MO, follower_id, TENANT, shard, Decimal(holding), Jsonb(terms(**different))],
            )
    fo_id = ids.follower_order_id(MO, "F_a")
    execute(
        "INSERT INTO follower_orders (fo_id, tenant_id, mo_id, follower_id, vault_id, shard, symbol, side, qty, "
        "cap_applied, state, route, dispatch_attempts) VALUES (%s, %s, %s, 'F_a', 'V_1', 0, 'AAPL', 'buy', 20, false, "
        "'sent', 'webhook', 1)",
        [fo_id, TENANT, MO],
    )
    execute("INSERT INTO attempts (fo_id, attempt_no, tenant_id, via) VALUES (%s, 1, %s, 'wave')", [fo_id, TENANT])


def kept(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    return {table: connection.execute(f"SELECT to_jsonb(t) FROM {table} t ORDER BY 1").fetchall() for table in KEPT}


def test_rows_per_follower_become_pages_and_the_order_stays_as_it_is(scratch: str) -> None:
    upgrade(scratch, "0002")
    with psycopg.connect(scratch) as connection:
        order_under_way(connection)
        before = kept(connection)
    upgrade(scratch, "0003")
    with psycopg.connect(scratch) as connection:
        assert kept(connection) == before
        assert before["snapshots"][0][0]["digest"] == "the-digest"
        assert connection.execute("SELECT to_regclass('snapshot_followers')").fetchone() == (None,)
        pages = connection.execute(
            "SELECT mo_id, shard, tenant_id::text, body, routes FROM snapshot_pages ORDER BY shard"
        ).fetchall()
    assert [page[:4] for page in pages] == [
        (
            MO,
            shard,
            TENANT,
            [
                {"follower_id": follower_id, "holding": holding, **terms(**different)}
                for follower_id, (holding, different) in sorted(followers.items())
            ],
        )
        for shard, followers in PAGES.items()
    ]
    assert set(pages[0][4]) == {"webhook", "alpaca"}


async def test_an_order_under_way_is_expanded_from_its_pages(scratch: str, settings: Settings) -> None:
    upgrade(scratch, "0002")
    with psycopg.connect(scratch) as connection:
        order_under_way(connection)
    upgrade(scratch, "head")
    app = settings.postgres.dsn.get_secret_value().rpartition("/")[0] + f"/{NAME}"
    database = Database(settings.postgres.model_copy(update={"dsn": SecretStr(app)}))
    try:
        page = await WaveStore(database).page(TENANT, MO, 0, "webhook")
        assert {o.follower_id: o.qty for o in page.orders} == {"F_a": Decimal(20), "F_c": Decimal(10)}
        expansion = ExpansionStore(database)
        assert await expansion.expand(TENANT, MO, 0) == {"webhook": 1, "alpaca": 1}
        assert await expansion.expand(TENANT, MO, 1) == {}
        async with database.cursor(TENANT) as cursor:
            cursor.filtered = False
            await cursor.execute("SELECT follower_id, shard, state, qty FROM follower_orders ORDER BY follower_id")
            rows = await cursor.fetchall()
    finally:
        await database.close()
    assert [tuple(row.values()) for row in rows] == [
        ("F_a", 0, "sent", Decimal(20)), ("F_b", 0, "sized", Decimal(10)), ("F_c", 0, "sized", Decimal(10)),
        ("F_d", 1, "killed", Decimal(0)), ("F_e", 1, "shadowed", Decimal(10)),
    ]  # fmt: skip

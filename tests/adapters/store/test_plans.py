"""The statements of the order path keep their plans for a tenant that the statistics have never heard of.

What is counted is work, not time: the pages that each statement's plan touched. A plan that reads all of a tenant's
rows for each of its orders is nowhere near as much slower on a small page as it is on a large one.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from pydantic import SecretStr

from adapters.secretbox import SecretBox
from adapters.store.database import Cursor, Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain import retry
from domain.dispatch import PendingOrder
from domain.ports import OutcomeKind
from settings import Settings
from stack import Stack
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import EQUITY, Floor, SpiedDatabase, admission_store, manager_order
from tests.domain.pending import outcome
from tests.migrations.scratch import scratch_database, upgrade

SMALL, LARGE = 300, 1_200
# Four times the orders; linear work is four times as much, and an index may gain a level.
MOST = 6
# Below this, what a statement costs at all is bigger than what it costs per order.
WORTH_LOOKING_AT = 500
# What the page's followers have, without the way through the registry one by one.
_FOLLOWERS = """
WITH f AS (
  INSERT INTO followers (follower_id, tenant_id, subscriber_tenant_id, vault_id, mode, webhook, bridged_brokers)
  SELECT 'F_' || %(tag)s || '_' || n, %(tenant)s, %(tenant)s, %(vault)s, 'proportional',
    CASE WHEN n %% 3 > 0 THEN jsonb_build_object('url', 'https://f.example/', 'hmac_key_ref', 'k/' || %(tag)s || n) END,
    CASE WHEN n %% 3 = 0 THEN jsonb_build_object('equities_ref', 'c/' || %(tag)s || n) END
  FROM generate_series(1, %(count)s) n RETURNING *
), k AS (
  INSERT INTO webhook_keys (key_ref, version, tenant_id, key_id, sealed)
  SELECT webhook ->> 'hmac_key_ref', version, tenant_id, 'test', 'sealed' FROM f, generate_series(1, 2) version
  WHERE webhook IS NOT NULL
), c AS (
  INSERT INTO credentials (cred_ref, tenant_id, venue, environment, key_id, sealed)
  SELECT bridged_brokers ->> 'equities_ref', tenant_id, 'alpaca', 'paper', 'test', 'sealed' FROM f
  WHERE bridged_brokers IS NOT NULL
)
INSERT INTO positions (tenant_id, holder_id, symbol, qty)
SELECT tenant_id, follower_id, symbol, 1 FROM f, unnest(ARRAY[%(symbol)s, 'OTHER']) symbol
"""
# The policies of migration 0003, and the indexes that they were answered from.
_BEFORE_0004 = ("follower_orders", "attempts", "fills", "positions", "followers", "webhook_keys", "credentials",
                "snapshot_pages")  # fmt: skip
_INDEXED_BEFORE_0004 = ("attempts", "fills", "webhook_keys", "credentials")


class Work:
    """Pages touched by each statement; a statement is first tried out under EXPLAIN ANALYZE, and then undone."""

    def __init__(self) -> None:
        self.pages: Counter[str] = Counter()

    async def __call__(self, cursor: Cursor, statement: str, values: Any) -> None:
        await cursor.execute("SAVEPOINT tried")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
        await cursor.execute(cast("Any", explain), values)
        row = await cursor.fetchone()
        assert row is not None
        ((plan,),) = row.values()
        await cursor.execute("ROLLBACK TO SAVEPOINT tried")
        self.pages[" ".join(statement.split())] += _pages(plan["Plan"])


def _pages(plan: dict[str, Any]) -> int:
    """Of all nodes: those of a CTE that nobody reads are in no other's sum."""
    own: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return own + sum(_pages(child) for child in plan.get("Plans", ()))


def spent(order: PendingOrder, n: int) -> PendingOrder:
    """One in eight is at its last attempt, so that some end as dead letters."""
    return replace(order, attempts=retry.MAX_ATTEMPTS) if n % 8 == 2 else order


class Past:
    """A database in which another tenant may have had an order; the statistics have been gathered since."""

    def __init__(self, owner_dsn: str, database: Database, box: SecretBox) -> None:
        self._owner_dsn = owner_dsn
        self._database = database
        self._box = box

    async def begin(self, followers: int) -> None:
        if followers:
            await self.order_path(followers)
        async with await psycopg.AsyncConnection.connect(self._owner_dsn, autocommit=True) as owner:
            await owner.execute("ANALYZE")

    async def order_path(self, count: int) -> Counter[str]:
        """A fresh tenant's order with so many followers, from the door to its end: the pages touched by statement."""
        floor = Floor(self._database, Registry(self._database, self._box), str(uuid.uuid4()))
        tenant = floor.tenant_id
        await floor.registry.ensure_tenant(tenant, "Fresh", actor=ACTOR)
        await floor.prepare()
        async with await psycopg.AsyncConnection.connect(self._owner_dsn) as owner:
            tag = uuid.uuid4().hex[:8]
            await owner.execute(
                _FOLLOWERS,
                {"tenant": tenant, "vault": floor.vault_id, "count": count, "tag": tag, "symbol": EQUITY},
            )
        work = Work()
        spied = cast("Database", SpiedDatabase(self._database, work))
        order = manager_order(tenant, floor.vault_id)
        admission = await admission_store(spied, page_size=count).admit(order, datetime.now(UTC))
        assert (admission.followers, admission.shards) == (count, 1)
        waves, sent = WaveStore(spied), list[PendingOrder]()
        for route in ("webhook", "alpaca"):
            page = await waves.page(tenant, order.mo_id, 0, route)
            # A part is left to the expansion.
            part = page.orders[: len(page.orders) * 3 // 4]
            sent += await waves.open(page, part, datetime.now(UTC))
        assert len(sent) == count * 3 // 4
        assert all(o.keys or o.credential for o in sent)
        await ExpansionStore(spied).expand(tenant, order.mo_id, 0)
        kinds = (OutcomeKind.ACK, OutcomeKind.ACK, OutcomeKind.RETRYABLE, OutcomeKind.FINAL)
        dispatch = DispatchStore(spied)
        await dispatch.record(tenant, [(spent(o, n), outcome(kinds[n % 4])) for n, o in enumerate(sent)])
        assert len(await dispatch.refs(tenant, order.mo_id, 0)) == count
        await dispatch.due_pages(tenant, order.mo_id)
        settlement = SettlementStore(spied)
        assert (await settlement.cancel(tenant, order.mo_id, ACTOR)).cancelled > count // 4
        assert [event async for event in settlement.trade_log(tenant, order.mo_id)]
        booked = await floor.rows("SELECT count(*) AS n FROM fills")
        assert booked[0]["n"] >= count // 4
        return work.pages

    async def as_before_0004(self) -> None:
        me = "tenant_id = nullif(current_setting('vanta.tenant_id', true), '')::uuid"
        async with await psycopg.AsyncConnection.connect(self._owner_dsn) as owner:
            for table in _BEFORE_0004:
                await owner.execute(f"ALTER POLICY tenant ON {table} USING ({me}) WITH CHECK ({me})")
            for table in _INDEXED_BEFORE_0004:
                await owner.execute(f"CREATE INDEX ON {table} (tenant_id)")


@pytest.fixture
async def past(stack: Stack, settings: Settings, box: SecretBox, before: int) -> AsyncIterator[Past]:
    # A database of its own: other tests' tenants would get into the statistics, and autovacuum would gather them anew.
    with scratch_database(stack, settings, "planning") as owner_dsn:
        await asyncio.to_thread(upgrade, owner_dsn, "head")
        async with await psycopg.AsyncConnection.connect(owner_dsn) as owner:
            tables = await owner.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'")
            for (table,) in await tables.fetchall():
                await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        app = settings.postgres.dsn.get_secret_value().rpartition("/")[0] + "/planning"
        database = Database(settings.postgres.model_copy(update={"dsn": SecretStr(app)}))
        try:
            made = Past(owner_dsn, database, box)
            await made.begin(before)
            yield made
        finally:
            await database.close()


def _growth(small: Counter[str], large: Counter[str]) -> dict[str, Decimal]:
    """By statement; of those only that the larger order makes do some work."""
    assert small.keys() == large.keys()
    return {s: Decimal(large[s]) / max(small[s], 1) for s in large if large[s] > WORTH_LOOKING_AT}


@pytest.mark.parametrize("before", [0, 600])
async def test_the_work_for_a_tenant_unknown_to_the_statistics_grows_with_its_orders(past: Past) -> None:
    growth = _growth(await past.order_path(SMALL), await past.order_path(LARGE))
    assert len(growth) >= 8, "the order path has lost its statements"
    assert {s: g for s, g in growth.items() if g > MOST} == {}


@pytest.mark.parametrize("before", [600])
async def test_with_policies_that_an_index_can_answer_it_grows_with_their_square(past: Past) -> None:
    """The count above can tell: so it was up to migration 0003."""
    await past.as_before_0004()
    growth = _growth(await past.order_path(SMALL), await past.order_path(LARGE))
    assert max(growth.values()) > MOST

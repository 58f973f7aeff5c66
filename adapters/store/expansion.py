"""From a page of the snapshot to follower orders: sized once, from the snapshot and nothing else (SPEC section 5.3)."""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from adapters.store import exits
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.frozen import SizedOrder, Sizer, sized

ACTOR = "system:expansion"

_ORDER = """
SELECT m.symbol, m.side, m.qty, m.vault_id, m.order_type, m.limit_price, m.tif, m.meta, m.effect, m.expires_at, s.body
FROM manager_orders m JOIN snapshots s USING (mo_id) WHERE m.mo_id = %s AND is_mine(m.tenant_id)
"""

_PAGE = "SELECT body FROM snapshot_pages WHERE mo_id = %s AND shard = %s AND is_mine(tenant_id)"

_THERE = "SELECT fo_id FROM follower_orders WHERE mo_id = %s AND shard = %s AND is_mine(tenant_id)"

# What rounding has left over: a delta, so that two orders that were sized from the same residue both count.
CARRY = """
r AS (
  INSERT INTO residues AS z (tenant_id, follower_id, symbol, qty)
  SELECT tenant_id, follower_id, symbol, carry FROM i WHERE carry <> 0 ORDER BY follower_id
  ON CONFLICT (follower_id, symbol) DO UPDATE SET qty = z.qty + excluded.qty, updated_at = now()
)
"""

_INSERT = f"""
WITH i AS (
  INSERT INTO follower_orders (fo_id, tenant_id, mo_id, follower_id, vault_id, shard, leg, symbol, side, qty,
    cap_applied, carry, state, reason, route, trace, audit)
  SELECT x.fo_id, m.tenant_id, m.mo_id, x.follower_id, m.vault_id, %(shard)s, x.leg, x.symbol, x.side, x.qty,
    x.cap_applied, x.carry, x.state, x.reason, x.route, x.trace, jsonb_build_object('dag_id', m.mo_id)
  FROM jsonb_to_recordset(%(rows)s) AS x(fo_id text, follower_id text, leg int, symbol text, side text, qty numeric,
    cap_applied bool, carry numeric, state text, reason text, route text, trace jsonb)
  JOIN manager_orders m ON m.mo_id = %(mo_id)s AND is_mine(m.tenant_id)
  ON CONFLICT (fo_id) DO NOTHING
  RETURNING *
), {CARRY}, e AS (
  SELECT tenant_id, 'follower_order' AS entity, fo_id AS entity_id, state AS action, %(actor)s AS actor, mo_id,
    jsonb_build_object('to', state, 'follower_id', follower_id, 'vault_id', vault_id, 'symbol', symbol, 'side', side,
      'qty', qty::text, 'cap_applied', cap_applied, 'carry', carry::text, 'leg', leg, 'reason', reason, 'route', route,
      'trace', trace) AS payload, 1 AS n
  FROM i
), {EMIT}
SELECT count(*) FROM i
"""


class ExpansionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def expand(self, tenant_id: str, mo_id: str, shard: int) -> dict[str, int]:
        """Size those of the page that have no order yet, and store theirs: how many of these are to be sent, by route.

        A repeat changes nothing.
        """
        async with self._database.cursor(tenant_id) as cursor:
            order, page = await read_page(cursor, mo_id, shard)
            await cursor.execute(_THERE, [mo_id, shard])
            there = {row["fo_id"] for row in await cursor.fetchall()}
            everything = sized(Sizer(mo_id, order), page)
            await exits.allot(cursor, tenant_id, mo_id, shard, everything)
            orders = in_lock_order(o for o in everything if o.fo_id not in there)
            if orders:
                rows = jsonb([o.row() for o in orders])
                await cursor.execute(_INSERT, {"rows": rows, "mo_id": mo_id, "shard": shard, "actor": ACTOR})
        return Counter(o.terms["route"] for o in orders if o.allotted)


def in_lock_order(orders: Iterable[SizedOrder]) -> list[SizedOrder]:
    """As everybody inserts them: a wave and an expansion of the same page would otherwise wait for each other."""
    return sorted(orders, key=attrgetter("fo_id"))


async def read_page(cursor: Cursor, mo_id: str, shard: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manager order with its snapshot, and the terms of the page's followers."""
    await cursor.execute(_ORDER, [mo_id])
    order = await cursor.fetchone()
    assert order is not None, f"{mo_id} was admitted but has no snapshot"
    await cursor.execute(_PAGE, [mo_id, shard])
    page = await cursor.fetchone()
    assert page is not None, f"{mo_id} has no page {shard}"
    return order, page["body"]

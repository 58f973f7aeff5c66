"""Reads a page of followers with all that reconciliation needs of them: orders, fills, positions, sealed accounts."""

from typing import Any

from adapters.store.book_rows import PageRows
from adapters.store.database import Cursor, Database
from adapters.store.steps import whole_step
from domain.books import FollowerBooks, Times

# Followers of mode shadow send nothing and hold nothing.
_FOLLOWERS = """
SELECT f.follower_id, f.scale, f.fractional, f.reconcile_policy, f.created_at, f.webhook IS NOT NULL AS is_webhook,
  v.nav_usd * f.scale AS base_usd,
  f.kill_switch OR f.maintenance OR v.maintenance AS killed,
  array_remove(ARRAY[f.halt, v.halt, t.halt], NULL)
    || ARRAY(SELECT level FROM platform_halts WHERE ended_at IS NULL) AS halts,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('venue', c.venue, 'ref', c.cred_ref, 'key_id', c.key_id,
     'sealed', encode(c.sealed, 'hex'), 'environment', c.environment) ORDER BY c.venue), '[]')
   FROM credentials c WHERE c.status = 'active'
     AND c.cred_ref IN (f.bridged_brokers ->> 'equities_ref', f.bridged_brokers ->> 'crypto_ref')) AS accounts
FROM followers f JOIN vaults v USING (vault_id) JOIN tenants t ON t.tenant_id = f.tenant_id
WHERE f.tenant_id = %(tenant)s AND f.vault_id = %(vault)s AND f.follower_id > %(after)s AND f.mode <> 'shadow'
ORDER BY f.follower_id LIMIT %(limit)s
"""

# Positions, what was ordered lately, and what the previous run found: other symbols have been settled for long.
_SYMBOLS = """
SELECT holder_id AS follower_id, symbol FROM positions
WHERE tenant_id = %(tenant)s AND holder_id = ANY(%(followers)s) AND qty <> 0
UNION
SELECT follower_id, symbol FROM follower_orders
WHERE tenant_id = %(tenant)s AND follower_id = ANY(%(followers)s) AND created_at > %(since)s
UNION
SELECT follower_id, symbol FROM drifts
WHERE run_id = %(previous)s AND is_mine(tenant_id) AND follower_id = ANY(%(followers)s)
"""

# The quantity before any limit is the result of the trace's step to the instrument's size.
_ORDERS = """
SELECT o.fo_id, o.follower_id, o.symbol, o.side, o.qty, o.filled_qty, o.avg_price, o.state, o.reason, o.cap_applied,
  o.leg, o.route, o.created_at, o.updated_at, m.kind, m.qty AS manager_qty, m.effect, m.expires_at,
  m.given_back_at IS NOT NULL AS given_back,
  s.body ->> 'position' AS vault_qty,
  (CASE WHEN o.leg = 0 THEN s.body ->> 'price' ELSE s.body #>> '{hedge,price}' END)::numeric AS price,
  (SELECT (t.step ->> 'result')::numeric FROM jsonb_array_elements(o.trace) AS t(step)
   WHERE t.step ->> 'rule' = 'step' LIMIT 1) AS stepped,
  o.trace @> '[{"rule": "no_crossing"}]' AS closes,
  (SELECT min(a.started_at) FROM attempts a WHERE a.fo_id = o.fo_id) AS sent_at
FROM follower_orders o JOIN manager_orders m USING (mo_id) LEFT JOIN snapshots s USING (mo_id)
WHERE o.tenant_id = %(tenant)s AND o.follower_id = ANY(%(followers)s) AND o.symbol = ANY(%(symbols)s)
  AND o.state <> 'shadowed'
"""

# Corrections that were turned away at the door, so that they are not tried again with every run.
_TURNED_AWAY = """
SELECT mo_id, only_follower_id AS follower_id, symbol, side, qty, created_at FROM manager_orders
WHERE tenant_id = %(tenant)s AND only_follower_id = ANY(%(followers)s) AND kind = 'correction'
  AND state IN ('rejected', 'expired')
"""

_FILLS = """
SELECT l.fill_id, l.fo_id, l.follower_id, l.symbol, l.side, l.qty, l.price, l.source, l.ts
FROM fills l JOIN follower_orders o USING (fo_id)
WHERE o.tenant_id = %(tenant)s AND o.follower_id = ANY(%(followers)s) AND o.symbol = ANY(%(symbols)s)
"""

_POSITIONS = """
SELECT holder_id AS follower_id, symbol, qty FROM positions
WHERE tenant_id = %(tenant)s AND holder_id = ANY(%(followers)s)
"""

_INSTRUMENTS = f"""
SELECT i.symbol, {whole_step("i")} AS qty_step, i.fine_step, p.price
FROM instruments i LEFT JOIN prices p USING (symbol)
WHERE i.symbol = ANY(%s)
"""

_Row = dict[str, Any]


class BooksStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant_id: str, vault_id: str, *, after: str, limit: int, times: Times, previous: str | None
    ) -> list[FollowerBooks]:
        """Up to `limit` followers beyond `after`, by id. `previous` is the vault's last run."""
        async with self._database.cursor(tenant_id) as cursor:
            given: _Row = {"tenant": tenant_id, "vault": vault_id, "after": after, "limit": limit}
            followers = await _all(cursor, _FOLLOWERS, given)
            given |= {"followers": [row["follower_id"] for row in followers]}
            given |= {"since": times.ordered_since, "previous": previous}
            keys = {(row["follower_id"], row["symbol"]) for row in await _all(cursor, _SYMBOLS, given)}
            given["symbols"] = sorted({symbol for _, symbol in keys})
            orders = await _all(cursor, _ORDERS, given)
            turned_away = await _all(cursor, _TURNED_AWAY, given)
            fills = await _all(cursor, _FILLS, given)
            positions = await _all(cursor, _POSITIONS, given)
            instruments = {row["symbol"]: row for row in await _all(cursor, _INSTRUMENTS, [given["symbols"]])}
        page = PageRows(keys, orders, turned_away, fills, positions, instruments, times)
        return [page.follower(row) for row in followers]


async def _all(cursor: Cursor, statement: str, given: Any) -> list[_Row]:
    await cursor.execute(statement, given)
    return await cursor.fetchall()

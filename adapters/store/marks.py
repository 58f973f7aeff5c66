"""Last prices and NAVs as they are kept: prices for all tenants, marks of each vault, what was said of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from domain.ports import PriceQuote
from domain.sizing import plain
from domain.valuation import Holding, Valuation, moved_bps, value

ACTOR = "system:marks"
_NOBODY = str(UUID(int=0))  # shared tables need a transaction, not a tenant

# A symbol's price of an earlier time never takes the place of a later one's; at the same time, a correction does.
_RECORD = """
INSERT INTO prices AS p (symbol, price, asof, source)
SELECT x.symbol, x.price, x.asof, x.source
FROM jsonb_to_recordset(%s) AS x(symbol text, price numeric, asof timestamptz, source text)
JOIN instruments i USING (symbol) ORDER BY x.symbol
ON CONFLICT (symbol) DO UPDATE SET price = excluded.price, asof = excluded.asof, source = excluded.source
WHERE excluded.asof > p.asof OR (excluded.asof = p.asof AND excluded.price <> p.price)
RETURNING symbol
"""

# Of the vault `v`, with their last prices; each is for `read_holding`.
HOLDINGS = """
(SELECT coalesce(jsonb_agg(jsonb_build_object('symbol', w.symbol, 'qty', w.qty::text, 'price', q.price::text,
   'asof', q.asof) ORDER BY w.symbol), '[]')
 FROM positions w LEFT JOIN prices q ON q.symbol = w.symbol
 WHERE w.tenant_id = v.tenant_id AND w.holder_id = v.vault_id AND w.qty <> 0)
"""

# By itself, as a statement that waits for an order under admission would have the cash of after it and the positions of
# before.
_LOCK = "SELECT 1 FROM vaults WHERE vault_id = %s AND is_mine(tenant_id) FOR UPDATE"

_READ = f"""
SELECT v.nav_usd, v.nav_told_usd, v.nav_fault, v.cash_usd, {HOLDINGS} AS holdings,
  (SELECT jsonb_build_object('cash', m.cash_usd::text, 'positions', m.positions)
   FROM nav_marks m WHERE m.holder_id = v.vault_id AND is_mine(m.tenant_id) ORDER BY m.asof DESC LIMIT 1) AS last
FROM vaults v WHERE v.vault_id = %s AND is_mine(v.tenant_id)
"""

_MARK = f"""
WITH m AS (
  INSERT INTO nav_marks (holder_id, asof, tenant_id, nav_usd, cash_usd, positions)
  SELECT vault_id, %(now)s, tenant_id, %(nav)s, cash_usd, %(positions)s FROM vaults
  WHERE vault_id = %(vault_id)s AND is_mine(tenant_id) AND %(changed)s
), u AS (
  UPDATE vaults SET nav_usd = %(nav)s, nav_asof = %(asof)s, nav_fault = NULL,
    nav_told_usd = CASE WHEN %(told)s THEN %(nav)s ELSE nav_told_usd END
  WHERE vault_id = %(vault_id)s AND is_mine(tenant_id) RETURNING *
), e AS (
  SELECT tenant_id, 'vault' AS entity, vault_id AS entity_id, 'nav_updated' AS action, %(actor)s AS actor,
    NULL AS mo_id, %(payload)s::jsonb AS payload, 1 AS n
  FROM u WHERE %(told)s
), {EMIT}
SELECT count(*) FROM a
"""

_DOUBT = f"""
WITH u AS (
  UPDATE vaults SET nav_fault = %(fault)s
  WHERE vault_id = %(vault_id)s AND is_mine(tenant_id) AND nav_fault IS NULL RETURNING *
), e AS (
  SELECT tenant_id, 'vault' AS entity, vault_id AS entity_id, 'nav_unknown' AS action, %(actor)s AS actor,
    NULL AS mo_id, %(payload)s::jsonb AS payload, 1 AS n
  FROM u
), {EMIT}
SELECT count(*) FROM a
"""

_NEEDED = """
SELECT priced_symbols() AS symbol UNION SELECT symbol FROM instruments WHERE symbol = ANY(%(always)s::text[])
"""


class MarkStore:
    """Prices older than `max_age` mark nothing; a NAV that has moved by `event_bps` since it was told is told again.

    The instruments `always` are priced even while nobody holds or orders them.
    """

    def __init__(
        self, database: Database, *, max_age: timedelta, event_bps: Decimal, always: Sequence[str] = ()
    ) -> None:
        self._database = database
        self._always = list(always)
        self._max_age = max_age
        self._event_bps = event_bps

    async def symbols(self, *, everything: bool) -> list[str]:
        """What some vault holds, has ordered lately or hedges with; or all instruments."""
        query = "SELECT symbol FROM instruments" if everything else _NEEDED
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(f"{query} ORDER BY 1", {"always": self._always})
            return [row["symbol"] for row in await cursor.fetchall()]

    async def record(self, quotes: Mapping[str, PriceQuote]) -> int:
        """Keep those that are newer than what is kept; how many. Symbols that are no instrument are left out."""
        rows = [{"symbol": s, "price": plain(q.price), "asof": q.asof, "source": q.source} for s, q in quotes.items()]
        if not rows:
            return 0
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_RECORD, [jsonb(rows)])
            return len(await cursor.fetchall())

    async def vaults(self) -> Sequence[tuple[str, str]]:
        """(tenant, vault) of every vault that is open."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute("SELECT tenant_id, vault_id FROM all_vaults()")
            return [(str(row["tenant_id"]), row["vault_id"]) for row in await cursor.fetchall()]

    async def mark(self, tenant_id: str, vault_id: str, now: datetime) -> str:
        """Mark the vault's NAV at the last prices: same, marked, told, unknown or unset (`activities.prices.Mark`)."""
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_LOCK, [vault_id])
            await cursor.execute(_READ, [vault_id])
            vault = await cursor.fetchone()
            if vault is None or (vault["cash_usd"] is None and vault["nav_usd"] is None):
                return "unset"
            holdings = [read_holding(row) for row in vault["holdings"]]
            worth = value(vault["cash_usd"], holdings, now, self._max_age)
            if worth.nav_usd is None or worth.stale:
                await self._doubt(cursor, vault_id, worth)
                return "unknown"
            return await self._mark(cursor, vault_id, vault, holdings, worth.nav_usd, worth.price_asof or now, now)

    async def _mark(
        self, cursor: Cursor, vault_id: str, vault: dict[str, Any], holdings: list[Holding], nav: Decimal,
        asof: datetime, now: datetime,
    ) -> str:  # fmt: skip
        positions = {h.symbol: _position(h) for h in holdings}
        last = vault["last"]
        changed = last is None or _what_counts(last["cash"], last["positions"]) != _what_counts(
            str(vault["cash_usd"]), positions
        )
        before = vault["nav_told_usd"]
        bps = None if before is None else moved_bps(before, nav)
        # After a time of doubt it is told in any case: that it is known again is news.
        told = vault["nav_fault"] is not None or bps is None or (nav != before and bps >= self._event_bps)
        payload = {
            "nav_usd": plain(nav), "nav_asof": asof.isoformat(), "cash_usd": plain(vault["cash_usd"]),
            "from": None if before is None else plain(before),
            "moved_bps": None if bps is None else plain(round(bps, 2)),
        }  # fmt: skip
        await cursor.execute(
            _MARK,
            {
                "vault_id": vault_id, "now": now, "nav": nav, "asof": asof, "positions": jsonb(positions),
                "changed": changed, "told": told, "payload": jsonb(payload), "actor": ACTOR,
            },
        )  # fmt: skip
        return "told" if told else "marked" if changed else "same"

    async def _doubt(self, cursor: Cursor, vault_id: str, worth: Valuation) -> None:
        """Said once for as long as it lasts."""
        fault = "stale-nav" if worth.nav_usd is not None else "missing-nav"
        payload = {"code": fault, "missing": list(worth.missing), "stale": list(worth.stale)}
        await cursor.execute(_DOUBT, {"vault_id": vault_id, "fault": fault, "payload": jsonb(payload), "actor": ACTOR})


def read_holding(row: dict[str, Any]) -> Holding:
    """From the JSON in which a statement lists a vault's positions with their prices."""
    return Holding(
        row["symbol"],
        Decimal(row["qty"]),
        None if row["price"] is None else Decimal(row["price"]),
        None if row["asof"] is None else datetime.fromisoformat(row["asof"]),
    )


def _position(holding: Holding) -> dict[str, str]:
    assert holding.price is not None, "a vault with an unpriced position is not marked"
    assert holding.asof is not None
    return {"qty": plain(holding.qty), "price": plain(holding.price), "asof": holding.asof.isoformat()}


def _what_counts(cash: str, positions: Mapping[str, Mapping[str, str]]) -> Any:
    """Without the prices' times: a price that is confirmed is no new mark."""
    return Decimal(cash), {symbol: (Decimal(p["qty"]), Decimal(p["price"])) for symbol, p in positions.items()}

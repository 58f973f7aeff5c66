"""A cursor that sees the past: what one follower of one vault would have been judged and sized by at some time.

Every statement is given common table expressions named like the tables that it reads, so that the very statements of
admission answer for then. Settings and cash come from `row_history`, prices from `price_history`, what a follower held
from its fills, what was under way from the audit events, overlays and halts from their times. Subscribers' rights are
of then, too: their functions are told the time. Instruments, credentials, whether a tenant is suspended, and plans are
taken as they are now.

A row counts from the moment that its transaction began or wrote it, not from its commit a moment later: at a time at
which something was just being written, the answer may have what a reader then could not see yet.
"""

from datetime import datetime
from typing import Any, cast

from adapters.store.database import Cursor
from adapters.store.underway import OPEN_STATES
from domain.expectation import ADOPTED
from domain.overlays import STRICTNESS

_T = "current_setting('vanta.asof')::timestamptz"
_ME = "current_setting('vanta.tenant_id')::uuid"
_VAULT = "current_setting('vanta.vault_id', true)"
_FOLLOWER = "current_setting('vanta.follower_id')"
_OPEN = ", ".join(f"'{state}'" for state in OPEN_STATES)
_STRICTEST_FIRST = ", ".join(f"'{level}'" for level in reversed(STRICTNESS))
# What reconciliation takes over into the books is written as a fill of the order before it, and fills nothing of that.
_OURS = f"x.source <> '{ADOPTED}'"
_SIGNED = "sum(CASE x.side WHEN 'buy' THEN x.qty ELSE -x.qty END)"


def _filled(join: str = "", condition: str = "true") -> str:
    """The follower's fills `x` of its orders `f`."""
    return f"""
FROM public.follower_orders f JOIN public.fills x ON x.fo_id = f.fo_id {join}
WHERE f.tenant_id = {_ME} AND f.follower_id = {_FOLLOWER} AND f.created_at <= {_T} AND x.ts <= {_T} AND {condition}
"""


def _version(table: str, entity: str, entity_id: str) -> str:
    """The row as it was, from its history."""
    return f"""
SELECT r.* FROM (
  SELECT h.body FROM public.row_history h
  WHERE h.entity = '{entity}' AND h.entity_id = {entity_id} AND is_mine(h.tenant_id) AND h.valid_from <= {_T}
  ORDER BY h.valid_from DESC, h.history_id DESC LIMIT 1
) b, jsonb_populate_record(NULL::public.{table}, b.body) r
"""


# An order whose row has not changed since then was as it is.
AS_OF = f"""
WITH vaults AS NOT MATERIALIZED ({_version("vaults", "vault", _VAULT)}
), followers AS NOT MATERIALIZED ({_version("followers", "follower", _FOLLOWER)}
), prices AS NOT MATERIALIZED (
  SELECT i.symbol, p.price, p.asof, p.source FROM public.instruments i CROSS JOIN LATERAL (
    SELECT h.price, h.asof, h.source FROM public.price_history h
    WHERE h.symbol = i.symbol AND h.recorded_at <= {_T} ORDER BY h.recorded_at DESC LIMIT 1) p
), positions AS (
  SELECT r.tenant_id, r.holder_id, r.symbol, r.qty
  FROM public.positions n CROSS JOIN LATERAL ({_version("positions", "position", "n.holder_id || '/' || n.symbol")}) r
  WHERE n.tenant_id = {_ME} AND n.holder_id = {_VAULT}
  UNION ALL
  SELECT f.tenant_id, f.follower_id, x.symbol, {_SIGNED} {_filled()} GROUP BY f.tenant_id, f.follower_id, x.symbol
), hedges AS (
  SELECT f.follower_id, m.symbol, x.symbol AS hedge_symbol, {_SIGNED} AS qty
  {_filled("JOIN public.manager_orders m ON m.mo_id = f.mo_id", f"f.leg = 1 AND {_OURS}")}
  GROUP BY f.follower_id, m.symbol, x.symbol
), residues AS (
  SELECT f.follower_id, f.symbol, sum(f.carry) AS qty FROM public.follower_orders f
  WHERE f.tenant_id = {_ME} AND f.follower_id = {_FOLLOWER} AND f.created_at <= {_T} GROUP BY f.follower_id, f.symbol
), follower_orders AS (
  SELECT f.fo_id, f.tenant_id, f.mo_id, f.follower_id, f.shard, f.leg, f.symbol, f.side, f.qty, f.created_at, s.state,
    s.filled_qty
  FROM public.follower_orders f CROSS JOIN LATERAL (
    SELECT f.state, f.filled_qty WHERE f.updated_at <= {_T}
    UNION ALL
    SELECT (SELECT a.payload ->> 'to' FROM public.audit_events a
        WHERE a.mo_id = f.mo_id AND a.entity = 'follower_order' AND a.entity_id = f.fo_id AND a.payload ? 'to'
          AND a.ts <= {_T} ORDER BY a.event_id DESC LIMIT 1),
      (SELECT coalesce(sum(x.qty), 0) FROM public.fills x WHERE x.fo_id = f.fo_id AND x.ts <= {_T} AND {_OURS})
    WHERE f.updated_at > {_T}) AS s (state, filled_qty)
  WHERE f.tenant_id = {_ME} AND f.follower_id = {_FOLLOWER} AND f.created_at <= {_T}
), manager_orders AS (
  SELECT m.mo_id, m.tenant_id, m.vault_id, m.symbol, m.side, m.qty, m.order_type, m.limit_price, m.meta, m.shards,
    m.kind, m.effect, m.created_at, s.state,
    s.state = 'dispatching' OR m.mo_id IN (SELECT f.mo_id FROM follower_orders f WHERE f.state IN ({_OPEN})) AS live
  FROM public.manager_orders m CROSS JOIN LATERAL (
    SELECT CASE WHEN m.effect IS NULL OR m.settled_at <= {_T} THEN m.state ELSE 'dispatching' END) AS s (state)
  WHERE m.vault_id = {_VAULT} AND is_mine(m.tenant_id) AND m.created_at <= {_T}
), snapshots AS NOT MATERIALIZED (
  SELECT s.* FROM public.snapshots s WHERE is_mine(s.tenant_id) AND s.taken_at <= {_T}
), snapshot_pages AS NOT MATERIALIZED (
  SELECT p.mo_id, p.tenant_id, p.shard, (SELECT coalesce(json_agg(t.value), '[]') FROM json_array_elements(p.body) t
    WHERE t.value ->> 'follower_id' = {_FOLLOWER}) AS body
  FROM public.snapshot_pages p WHERE is_mine(p.tenant_id)
), overlays AS (
  SELECT o.overlay_id, o.tenant_id, o.kind, o.vault_id, o.follower_id, o.params, o.starts_at, o.expires_at,
    CASE WHEN o.ended_at <= {_T} THEN o.ended_at END AS ended_at
  FROM public.overlays o WHERE o.vault_id = {_VAULT} AND is_mine(o.tenant_id) AND o.starts_at <= {_T}
), tenants AS (
  SELECT t.tenant_id, (SELECT o.params ->> 'level' FROM public.overlays o
    WHERE o.tenant_id = t.tenant_id AND o.vault_id IS NULL AND o.kind = 'halt' AND o.starts_at <= {_T}
      AND (o.ended_at IS NULL OR o.ended_at > {_T})
    ORDER BY array_position(ARRAY[{_STRICTEST_FIRST}], o.params ->> 'level') LIMIT 1) AS halt
  FROM public.tenants t WHERE t.tenant_id = {_ME}
), platform_halts AS (
  SELECT p.level, NULL::timestamptz AS ended_at FROM public.platform_halts p
  WHERE p.starts_at <= {_T} AND (p.ended_at IS NULL OR p.ended_at > {_T})
)
"""


class _Then:
    """Reads by statements that begin with SELECT."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    async def execute(self, statement: str, values: Any = None) -> Any:
        return await self._cursor.execute(cast("Any", AS_OF + statement), values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


async def as_of(cursor: Cursor, moment: datetime, follower_id: str) -> Cursor:
    """A cursor of the same transaction for that time and follower, whose vault is to be told by `of_vault`."""
    await cursor.execute(
        "SELECT set_config('vanta.asof', %s, true), set_config('vanta.follower_id', %s, true)",
        [moment.isoformat(), follower_id],
    )
    return cast("Cursor", _Then(cursor))


async def of_vault(cursor: Cursor, vault_id: str) -> None:
    """For the rest of the transaction; on the cursor that sees the present."""
    await cursor.execute("SELECT set_config('vanta.vault_id', %s, true)", [vault_id])

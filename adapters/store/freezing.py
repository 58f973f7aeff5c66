"""The terms of a vault's followers as a snapshot freezes them: one JSON object per follower, built by one expression.

A preview of the past runs the same text, with what was true then in the place of the tables (`adapters.store.asof`).
Subqueries by primary key and not joins: with statistics from before the followers came, a join would read every
position of the symbol for each of them. Scalar ones, as an EXISTS may be answered by reading the whole table at once.
What subscribers have is read once for all of them, and bound.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adapters.store.database import Cursor, jsonb
from adapters.store.rights import HELD, MINE, lacks, read_rights
from adapters.store.underway import read_under_way
from domain.mirroring import MirrorOrderInput
from domain.overlays import OverlayKind
from domain.rights import Offer

# Statements that use these bind: vault_id, symbol, hedge_symbol (or null), ref (equities_ref or crypto_ref),
# under_way (JSON: follower → [buying, selling, USD]), only (a follower's id, or null), and held and subscribers, see
# `adapters.store.rights`.


def _position(symbol: str) -> str:
    return (
        "coalesce((SELECT h.qty FROM positions h WHERE h.tenant_id = f.tenant_id AND h.holder_id = f.follower_id "
        f"AND h.symbol = {symbol}), 0)"
    )


# Whatever was ordered since the account was read may have been paid from it: a stale balance must not be spent twice.
_SPENT_SINCE = """
(SELECT coalesce(sum(CASE WHEN o.state IN ('rejected', 'cancelled', 'killed', 'skipped', 'shadowed')
    THEN o.filled_qty ELSE o.qty END
    * (CASE WHEN o.leg = 0 THEN s.body ->> 'price' ELSE s.body #>> '{hedge,price}' END)::numeric), 0)
 FROM follower_orders o JOIN snapshots s ON s.mo_id = o.mo_id
 WHERE o.tenant_id = f.tenant_id AND o.follower_id = f.follower_id AND o.created_at > f.funds_asof AND o.side = 'buy')
"""

# What the account of a follower `f` can still spend, null where nobody knows.
FUNDS = f"CASE WHEN f.funds_usd IS NOT NULL THEN f.funds_usd - {_SPENT_SINCE} END"

_HEDGE_QTY = """
coalesce((SELECT g.qty FROM hedges g
  WHERE g.follower_id = f.follower_id AND g.symbol = %(symbol)s AND g.hedge_symbol = %(hedge_symbol)s), 0)
"""

_RESIDUE = """
coalesce((SELECT z.qty FROM residues z WHERE z.follower_id = f.follower_id AND z.symbol = %(symbol)s), 0)
"""

# Rows of (tenant_id, follower_id, sends, route, terms): `sends` where the first wave has something to send. The route
# is the account that serves the rail.
FROZEN = f"""
SELECT tenant_id, follower_id, route,
  route IS NOT NULL AND mode <> 'shadow' AND NOT kill_switch AND NOT disabled AND NOT broken AS sends,
  json_build_object('follower_id', follower_id, 'mode', mode, 'scale', scale::text,
    'holding', holding::text, 'max_pos_usd', max_pos_usd::text, 'kill_switch', kill_switch,
    'persona', persona, 'fractional', fractional, 'endpoint_disabled', disabled, 'credential_broken', broken,
    'route', route,
    'allow_short', allow_short, 'close_only', coalesce(held ? 'closed', false),
    'lacks', {lacks("mode", "route", "persona")}, 'residue', residue::text,
    'buying', coalesce(under_way ->> 0, '0'), 'selling', coalesce(under_way ->> 1, '0'),
    'funds_usd', (funds - coalesce((under_way ->> 2)::numeric, 0))::text,
    'hedge_qty', hedge_qty::text, 'hedge_holding', hedge_holding::text) AS terms
FROM (SELECT g.*, {HELD} AS held FROM (
  SELECT f.*, f.endpoint_disabled_at IS NOT NULL AS disabled, %(under_way)s::jsonb -> f.follower_id AS under_way,
    CASE WHEN f.webhook IS NOT NULL THEN 'webhook' ELSE (SELECT c.venue FROM credentials c
      WHERE c.cred_ref = f.bridged_brokers ->> %(ref)s AND c.status IN ('active', 'broken')) END AS route,
    f.webhook IS NULL AND coalesce((SELECT c.status = 'broken' FROM credentials c
      WHERE c.cred_ref = f.bridged_brokers ->> %(ref)s), false) AS broken,
    {MINE} AS mine, {_position("%(symbol)s")} AS holding, {_RESIDUE} AS residue, {FUNDS} AS funds,
    CASE WHEN %(hedge_symbol)s::text IS NULL THEN 0 ELSE {_position("%(hedge_symbol)s")} END AS hedge_holding,
    CASE WHEN %(hedge_symbol)s::text IS NULL THEN 0 ELSE {_HEDGE_QTY} END AS hedge_qty
  FROM followers f
  WHERE f.tenant_id = %(tenant_id)s AND f.vault_id = %(vault_id)s
    AND (%(only)s::text IS NULL OR f.follower_id = %(only)s)
  OFFSET 0  -- each of these once, however often it is named above
) g OFFSET 0) f
"""


# Followers are paged by id, so that a page is a key and never a list. Texts and not jsonb: a page is written once and
# read whole, and the digest is of what was written.
_FREEZE = f"""
WITH f AS (
  SELECT *, (row_number() OVER (ORDER BY follower_id) - 1) / %(page)s AS shard FROM ({FROZEN}) x
), s AS (
  INSERT INTO snapshot_pages (mo_id, shard, tenant_id, routes, body)
  SELECT %(mo_id)s, shard, tenant_id, coalesce(array_agg(DISTINCT route) FILTER (WHERE sends), '{{}}'),
         json_agg(terms ORDER BY follower_id)
  FROM f GROUP BY tenant_id, shard
  RETURNING shard, routes, body
)
SELECT (SELECT count(*) FROM f) AS followers, count(*) AS shards,
       coalesce(jsonb_agg(to_jsonb(routes) ORDER BY shard), '[]') AS routes,
       encode(sha256(convert_to(coalesce(string_agg(body::text, E'\\n' ORDER BY shard), ''), 'UTF8')), 'hex') AS digest
FROM s
"""

_BENDING = """
SELECT overlay_id, kind, vault_id, follower_id, params, starts_at, expires_at FROM overlays
WHERE vault_id = %s AND is_mine(tenant_id) AND kind IN ('flip', 'boost') AND ended_at IS NULL AND expires_at > %s
ORDER BY starts_at, overlay_id
"""


async def freeze(cursor: Cursor, order: MirrorOrderInput, bound: dict[str, Any], page_size: int) -> dict[str, Any]:
    """Write the order's pages: how many followers and shards, each page's routes, and the digest of all of them."""
    await cursor.execute(_FREEZE, {**bound, "mo_id": order.mo_id, "page": page_size})
    found = await cursor.fetchone()
    assert found is not None
    return found


async def bindings(
    cursor: Cursor, order: MirrorOrderInput, facts: dict[str, Any], overlays: Sequence[dict[str, Any]], offer: Offer
) -> dict[str, Any]:
    """What `FROZEN` binds for a manager order. `facts`: rail and hedge; `overlays` bend its sizes."""
    intent = order.intent
    of = {"tenant_id": order.tenant_id, "vault_id": intent.vault_id, "only": order.only_follower_id}
    flips = {o["params"].get("persona") for o in overlays if o["kind"] == OverlayKind.FLIP} - {None}
    return {
        **of,
        **await read_rights(cursor, offer, of, flips),
        "symbol": intent.symbol,
        "hedge_symbol": None if facts["hedge"] is None else facts["hedge"]["symbol"],
        "ref": "crypto_ref" if facts["rail"] == "crypto" else "equities_ref",
        "under_way": jsonb(await read_under_way(cursor, intent.vault_id, order.mo_id, intent.symbol)),
    }


async def bending_overlays(cursor: Cursor, vault_id: str, now: datetime) -> list[dict[str, Any]]:
    """The flips and boosts that are active at that time, as the snapshot keeps them."""
    await cursor.execute(_BENDING, [vault_id, now])
    return [
        {**row, "starts_at": row["starts_at"].isoformat(), "expires_at": row["expires_at"].isoformat()}
        for row in await cursor.fetchall()
    ]

"""The DAG of one manager order, whole: order → snapshot → follower orders → attempts → fills, and its audit events.

One statement, so that all of it is of one moment; Postgres writes the JSON, as an order may have 10,000 followers.
"""

import asyncio
from datetime import datetime
from typing import Any

import orjson

from adapters.store.database import Database
from domain.errors import NotFound

_ORDER = """
SELECT mo_id, vault_id, symbol, venue, side, trim_scale(qty)::text AS qty, order_type AS type,
  trim_scale(limit_price)::text AS limit_price, tif, meta, state, reason, effect, fingerprint, source, actor,
  expires_at, followers, shards, created_at, settled_at
FROM manager_orders WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)
"""
_SNAPSHOT = "SELECT taken_at, digest, body FROM snapshots WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)"
_FOLLOWER_ORDERS = """
SELECT fo_id, follower_id, leg, shard, symbol, side, trim_scale(qty)::text AS qty, cap_applied, state, reason, route,
  broker_order_ref, dispatch_attempts, last_error, trim_scale(filled_qty)::text AS filled_qty,
  trim_scale(avg_price)::text AS avg_price, next_attempt_at, trace, audit, created_at, updated_at
FROM follower_orders WHERE mo_id = %(mo_id)s AND is_mine(tenant_id) ORDER BY follower_id, leg
"""
_ATTEMPTS = """
SELECT t.fo_id, t.attempt_no, t.via, t.started_at, t.ended_at, t.outcome, t.code, t.http_status, t.detail
FROM attempts t JOIN follower_orders f USING (fo_id) WHERE f.mo_id = %(mo_id)s AND is_mine(f.tenant_id)
ORDER BY t.fo_id, t.attempt_no
"""
_FILLS = """
SELECT l.fo_id, l.fill_id, l.symbol, l.side, trim_scale(l.qty)::text AS qty, trim_scale(l.price)::text AS price,
  l.source, l.ts
FROM fills l JOIN follower_orders f USING (fo_id) WHERE f.mo_id = %(mo_id)s AND is_mine(f.tenant_id)
ORDER BY l.fo_id, l.ts, l.fill_id
"""
_EVENTS = """
SELECT event_id, entity, entity_id, action, actor, payload, ts FROM audit_events
WHERE mo_id = %(mo_id)s AND is_mine(tenant_id) AND (%(since)s::timestamptz IS NULL OR ts >= %(since)s)
ORDER BY event_id
"""


def _list(query: str) -> str:
    return f"(SELECT coalesce(json_agg(x), '[]')::text FROM ({query}) x)"


def _one(query: str) -> str:
    return f"(SELECT row_to_json(x)::text FROM ({query}) x)"


_DAG = f"""
SELECT {_one(_ORDER)} AS manager_order, {_one(_SNAPSHOT)} AS snapshot, {_list(_FOLLOWER_ORDERS)} AS follower_orders,
  {_list(_ATTEMPTS)} AS attempts, {_list(_FILLS)} AS fills, {_list(_EVENTS)} AS events
"""


async def read_dag(database: Database, tenant_id: str, mo_id: str, since: datetime | None = None) -> bytes:
    """UTF-8 JSON; numbers as exact strings, times in RFC 3339 with offset. Raises NotFound.

    `since`: of audit events, which are all there without it.
    """
    async with database.cursor(tenant_id) as cursor:
        await cursor.execute(_DAG, {"mo_id": mo_id, "since": since})
        row = await cursor.fetchone()
    if row is None or row["manager_order"] is None:
        raise NotFound("manager_order", mo_id)
    # Megabytes for a large vault: nesting them here would stop the event loop for everybody else.
    return await asyncio.to_thread(_nest, row)


def _nest(row: dict[str, Any]) -> bytes:
    """Attempts, fills and events under the follower order that they belong to; the rest of the events at the top."""
    part: dict[str, Any] = {name: orjson.loads(text) if text else None for name, text in row.items()}
    follower_orders = part["follower_orders"]
    for order in follower_orders:
        order |= {"attempts": [], "fills": [], "audit_events": []}
    by_id = {order["fo_id"]: order for order in follower_orders}
    for name in ("attempts", "fills"):
        for item in part[name]:
            by_id[item.pop("fo_id")][name].append(item)
    top: list[dict[str, Any]] = []
    for event in part["events"]:
        owner = by_id.get(event["entity_id"])
        (top if owner is None else owner["audit_events"]).append(event)
    dag = {"manager_order": part["manager_order"], "snapshot": part["snapshot"], "audit_events": top}
    return orjson.dumps({"dag_id": part["manager_order"]["mo_id"], **dag, "follower_orders": follower_orders})

"""From a page of the snapshot to follower orders: sized once, from the snapshot and nothing else (SPEC section 5.3)."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from domain import ids
from domain.orders import FollowerState, Side
from domain.sizing import (
    Effect,
    FollowerTerms,
    Instrument,
    Mode,
    OrderTerms,
    Sizing,
    SkipReason,
    plain,
    size,
)

ACTOR = "system:expansion"

_ORDER = """
SELECT m.symbol, m.side, m.qty, m.vault_id, s.body
FROM manager_orders m JOIN snapshots s USING (mo_id) WHERE m.mo_id = %s
"""

_PAGE = (
    "SELECT follower_id, holding, terms FROM snapshot_followers WHERE mo_id = %s AND shard = %s ORDER BY follower_id"
)

_INSERT = f"""
WITH i AS (
  INSERT INTO follower_orders (fo_id, tenant_id, mo_id, follower_id, vault_id, shard, symbol, side, qty, cap_applied,
    state, reason, route, trace, audit)
  SELECT x.fo_id, m.tenant_id, m.mo_id, x.follower_id, m.vault_id, %(shard)s, m.symbol, m.side, x.qty, x.cap_applied,
    x.state, x.reason, x.route, x.trace, jsonb_build_object('dag_id', m.mo_id)
  FROM jsonb_to_recordset(%(rows)s) AS x(fo_id text, follower_id text, qty numeric, cap_applied bool, state text,
    reason text, route text, trace jsonb)
  JOIN manager_orders m ON m.mo_id = %(mo_id)s
  ON CONFLICT (fo_id) DO NOTHING
  RETURNING *
), e AS (
  SELECT tenant_id, 'follower_order' AS entity, fo_id AS entity_id, state AS action, %(actor)s AS actor, mo_id,
    jsonb_build_object('to', state, 'follower_id', follower_id, 'vault_id', vault_id, 'symbol', symbol, 'side', side,
      'qty', qty::text, 'cap_applied', cap_applied, 'reason', reason, 'route', route, 'trace', trace) AS payload, 1 AS n
  FROM i
), {EMIT}
SELECT count(*) FROM i
"""


class ExpansionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def expand(self, tenant_id: str, mo_id: str, shard: int) -> dict[str, int]:
        """Size the page's followers and store their orders; the number to send per route. A repeat changes nothing."""
        async with self._database.cursor(tenant_id) as cursor:
            rows = await self._size_page(cursor, mo_id, shard)
            await cursor.execute(_INSERT, {"rows": jsonb(rows), "mo_id": mo_id, "shard": shard, "actor": ACTOR})
        routes: dict[str, int] = {}
        for row in rows:
            if row["state"] == FollowerState.SIZED:
                routes[row["route"]] = routes.get(row["route"], 0) + 1
        return routes

    async def _size_page(self, cursor: Cursor, mo_id: str, shard: int) -> list[dict[str, Any]]:
        await cursor.execute(_ORDER, [mo_id])
        order = await cursor.fetchone()
        assert order is not None, f"{mo_id} was admitted but has no snapshot"
        terms, instrument = order_terms(order), instrument_of(order)
        await cursor.execute(_PAGE, [mo_id, shard])
        return [_sized(mo_id, row, terms, instrument) for row in await cursor.fetchall()]


def order_terms(order: dict[str, Any]) -> OrderTerms:
    body = order["body"]
    return OrderTerms(
        side=Side(order["side"]),
        qty=order["qty"],
        effect=Effect(body["effect"]),
        vault_qty=Decimal(body["position"]),
        price=None if body["price"] is None else Decimal(body["price"]),
    )


def instrument_of(order: dict[str, Any]) -> Instrument:
    body = order["body"]
    return Instrument(
        symbol=order["symbol"],
        qty_step=Decimal(body["qty_step"]),
        fine_step=Decimal(body["fine_step"]),
        min_qty=Decimal(body["min_qty"]),
        min_notional=Decimal(body["min_notional"]),
    )


def follower_terms(row: dict[str, Any]) -> FollowerTerms:
    terms = row["terms"]
    return FollowerTerms(
        mode=Mode(terms["mode"]),
        scale=Decimal(terms["scale"]),
        holding=row["holding"],
        max_pos_usd=None if terms["max_pos_usd"] is None else Decimal(terms["max_pos_usd"]),
        fractional=terms["fractional"],
        kill_switch=terms["kill_switch"],
    )


def _sized(mo_id: str, row: dict[str, Any], order: OrderTerms, instrument: Instrument) -> dict[str, Any]:
    sizing = size(order, follower_terms(row), instrument)
    state, reason = _first_state(sizing, row["terms"])
    return {
        "fo_id": ids.follower_order_id(mo_id, row["follower_id"]),
        "follower_id": row["follower_id"],
        "qty": plain(sizing.qty),
        "cap_applied": sizing.cap_applied,
        "state": state.value,
        "reason": reason,
        "route": row["terms"]["route"] or "none",
        "trace": [asdict(step) for step in sizing.trace],
    }


def _first_state(sizing: Sizing, terms: dict[str, Any]) -> tuple[FollowerState, str | None]:
    if sizing.skip is SkipReason.KILL_SWITCH:
        return FollowerState.KILLED, sizing.skip.value
    if sizing.skip is not None:
        return FollowerState.SKIPPED, sizing.skip.value
    if terms["mode"] == Mode.SHADOW:
        return FollowerState.SHADOWED, None
    if terms["route"] is None:
        return FollowerState.SKIPPED, SkipReason.NO_ROUTE.value
    if terms["endpoint_disabled"]:
        return FollowerState.SKIPPED, SkipReason.ENDPOINT_DISABLED.value
    return FollowerState.SIZED, None

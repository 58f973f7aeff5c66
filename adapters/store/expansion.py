"""From a page of the snapshot to follower orders: sized once, from the snapshot and nothing else (SPEC section 5.3)."""

from collections import Counter
from dataclasses import asdict, dataclass
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
SELECT m.symbol, m.side, m.qty, m.vault_id, m.order_type, m.limit_price, m.tif, m.meta, m.effect, m.expires_at, s.body
FROM manager_orders m JOIN snapshots s USING (mo_id) WHERE m.mo_id = %s
"""

_PAGE = "SELECT body FROM snapshot_pages WHERE mo_id = %s AND shard = %s"

_THERE = "SELECT follower_id FROM follower_orders WHERE mo_id = %s AND shard = %s"

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


@dataclass(frozen=True, slots=True)
class SizedOrder:
    """A follower's order as the snapshot makes it: `terms` are the follower's, `trace` explains the quantity."""

    fo_id: str
    follower_id: str
    terms: dict[str, Any]
    qty: Decimal
    cap_applied: bool
    state: FollowerState
    reason: str | None
    trace: list[dict[str, str]]

    def row(self) -> dict[str, Any]:
        return {
            "fo_id": self.fo_id,
            "follower_id": self.follower_id,
            "qty": plain(self.qty),
            "cap_applied": self.cap_applied,
            "state": self.state.value,
            "reason": self.reason,
            "route": self.terms["route"] or "none",
            "trace": self.trace,
        }


class Sizer:
    """Sizes one manager order's followers. As sizing is a pure function, equal terms are sized once."""

    def __init__(self, mo_id: str, order: dict[str, Any]) -> None:
        self._mo_id = mo_id
        self._order = order_terms(order)
        self._instrument = instrument_of(order)
        self._known: dict[FollowerTerms, tuple[Sizing, list[dict[str, str]]]] = {}

    def size(self, terms: dict[str, Any]) -> SizedOrder:
        follower = follower_terms(terms)
        known = self._known.get(follower)
        if known is None:
            sizing = size(self._order, follower, self._instrument)
            known = self._known[follower] = (sizing, [asdict(step) for step in sizing.trace])
        sizing, trace = known
        state, reason = _first_state(sizing, terms)
        follower_id = terms["follower_id"]
        fo_id = ids.follower_order_id(self._mo_id, follower_id)
        return SizedOrder(fo_id, follower_id, terms, sizing.qty, sizing.cap_applied, state, reason, trace)


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
            there = {row["follower_id"] for row in await cursor.fetchall()}
            sizer = Sizer(mo_id, order)
            orders = [sizer.size(terms) for terms in page if terms["follower_id"] not in there]
            if orders:
                rows = jsonb([o.row() for o in orders])
                await cursor.execute(_INSERT, {"rows": rows, "mo_id": mo_id, "shard": shard, "actor": ACTOR})
        return Counter(o.terms["route"] for o in orders if o.state is FollowerState.SIZED)


async def read_page(cursor: Cursor, mo_id: str, shard: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manager order with its snapshot, and the terms of the page's followers."""
    await cursor.execute(_ORDER, [mo_id])
    order = await cursor.fetchone()
    assert order is not None, f"{mo_id} was admitted but has no snapshot"
    await cursor.execute(_PAGE, [mo_id, shard])
    page = await cursor.fetchone()
    assert page is not None, f"{mo_id} has no page {shard}"
    return order, page["body"]


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


def follower_terms(terms: dict[str, Any]) -> FollowerTerms:
    return FollowerTerms(
        mode=Mode(terms["mode"]),
        scale=Decimal(terms["scale"]),
        holding=Decimal(terms["holding"]),
        max_pos_usd=None if terms["max_pos_usd"] is None else Decimal(terms["max_pos_usd"]),
        fractional=terms["fractional"],
        kill_switch=terms["kill_switch"],
    )


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

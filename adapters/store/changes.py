"""The only place where an order's state changes: row, audit event and outbox row in one statement.

Every writer names its events in a CTE `e(tenant_id, entity, entity_id, action, actor, mo_id, payload, n)` and appends
EMIT. As the events come out of the UPDATE's own RETURNING, a change that did not happen leaves no trace, and one that
did cannot lack one.
"""

from collections.abc import Sequence
from typing import Any

from adapters.store.database import Cursor, jsonb
from domain.dispatch import Change, NewFill, PendingOrder
from domain.orders import FollowerState
from domain.ports import VenueOrder
from domain.sizing import plain

# The outbox row only names the events: the relay composes their messages from audit_events, and with one row for all
# that a statement does, neither the order nor the relay's deletion pays for each event twice.
EMIT = """
a AS (
  INSERT INTO audit_events (tenant_id, entity, entity_id, action, actor, mo_id, payload)
  SELECT tenant_id, entity, entity_id, action, actor, mo_id, payload FROM e ORDER BY entity_id, n
  RETURNING tenant_id, event_id
), o AS (
  INSERT INTO outbox (tenant_id, event_ids)
  SELECT tenant_id, array_agg(event_id ORDER BY event_id) FROM a GROUP BY tenant_id
)
"""

_CHANGE = f"""
WITH c AS (
  SELECT * FROM jsonb_to_recordset(%(changes)s) AS c(fo_id text, source text, path text[], attempts int, reason text,
    last_error text, ref text, filled numeric, avg numeric, wait_ms int, detail jsonb)
), u AS (
  UPDATE follower_orders f SET
    state = c.path[array_upper(c.path, 1)],
    dispatch_attempts = coalesce(c.attempts, f.dispatch_attempts),
    reason = coalesce(c.reason, f.reason),
    last_error = coalesce(c.last_error, f.last_error),
    broker_order_ref = coalesce(c.ref, f.broker_order_ref),
    filled_qty = coalesce(c.filled, f.filled_qty),
    avg_price = coalesce(c.avg, f.avg_price),
    next_attempt_at = now() + c.wait_ms * interval '1 millisecond',
    updated_at = now()
  FROM c WHERE f.fo_id = c.fo_id AND is_mine(f.tenant_id) AND f.state = c.source
  RETURNING f.*, c.source, c.path, c.detail
), e AS (
  SELECT u.tenant_id, 'follower_order' AS entity, u.fo_id AS entity_id, p.state AS action, %(actor)s AS actor,
         u.mo_id, u.detail || jsonb_build_object('from', coalesce(u.path[p.n - 1], u.source), 'to', p.state,
           'follower_id', u.follower_id, 'dispatch_attempts', u.dispatch_attempts, 'reason', u.reason,
           'last_error', u.last_error, 'broker_order_ref', u.broker_order_ref, 'filled_qty', u.filled_qty::text,
           'avg_price', u.avg_price::text) AS payload,
         p.n
  FROM u, unnest(u.path) WITH ORDINALITY AS p(state, n)
), {EMIT}
SELECT fo_id FROM u
"""

# What a late fill's event must say besides, as no change of state says it; see `book_late`.
_AS_FILLED = """, 'filled_qty', f.filled_qty::text, 'avg_price', f.avg_price::text,
           'broker_order_ref', f.broker_order_ref"""


def _fills(more: str = "") -> str:
    return f"""
WITH n AS (
  INSERT INTO fills (fill_id, tenant_id, fo_id, follower_id, symbol, side, qty, price, source)
  SELECT x.fill_id, f.tenant_id, f.fo_id, f.follower_id, f.symbol, f.side, x.qty, x.price, x.source
  FROM jsonb_to_recordset(%(fills)s) AS x(fo_id text, fill_id text, qty numeric, price numeric, source text)
  JOIN follower_orders f USING (fo_id) WHERE is_mine(f.tenant_id)
  ON CONFLICT (fill_id) DO NOTHING
  RETURNING *
), moved AS (
  SELECT tenant_id, follower_id, symbol, sum(CASE side WHEN 'buy' THEN qty ELSE -qty END) AS qty,
         sum(qty * price) / nullif(sum(qty) FILTER (WHERE price IS NOT NULL), 0) AS price
  FROM n GROUP BY tenant_id, follower_id, symbol
), p AS (
  -- Sorted, so that two waves that touch the same followers lock their positions in the same order.
  INSERT INTO positions AS h (tenant_id, holder_id, symbol, qty, avg_price)
  SELECT tenant_id, follower_id, symbol, qty, price FROM moved ORDER BY follower_id
  ON CONFLICT (tenant_id, holder_id, symbol) DO UPDATE SET
    qty = h.qty + excluded.qty,
    avg_price = CASE
      WHEN h.qty + excluded.qty = 0 THEN NULL
      WHEN h.qty = 0 OR sign(h.qty) <> sign(h.qty + excluded.qty) THEN excluded.avg_price
      WHEN sign(h.qty) = sign(excluded.qty)
        THEN (h.qty * h.avg_price + excluded.qty * excluded.avg_price) / (h.qty + excluded.qty)
      ELSE h.avg_price END,
    updated_at = now()
), g AS (
  -- A hedge is held against the symbol of the order that it goes with.
  INSERT INTO hedges AS held (tenant_id, follower_id, symbol, hedge_symbol, qty)
  SELECT n.tenant_id, n.follower_id, m.symbol, n.symbol, sum(CASE n.side WHEN 'buy' THEN n.qty ELSE -n.qty END)
  FROM n JOIN follower_orders f USING (fo_id) JOIN manager_orders m ON m.mo_id = f.mo_id
  WHERE f.leg = 1 GROUP BY n.tenant_id, n.follower_id, m.symbol, n.symbol
  ON CONFLICT (follower_id, symbol, hedge_symbol) DO UPDATE SET qty = held.qty + excluded.qty, updated_at = now()
), e AS (
  SELECT n.tenant_id, 'follower_order' AS entity, n.fo_id AS entity_id, 'fill' AS action, %(actor)s AS actor, f.mo_id,
         jsonb_build_object('fill_id', n.fill_id, 'qty', n.qty::text, 'price', n.price::text, 'side', n.side,
           'symbol', n.symbol, 'source', n.source, 'follower_id', n.follower_id{more}) AS payload, 1 AS n
  FROM n JOIN follower_orders f USING (fo_id)
), {EMIT}
SELECT count(*) AS booked FROM n
"""


_FILLS = _fills()
_LATE_FILLS = _fills(_AS_FILLED)

# The order is over, so nothing but what was filled of it changes; its row's quantity guards against a second one.
_LATE = """
UPDATE follower_orders SET filled_qty = %(filled)s, avg_price = coalesce(%(avg)s, avg_price),
  broker_order_ref = coalesce(broker_order_ref, %(ref)s), updated_at = now()
WHERE fo_id = %(fo_id)s AND is_mine(tenant_id) AND filled_qty = %(before)s RETURNING fo_id
"""

_BURY = """
WITH d AS (
  INSERT INTO dead_letters (tenant_id, fo_id, mo_id, follower_id, reason, context)
  SELECT f.tenant_id, f.fo_id, f.mo_id, f.follower_id, f.reason,
    jsonb_build_object('symbol', f.symbol, 'side', f.side, 'qty', f.qty::text, 'route', f.route, 'vault_id', f.vault_id,
      'last_error', f.last_error, 'dispatch_attempts', f.dispatch_attempts, 'trace', f.trace,
      'attempts', (SELECT coalesce(jsonb_agg(to_jsonb(t) - 'tenant_id' ORDER BY t.attempt_no), '[]')
                   FROM attempts t WHERE t.fo_id = f.fo_id))
  FROM follower_orders f WHERE f.fo_id = ANY(%(fo_ids)s) AND is_mine(f.tenant_id)
  RETURNING *
)
INSERT INTO outbox (tenant_id, subject, payload)
SELECT tenant_id, 'mirror_dispatch_dlx.' || tenant_id, to_jsonb(d) FROM d
"""


async def apply(cursor: Cursor, changes: Sequence[Change], *, actor: str) -> set[str]:
    """Carry the changes out; the ids of those that took place.

    A change whose order is no longer in its `source` state is left out: somebody else was first, and its caller must
    look again. Its fills are left out with it, as they were counted from a state that is no longer the present one.
    """
    moving = [c for c in changes if c.path]
    moved: set[str] = {c.fo_id for c in changes if not c.path}
    if moving:
        await cursor.execute(_CHANGE, {"changes": jsonb([_row(c) for c in moving]), "actor": actor})
        moved |= {row["fo_id"] for row in await cursor.fetchall()}
    fills = [
        {"fo_id": c.fo_id, "fill_id": f.fill_id, "qty": f.qty, "price": f.price, "source": f.source}
        for c in moving
        if c.fo_id in moved
        for f in c.fills
    ]
    if fills:
        await cursor.execute(_FILLS, {"fills": jsonb(fills), "actor": actor})
    buried = [c.fo_id for c in moving if c.target is FollowerState.DEAD_LETTER and c.fo_id in moved]
    if buried:
        await cursor.execute(_BURY, {"fo_ids": buried})
    return moved


async def book_late(
    cursor: Cursor, order: PendingOrder, fills: Sequence[NewFill], venue: VenueOrder, *, actor: str
) -> bool:
    """Book what a venue has filled of an order that is over with us. False where it was booked meanwhile."""
    given = {"filled": venue.filled_qty, "avg": venue.avg_price, "ref": venue.ref}
    await cursor.execute(_LATE, {**given, "fo_id": order.fo_id, "before": order.filled_qty})
    if await cursor.fetchone() is None:
        return False
    rows = [
        {"fo_id": order.fo_id, "fill_id": f.fill_id, "qty": f.qty, "price": f.price, "source": f.source} for f in fills
    ]
    await cursor.execute(_LATE_FILLS, {"fills": jsonb(rows), "actor": actor})
    return True


def _row(change: Change) -> dict[str, Any]:
    wait_ms = None if change.wait is None else int(change.wait.total_seconds() * 1000)
    return {
        "fo_id": change.fo_id,
        "source": change.source.value,
        "path": [state.value for state in change.path],
        "attempts": change.attempts,
        "reason": change.reason,
        "last_error": None if change.last_error is None else change.last_error[:500],
        "ref": change.broker_order_ref,
        "filled": None if change.filled_qty is None else plain(change.filled_qty),
        "avg": None if change.avg_price is None else plain(change.avg_price),
        "wait_ms": wait_ms,
        "detail": change.detail if wait_ms is None else {**change.detail, "wait_ms": wait_ms},
    }

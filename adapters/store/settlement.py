"""How a manager order ends: settled by its children's states, or cancelled."""

from collections.abc import AsyncGenerator
from typing import Any

from adapters.store import changes
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from domain.dispatch import Change
from domain.guards import CALL_OFF_REASONS
from domain.mirroring import Cancellation, Settlement
from domain.orders import CALLED_OFF, FOLLOWER_ENDS, FOLLOWER_ERRORS, FollowerState, ManagerState, check_manager

ACTOR = "system:settlement"
_UNSENT = (FollowerState.SIZED, FollowerState.RETRY)
_NO_FILL = frozenset(
    {
        FollowerState.CANCELLED, FollowerState.SKIPPED, FollowerState.SHADOWED, FollowerState.KILLED,
        FollowerState.REJECTED,
    }
)  # fmt: skip

_MOVE = f"""
WITH u AS (
  UPDATE manager_orders SET state = %(to)s, reason = coalesce(%(reason)s, reason), settled_at = now()
  WHERE mo_id = %(mo_id)s AND is_mine(tenant_id) AND state = %(from)s RETURNING *
), e AS (
  SELECT tenant_id, 'manager_order' AS entity, mo_id AS entity_id, state AS action, %(actor)s AS actor, mo_id,
    %(payload)s || jsonb_build_object('from', %(from)s::text, 'to', state) AS payload, 1 AS n
  FROM u
), {EMIT}
SELECT mo_id FROM u
"""

_EVENTS_AT_ONCE = 1_000
_TRADE_LOG = """
SELECT event_id, tenant_id, entity, entity_id, action, actor, mo_id, payload, ts FROM audit_events
WHERE mo_id = %s AND is_mine(tenant_id) ORDER BY event_id
"""

# Only where no follower has got anything of the order or still may: no fill, and no order whose fate is open. What a
# later exit has taken off already cannot be taken off again. The cash comes back at the price that it went out at; an
# order without one leaves the cash unknown, as it made it.
_GIVE_BACK = """
WITH m AS (
  UPDATE manager_orders SET given_back_at = now()
  WHERE mo_id = %(mo_id)s AND is_mine(tenant_id) AND given_back_at IS NULL AND kind = 'order' AND NOT EXISTS (
    SELECT 1 FROM follower_orders f WHERE f.mo_id = %(mo_id)s AND (f.filled_qty > 0 OR f.state <> ALL(%(no_fill)s)))
  RETURNING *, CASE side WHEN 'buy' THEN 1 ELSE -1 END AS sign
), b AS (
  SELECT m.mo_id, m.vault_id, m.tenant_id, m.symbol, m.sign * CASE effect
    WHEN 'open' THEN greatest(least(m.qty, h.qty * m.sign), 0) ELSE m.qty END AS delta
  FROM m JOIN positions h ON h.tenant_id = m.tenant_id AND h.holder_id = m.vault_id AND h.symbol = m.symbol
), paid AS (
  UPDATE vaults v SET cash_usd = v.cash_usd + b.delta * (s.body ->> 'price')::numeric
  FROM b JOIN snapshots s USING (mo_id) WHERE v.vault_id = b.vault_id
)
UPDATE positions h SET qty = h.qty - b.delta, updated_at = now()
FROM b WHERE h.tenant_id = b.tenant_id AND h.holder_id = b.vault_id AND h.symbol = b.symbol
"""

# As long as it is live, what it still may buy or sell counts as reserved.
_NOT_LIVE = """
UPDATE manager_orders m SET live = false WHERE m.mo_id = %(mo_id)s AND is_mine(m.tenant_id) AND m.live
  AND NOT EXISTS (SELECT 1 FROM follower_orders f WHERE f.mo_id = m.mo_id AND f.state <> ALL(%(ends)s))
"""

_MOVED_NOTHING = """
UPDATE manager_orders SET live = false, given_back_at = now() WHERE mo_id = %s AND is_mine(tenant_id)
"""
_UNSENT_ORDERS = """
SELECT fo_id, state FROM follower_orders WHERE mo_id = %s AND is_mine(tenant_id) AND state = ANY(%s)
ORDER BY fo_id FOR UPDATE
"""
_COUNTS = """
SELECT state, count(*) AS n FROM follower_orders WHERE mo_id = %s AND is_mine(tenant_id) GROUP BY state ORDER BY state
"""


class SettlementStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, tenant_id: str, mo_id: str) -> Settlement:
        """Close a dispatching order; one that is already closed stays as it is. A repeat gives the same answer.

        The vault of an order that was called off gets its quantity back if it has turned out that nobody traded it.
        """
        async with self._database.cursor(tenant_id) as cursor:
            counts = await _counts(cursor, mo_id)
            state = await _state(cursor, mo_id)
            if state is ManagerState.DISPATCHING:
                # An order that is not over has lost its owner (an operator ended the page's workflow, say).
                failed = any(s in FOLLOWER_ERRORS or s not in FOLLOWER_ENDS for s in counts)
                target = ManagerState.SETTLED_WITH_ERRORS if failed else ManagerState.SETTLED
                await _move(cursor, mo_id, state, target, ACTOR, {"counts": counts})
                state = target
            elif state in CALLED_OFF:
                await _give_back(cursor, mo_id)
            await cursor.execute(_NOT_LIVE, {"mo_id": mo_id, "ends": [s.value for s in FOLLOWER_ENDS]})
        return Settlement(mo_id, state, counts)

    async def cancel(
        self, tenant_id: str, mo_id: str, actor: str, wanted: ManagerState = ManagerState.CANCELLED
    ) -> Cancellation:
        """Cancel or expire: end what was never sent, in the transaction that stops every later send.

        Counts what is on its way. An order that still waits for its session has nothing that could be. An order that is
        called off already is gone through again, for what has come since; one that has ended otherwise stays as it is,
        unless a dead letter of it that was sent again is under way.
        """
        async with self._database.cursor(tenant_id) as cursor:
            before = state = await _state(cursor, mo_id)
            if before is ManagerState.RECEIVED:
                return await _end_waiting(cursor, mo_id, wanted, actor)
            reopened = before is ManagerState.SETTLED_WITH_ERRORS and await _is_live(cursor, mo_id)
            if before is ManagerState.DISPATCHING or reopened:
                await _move(cursor, mo_id, before, wanted, actor, {})
                state = wanted
            if state not in CALLED_OFF:
                return Cancellation(mo_id, 0, 0, state)
            cancelled = await _end_unsent(cursor, mo_id, CALL_OFF_REASONS[state], actor)
            counts = await _counts(cursor, mo_id)
            in_flight = sum(n for s, n in counts.items() if s in _OPEN)
            if before is ManagerState.DISPATCHING:
                await _give_back(cursor, mo_id)
        return Cancellation(mo_id, cancelled, in_flight, state)

    async def trade_log(self, tenant_id: str, mo_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Every audit event of the order's tree, in order, as they come from the server; close what is not exhausted.

        One statement and no pages: a LIMIT would make the planner walk the tenant's whole log instead of the order's.
        """
        async with self._database.cursor(tenant_id) as cursor:
            async for event in cursor.stream(_TRADE_LOG, [mo_id], size=_EVENTS_AT_ONCE):
                yield event


_OPEN = frozenset({FollowerState.SENT, FollowerState.UNKNOWN, FollowerState.ACK, FollowerState.PARTIALLY_FILLED})


async def _end_waiting(cursor: Cursor, mo_id: str, wanted: ManagerState, actor: str) -> Cancellation:
    """It has moved nothing, so nothing of it can be given back, now or by its settlement."""
    await _move(cursor, mo_id, ManagerState.RECEIVED, wanted, actor, {})
    await cursor.execute(_MOVED_NOTHING, [mo_id])
    return Cancellation(mo_id, 0, 0, wanted)


async def _end_unsent(cursor: Cursor, mo_id: str, reason: str, actor: str) -> int:
    await cursor.execute(_UNSENT_ORDERS, [mo_id, [s.value for s in _UNSENT]])
    rows = await cursor.fetchall()
    ends = [Change(r["fo_id"], FollowerState(r["state"]), (FollowerState.CANCELLED,), reason=reason) for r in rows]
    return len(await changes.apply(cursor, ends, actor=actor))


async def _give_back(cursor: Cursor, mo_id: str) -> None:
    await cursor.execute(_GIVE_BACK, {"mo_id": mo_id, "no_fill": [s.value for s in _NO_FILL]})


async def _state(cursor: Cursor, mo_id: str) -> ManagerState:
    await cursor.execute("SELECT state FROM manager_orders WHERE mo_id = %s AND is_mine(tenant_id) FOR UPDATE", [mo_id])
    row = await cursor.fetchone()
    assert row is not None, f"{mo_id} does not exist for this tenant"
    return ManagerState(row["state"])


async def _is_live(cursor: Cursor, mo_id: str) -> bool:
    await cursor.execute("SELECT live FROM manager_orders WHERE mo_id = %s AND is_mine(tenant_id)", [mo_id])
    row = await cursor.fetchone()
    return row is not None and row["live"]


async def _counts(cursor: Cursor, mo_id: str) -> dict[str, int]:
    await cursor.execute(_COUNTS, [mo_id])
    return {row["state"]: row["n"] for row in await cursor.fetchall()}


async def _move(
    cursor: Cursor, mo_id: str, source: ManagerState, target: ManagerState, actor: str, payload: dict[str, Any]
) -> None:
    check_manager(source, target)
    await cursor.execute(
        _MOVE,
        {
            "mo_id": mo_id, "from": source.value, "to": target.value, "reason": None, "actor": actor,
            "payload": jsonb(payload),
        },
    )  # fmt: skip

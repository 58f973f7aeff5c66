"""How a manager order ends: settled by its children's states, or cancelled."""

from collections.abc import AsyncGenerator
from typing import Any

from adapters.store import changes
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from domain.dispatch import Change
from domain.mirroring import Cancellation, Settlement
from domain.orders import FOLLOWER_ENDS, FOLLOWER_ERRORS, FollowerState, ManagerState, check_manager

ACTOR = "system:settlement"
_CANCELLED = "manager_order_cancelled"
_UNSENT = (FollowerState.SIZED, FollowerState.RETRY)
_NEVER_SENT = (FollowerState.CANCELLED, FollowerState.SKIPPED, FollowerState.SHADOWED, FollowerState.KILLED)

_MOVE = f"""
WITH u AS (
  UPDATE manager_orders SET state = %(to)s, reason = coalesce(%(reason)s, reason), settled_at = now()
  WHERE mo_id = %(mo_id)s AND state = %(from)s RETURNING *
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
WHERE mo_id = %s ORDER BY event_id
"""

# The quantity at the price that it was taken at; an order without a price leaves the cash unknown, as it made it.
_GIVE_BACK = """
WITH m AS (
  UPDATE manager_orders SET given_back_at = now() WHERE mo_id = %s AND given_back_at IS NULL RETURNING *,
    qty * (CASE side WHEN 'buy' THEN 1 ELSE -1 END) AS delta
), paid AS (
  UPDATE vaults v SET cash_usd = v.cash_usd + m.delta * (s.body ->> 'price')::numeric
  FROM m JOIN snapshots s USING (mo_id) WHERE v.vault_id = m.vault_id
)
UPDATE positions h SET qty = h.qty - m.delta, updated_at = now()
FROM m WHERE h.tenant_id = m.tenant_id AND h.holder_id = m.vault_id AND h.symbol = m.symbol
"""


class SettlementStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, tenant_id: str, mo_id: str) -> Settlement:
        """Close a dispatching order; one that is already closed stays as it is. A repeat gives the same answer."""
        async with self._database.cursor(tenant_id) as cursor:
            counts = await _counts(cursor, mo_id)
            state = await _state(cursor, mo_id)
            if state is ManagerState.DISPATCHING:
                # An order that is not over has lost its owner (an operator ended the page's workflow, say).
                failed = any(s in FOLLOWER_ERRORS or s not in FOLLOWER_ENDS for s in counts)
                target = ManagerState.SETTLED_WITH_ERRORS if failed else ManagerState.SETTLED
                await _move(cursor, mo_id, state, target, ACTOR, {"counts": counts})
                state = target
        return Settlement(mo_id, state, counts)

    async def cancel(self, tenant_id: str, mo_id: str, actor: str) -> Cancellation:
        """Cancel what was never sent, in the transaction that stops every later send; count what is on its way."""
        async with self._database.cursor(tenant_id) as cursor:
            state = await _state(cursor, mo_id)
            if state is ManagerState.DISPATCHING:
                await _move(cursor, mo_id, state, ManagerState.CANCELLED, actor, {})
            elif state is not ManagerState.CANCELLED:
                return Cancellation(mo_id, 0, 0)
            await cursor.execute(
                "SELECT fo_id, state FROM follower_orders WHERE mo_id = %s AND state = ANY(%s) "
                "ORDER BY fo_id FOR UPDATE",
                [mo_id, [s.value for s in _UNSENT]],
            )
            moves = [
                Change(
                    r["fo_id"], FollowerState(r["state"]), (FollowerState.CANCELLED,), reason="manager_order_cancelled"
                )
                for r in await cursor.fetchall()
            ]
            cancelled = await changes.apply(cursor, moves, actor=actor)
            counts = await _counts(cursor, mo_id)
            open_states = {s.value for s in _OPEN}
            in_flight = sum(n for s, n in counts.items() if s in open_states)
            # The vault gets its quantity back only where no follower can have acted on the order.
            if state is ManagerState.DISPATCHING and all(s in {x.value for x in _NEVER_SENT} for s in counts):
                await cursor.execute(_GIVE_BACK, [mo_id])
        return Cancellation(mo_id, len(cancelled), in_flight)

    async def trade_log(self, tenant_id: str, mo_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Every audit event of the order's tree, in order, as they come from the server; close what is not exhausted.

        One statement and no pages: a LIMIT would make the planner walk the tenant's whole log instead of the order's.
        """
        async with self._database.cursor(tenant_id) as cursor:
            async for event in cursor.stream(_TRADE_LOG, [mo_id], size=_EVENTS_AT_ONCE):
                yield event


_OPEN = (FollowerState.SENT, FollowerState.UNKNOWN, FollowerState.ACK, FollowerState.PARTIALLY_FILLED)


async def _state(cursor: Cursor, mo_id: str) -> ManagerState:
    await cursor.execute("SELECT state FROM manager_orders WHERE mo_id = %s FOR UPDATE", [mo_id])
    row = await cursor.fetchone()
    assert row is not None, f"{mo_id} does not exist for this tenant"
    return ManagerState(row["state"])


async def _counts(cursor: Cursor, mo_id: str) -> dict[str, int]:
    await cursor.execute(
        "SELECT state, count(*) AS n FROM follower_orders WHERE mo_id = %s GROUP BY state ORDER BY state", [mo_id]
    )
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

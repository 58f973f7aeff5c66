"""A dead letter's order sent again: judged by what is true now and reopened, in one transaction with the order locked.

The caller owns the order from then on; see workflows/follower_order.py.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.dispatch import DispatchStore
from adapters.store.freezing import FUNDS
from adapters.store.frozen import character, follower_terms, instrument_of, order_terms, overlays_of
from adapters.store.rights import HELD, MINE, lacks, read_rights
from domain import redrive
from domain.dispatch import Change, PendingOrder
from domain.mirroring import RedriveRequest, RedriveVerdict
from domain.orders import FOLLOWER_ENDS, FollowerState
from domain.personas import Character
from domain.redrive import Letter, RedriveFacts, Refusal
from domain.rights import Offer, lack

_LETTER = """
SELECT l.dead_letter_id, l.redriven_at, l.redriven_by, l.purged_at,
  NOT EXISTS (SELECT 1 FROM dead_letters n WHERE n.fo_id = l.fo_id AND n.dead_letter_id > l.dead_letter_id) AS newest
FROM dead_letters l WHERE l.dead_letter_id = %s AND l.fo_id = %s AND is_mine(l.tenant_id) FOR UPDATE
"""

# The order's snapshot beside what its follower, vault and instrument are now. Its own price is counted out of what the
# account has spent since it was read.
_FACTS = f"""
SELECT m.symbol, m.side, m.qty, m.meta, x.leg, s.body, p.price AS price_now, v.risk_profile,
  (CASE WHEN x.leg = 0 THEN s.body ->> 'price' ELSE s.body #>> '{{hedge,price}}' END)::numeric AS sized_at,
  u.buying, u.selling, (SELECT t.value FROM snapshot_pages g, json_array_elements(g.body) t
   WHERE g.mo_id = x.mo_id AND g.shard = x.shard AND t.value ->> 'follower_id' = x.follower_id) AS frozen,
  jsonb_build_object('mode', w.mode, 'scale', w.scale::text, 'max_pos_usd', w.max_pos_usd::text,
    'kill_switch', w.kill_switch, 'fractional', w.fractional, 'allow_short', w.allow_short,
    'holding', coalesce((SELECT h.qty FROM positions h WHERE h.tenant_id = x.tenant_id
      AND h.holder_id = x.follower_id AND h.symbol = x.symbol), 0)::text,
    'funds_usd', (SELECT {FUNDS} + CASE WHEN x.side = 'buy' AND x.created_at > f.funds_asof THEN x.qty
        * (CASE WHEN x.leg = 0 THEN s.body ->> 'price' ELSE s.body #>> '{{hedge,price}}' END)::numeric ELSE 0 END
      FROM followers f WHERE f.follower_id = x.follower_id)::text) AS present,
  coalesce((SELECT jsonb_agg(a.outcome ORDER BY a.attempt_no) FROM attempts a WHERE a.fo_id = x.fo_id), '[]')
    AS outcomes
FROM follower_orders x JOIN manager_orders m USING (mo_id) JOIN snapshots s USING (mo_id)
JOIN followers w ON w.follower_id = x.follower_id JOIN vaults v ON v.vault_id = x.vault_id
LEFT JOIN prices p ON p.symbol = x.symbol
CROSS JOIN LATERAL (
  SELECT coalesce(sum(o.qty - o.filled_qty) FILTER (WHERE o.side = 'buy'), 0) AS buying,
    coalesce(sum(o.qty - o.filled_qty) FILTER (WHERE o.side = 'sell'), 0) AS selling
  FROM manager_orders b JOIN follower_orders o USING (mo_id)
  WHERE b.live AND b.vault_id = x.vault_id AND o.follower_id = x.follower_id AND o.symbol = x.symbol
    AND o.fo_id <> x.fo_id AND o.state <> ALL(%(ends)s)) u
WHERE x.fo_id = %(fo_id)s AND is_mine(x.tenant_id)
"""

_RIGHTS = f"""
SELECT coalesce(held ? 'closed', false) AS close_only, {lacks("%(mode)s", "%(route)s", "%(persona)s")} AS lacks
FROM (SELECT g.*, {HELD} AS held FROM (
  SELECT f.created_at, f.follower_id, {MINE} AS mine FROM followers f
  WHERE f.follower_id = %(only)s AND f.tenant_id = %(tenant_id)s) g) f
"""

_NEW_ROUND = "UPDATE follower_orders SET attempts_base = dispatch_attempts WHERE fo_id = %s AND is_mine(tenant_id)"
_CLOSE_LETTER = """
UPDATE dead_letters SET redriven_at = now(), redriven_by = %s WHERE dead_letter_id = %s AND is_mine(tenant_id)
"""
_LIVE = "UPDATE manager_orders SET live = true WHERE mo_id = %s AND is_mine(tenant_id) AND NOT live"

_REFUSED = f"""
WITH e AS (
  SELECT tenant_id, 'follower_order' AS entity, fo_id AS entity_id, 'redrive_refused' AS action, %(actor)s AS actor,
    mo_id, %(payload)s || jsonb_build_object('follower_id', follower_id) AS payload, 1 AS n
  FROM follower_orders WHERE fo_id = %(fo_id)s AND is_mine(tenant_id)
), {EMIT}
SELECT count(*) FROM a
"""

# Two statements: the second sees what whoever held the row before us has done to the order's children.
_HOLD_MANAGER_ORDER = """
SELECT mo_id FROM manager_orders
WHERE mo_id = (SELECT mo_id FROM follower_orders WHERE fo_id = %s AND is_mine(tenant_id)) FOR UPDATE
"""
_NOT_LIVE = """
UPDATE manager_orders m SET live = false WHERE m.mo_id = %(mo_id)s AND is_mine(m.tenant_id)
  AND m.live AND m.state <> 'dispatching'
  AND NOT EXISTS (SELECT 1 FROM follower_orders f WHERE f.mo_id = m.mo_id AND f.state <> ALL(%(ends)s))
"""
_IS_OVER = (
    "SELECT 1 FROM manager_orders WHERE mo_id = %s AND is_mine(tenant_id) AND NOT live AND state <> 'dispatching'"
)
_ENDS = sorted(state.value for state in FOLLOWER_ENDS)


class RedriveStore:
    """`offer`: what subscribers may have."""

    def __init__(self, database: Database, offer: Offer) -> None:
        self._database = database
        self._dispatch = DispatchStore(database)
        self._offer = offer

    async def redrive(self, tenant_id: str, fo_id: str, wanted: RedriveRequest, now: datetime) -> RedriveVerdict:
        """Reopen the order, or refuse and change nothing but the audit log.

        An order that this letter's redrive has reopened already and that is still under way is the caller's again: he
        has lost our answer, or whoever owned it has been ended.
        """
        async with self._dispatch.locked(tenant_id, fo_id, now) as (cursor, order):
            letter = await _letter(cursor, wanted.dead_letter_id, fo_id)
            if letter.redriven_at is not None and letter.newest and order.state not in FOLLOWER_ENDS:
                return _verdict(order, letter)
            refused = redrive.closed(letter)
            if refused is None:
                facts = await self._facts(cursor, order)
                refused = redrive.refusal(facts, now)
            if refused is not None:
                await _tell_refusal(cursor, order, wanted, refused)
                return _verdict(order, letter, refused)
            return await self._reopen(cursor, order, letter, wanted, redrive.reopened(facts))

    async def close(self, tenant_id: str, fo_id: str) -> str | None:
        """A redriven order is over: its manager order is live no more, unless something else of it is under way.

        The manager order's id where nothing is, and its trade log is whole again.
        """
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_HOLD_MANAGER_ORDER, [fo_id])
            held = await cursor.fetchone()
            assert held is not None, f"{fo_id} does not exist for this tenant"
            await cursor.execute(_NOT_LIVE, {"mo_id": held["mo_id"], "ends": _ENDS})
            await cursor.execute(_IS_OVER, [held["mo_id"]])
            return held["mo_id"] if await cursor.fetchone() else None

    async def _reopen(
        self, cursor: Cursor, order: PendingOrder, letter: Letter, wanted: RedriveRequest, target: FollowerState
    ) -> RedriveVerdict:
        detail = {"dead_letter_id": letter.dead_letter_id, "redriven_by": wanted.actor}
        change = Change(order.fo_id, order.state, (target,), reason="redriven", detail=detail)
        await self._dispatch.change(cursor, change, actor=wanted.actor)
        await cursor.execute(_NEW_ROUND, [order.fo_id])
        await cursor.execute(_CLOSE_LETTER, [wanted.actor, letter.dead_letter_id])
        await cursor.execute(_LIVE, [order.mo_id])
        return _verdict(replace(order, state=target), letter)

    async def _facts(self, cursor: Cursor, order: PendingOrder) -> RedriveFacts:
        await cursor.execute(_FACTS, {"fo_id": order.fo_id, "ends": _ENDS})
        row = await cursor.fetchone()
        assert row is not None
        terms = order_terms(row)
        frozen, taken_at = row["frozen"], datetime.fromisoformat(row["body"]["taken_at"])
        bent = character(frozen, overlays_of(row["body"]), taken_at)
        # Rights by themselves, as they say nothing of sizes.
        follower = follower_terms({**frozen, **row["present"], "close_only": False, "lacks": None}, bent)
        return RedriveFacts(
            state=order.state,
            webhook=order.is_webhook,
            hedge=row["leg"] > 0,
            side=order.side,
            qty=order.qty,
            filled_qty=order.filled_qty,
            outcomes=tuple(row["outcomes"]),
            guards=order.guards,
            sized_at=row["sized_at"],
            price=row["price_now"],
            collar_bps=Decimal(str(row["risk_profile"].get("price_collar_bps", 500))),
            terms=replace(terms, price=row["price_now"]),
            follower=replace(follower, buying=row["buying"], selling=row["selling"]),
            instrument=instrument_of(row["symbol"], row["body"]),
            barred=await self._barred(cursor, order, row["present"]["mode"], bent),
        )

    async def _barred(self, cursor: Cursor, order: PendingOrder, mode: str, bent: Character) -> str:
        """Why the subscriber's present rights keep the follower from opening, by the route and persona of the order."""
        persona = bent.in_force()
        worn = None if persona is None else persona.name
        of = {"tenant_id": order.tenant_id, "vault_id": order.vault_id, "only": order.follower_id}
        terms = {"mode": mode, "route": order.route, "persona": worn}
        await cursor.execute(_RIGHTS, {**of, **await read_rights(cursor, self._offer, of), **terms})
        row = await cursor.fetchone()
        assert row is not None, "the follower is there"
        return "the subscription allows reductions only" if row["close_only"] else lack(row["lacks"], terms, worn)


async def _letter(cursor: Cursor, dead_letter_id: int, fo_id: str) -> Letter:
    await cursor.execute(_LETTER, [dead_letter_id, fo_id])
    row: dict[str, Any] | None = await cursor.fetchone()
    assert row is not None, f"{fo_id} has no dead letter {dead_letter_id}"
    return Letter(**row)


async def _tell_refusal(cursor: Cursor, order: PendingOrder, wanted: RedriveRequest, refused: Refusal) -> None:
    payload = {"dead_letter_id": wanted.dead_letter_id, "code": refused.code, "reason": refused.reason}
    await cursor.execute(_REFUSED, {"fo_id": order.fo_id, "actor": wanted.actor, "payload": jsonb(payload)})


def _verdict(order: PendingOrder, letter: Letter, refused: Refusal | None = None) -> RedriveVerdict:
    return RedriveVerdict(
        letter.dead_letter_id,
        order.fo_id,
        redriven=refused is None,
        state=order.state,
        attempts=order.attempts,
        code=None if refused is None else refused.code,
        reason=None if refused is None else refused.reason,
    )

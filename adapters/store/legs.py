"""The legs of routed orders: planned, quoted, carried out; each change with its audit event and outbox row.

The follower order is locked while a plan or the start of a conversion is written, so that what ends the order comes
either before, and nothing begins, or afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store import money
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.dispatch import ACTOR, DispatchStore
from adapters.store.money import Peg
from domain.dispatch import Change, PendingOrder
from domain.legs import StoredLeg, conversion_failed
from domain.orders import FollowerState
from domain.routing import Leg, LegKind, LegState, NoPlan, Plan, check_leg, leg_id

_F = FollowerState
_BEFORE_IT_IS_SENT = frozenset({_F.SIZED, _F.RETRY})

_LEGS = """
SELECT * FROM order_legs l WHERE fo_id = %(fo_id)s AND is_mine(tenant_id)
  AND plan = (SELECT max(plan) FROM order_legs x WHERE x.fo_id = l.fo_id) ORDER BY leg_no
"""
_TIMES = """
SELECT clock_timestamp() AS now,
  (SELECT min(created_at) FROM order_legs WHERE fo_id = %s AND is_mine(tenant_id)) AS planned_at
"""
_ONE_PLAN_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('legs:' || %s, 0))"

_EVENT = f"""
e AS (
  SELECT u.tenant_id, 'order_leg' AS entity, u.fo_id AS entity_id, u.state AS action, %(actor)s AS actor, f.mo_id,
    jsonb_build_object('leg_id', u.leg_id, 'plan', u.plan, 'leg_no', u.leg_no, 'kind', u.kind, 'source', u.source,
      'target', u.target, 'amount', u.amount::text, 'expected', u.expected::text, 'received', u.received::text,
      'fee', u.fee::text, 'ref', u.ref, 'from', %(source)s::text, 'to', u.state, 'reason', u.reason,
      'follower_id', u.follower_id) AS payload, u.leg_no AS n
  FROM u JOIN follower_orders f USING (fo_id) WHERE is_mine(f.tenant_id)
), {EMIT}
"""
_STORE = f"""
WITH u AS (
  INSERT INTO order_legs (fo_id, plan, leg_no, leg_id, tenant_id, follower_id, kind, source, target, amount, expected,
    least, fee, state)
  SELECT %(fo_id)s, %(plan)s, x.leg_no, x.leg_id, %(tenant_id)s, %(follower_id)s, x.kind, x.source, x.target, x.amount,
    x.expected, x.least, x.fee, 'planned'
  FROM jsonb_to_recordset(%(rows)s) AS x(leg_no int, leg_id text, kind text, source text, target text, amount numeric,
    expected numeric, least numeric, fee numeric)
  RETURNING *
), {_EVENT}
SELECT count(*) FROM u
"""
_MOVE = f"""
WITH u AS (
  UPDATE order_legs SET state = %(target)s, ref = coalesce(%(ref)s, ref), received = coalesce(%(received)s, received),
    fee = coalesce(%(fee)s, fee), reason = coalesce(%(reason)s, reason), updated_at = clock_timestamp()
  WHERE fo_id = %(fo_id)s AND plan = %(plan)s AND leg_no = %(leg_no)s AND state = %(source)s
    AND is_mine(tenant_id)
  RETURNING *
), {_EVENT}
SELECT * FROM u
"""

# A trade's leg stays `planned`; what the venue took for it is known when the order is over.
_TRADED = f"""
WITH u AS (
  UPDATE order_legs l SET fee = %(fee)s, received = %(received)s, updated_at = clock_timestamp()
  WHERE fo_id = %(fo_id)s AND is_mine(tenant_id) AND kind = 'trade' AND received IS NULL
    AND plan = (SELECT max(plan) FROM order_legs x WHERE x.fo_id = l.fo_id)
  RETURNING *
), {_EVENT.replace("u.state AS action", "'traded' AS action")}
SELECT count(*) FROM u
"""


@dataclass(frozen=True, slots=True)
class Present:
    """An order's plan in force, the database's time, and the price of USDC in USD where one is known.

    `planned_at`: when its first plan was stored.
    """

    legs: Sequence[StoredLeg]
    now: datetime
    peg: Decimal | None
    planned_at: datetime | None = None


Decide = Callable[[Mapping[str, Decimal]], Plan | NoPlan]


class LegStore:
    def __init__(self, database: Database, peg: Peg) -> None:
        self._database = database
        self._dispatch = DispatchStore(database)
        self._peg = peg

    async def break_credential(self, order: PendingOrder, code: str) -> bool:
        """Mark the credential that the venue was asked with, if the code proves it broken; a guard tells the order."""
        return await self._dispatch.break_credential(order, code)

    async def present(self, tenant_id: str, fo_id: str) -> Present:
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_TIMES, [fo_id])
            row = await cursor.fetchone()
            assert row is not None
            peg = await self._peg.read(cursor)
            return Present(await _legs(cursor, fo_id), row["now"], peg, row["planned_at"])

    async def plan(
        self, order: PendingOrder, balances: Mapping[str, Decimal], asked_at: datetime, decide: Decide
    ) -> None:
        """Store what `decide` plans from the funds that nobody else has been promised; what it refuses is buried.

        Nothing happens where the order is not to be sent any more, or somebody else has planned. `asked_at`: when the
        venue was asked for the balances, by the database's clock.
        """
        async with self._dispatch.locked(order.tenant_id, order.fo_id) as (cursor, now):
            stored = await _legs(cursor, order.fo_id)
            planned = bool(stored) and all(leg.state is not LegState.FAILED for leg in stored)
            if now.state not in _BEFORE_IT_IS_SENT or planned:
                return
            await cursor.execute(_ONE_PLAN_AT_A_TIME, [order.follower_id])
            await money.keep(cursor, order.follower_id, balances, asked_at)
            made = decide(await money.free_of(cursor, order.follower_id, order.fo_id, balances, asked_at))
            if isinstance(made, NoPlan):
                await self._bury(cursor, now, made.code, made.reason)
                return
            await _store(cursor, order, made, 1 + (stored[0].plan if stored else 0))

    async def quoted(self, tenant_id: str, leg: StoredLeg, ref: str, received: Decimal, fee: Decimal) -> None:
        """Before it may be committed, its reference is stored: by it the venue tells later what has come of it."""
        async with self._database.cursor(tenant_id) as cursor:
            await _move(cursor, leg, LegState.QUOTED, ref=ref, received=received, fee=fee)

    async def begin(self, order: PendingOrder, leg: StoredLeg) -> StoredLeg | None:
        """From now on the conversion may take place. None: the order is not to be sent any more, so it must not."""
        async with self._dispatch.locked(order.tenant_id, order.fo_id) as (cursor, now):
            if now.state not in _BEFORE_IT_IS_SENT:
                return None
            return await _move(cursor, leg, LegState.COMMITTING)

    async def done(self, tenant_id: str, leg: StoredLeg, received: Decimal, fee: Decimal) -> None:
        """Whatever has become of the order meanwhile."""
        async with self._database.cursor(tenant_id) as cursor:
            await _move(cursor, leg, LegState.DONE, received=received, fee=fee)

    async def fail(self, order: PendingOrder, leg: StoredLeg, why: str) -> None:
        """The leg and, unless it is over already, the order with it: a dead letter that says where the money is."""
        async with self._dispatch.locked(order.tenant_id, order.fo_id) as (cursor, now):
            if await _move(cursor, leg, LegState.FAILED, reason=why) is None:
                return
            if now.state in _BEFORE_IT_IS_SENT:
                of = len(await _legs(cursor, order.fo_id))
                await self._bury(cursor, now, "leg_failed", conversion_failed(leg, why, of=of))

    async def traded(self, order: PendingOrder, fee: Decimal) -> None:
        """What the venue took for the order, which is over; the first to say so counts."""
        given = {"fo_id": order.fo_id, "fee": fee, "received": order.filled_qty, "actor": ACTOR, "source": None}
        async with self._database.cursor(order.tenant_id) as cursor:
            await cursor.execute(_TRADED, given)

    async def _bury(self, cursor: Cursor, order: PendingOrder, reason: str, words: str) -> None:
        change = Change(order.fo_id, order.state, (_F.DEAD_LETTER,), reason=reason, last_error=words)
        await self._dispatch.change(cursor, change)


async def _legs(cursor: Cursor, fo_id: str) -> list[StoredLeg]:
    await cursor.execute(_LEGS, {"fo_id": fo_id})
    return [_stored(row) for row in await cursor.fetchall()]


async def _store(cursor: Cursor, order: PendingOrder, plan: Plan, number: int) -> None:
    rows = [
        {
            "leg_no": leg.leg_no, "leg_id": leg_id(order.fo_id, number, leg.leg_no), "kind": leg.kind.value,
            "source": leg.source, "target": leg.target, "amount": leg.amount, "expected": leg.expected,
            "least": leg.least, "fee": leg.fee,
        }
        for leg in plan.legs
    ]  # fmt: skip
    owner = {"fo_id": order.fo_id, "tenant_id": order.tenant_id, "follower_id": order.follower_id, "actor": ACTOR}
    await cursor.execute(_STORE, {**owner, "plan": number, "rows": jsonb(rows), "source": None})


async def _move(cursor: Cursor, leg: StoredLeg, target: LegState, **values: Any) -> StoredLeg | None:
    """None where somebody else has moved it."""
    check_leg(leg.state, target)
    given = {"ref": None, "received": None, "fee": None, "reason": None, **values}
    key = {"fo_id": leg.fo_id, "plan": leg.plan, "leg_no": leg.leg.leg_no, "actor": ACTOR}
    await cursor.execute(_MOVE, {**given, **key, "source": leg.state.value, "target": target.value})
    row = await cursor.fetchone()
    return None if row is None else _stored(row)


def _stored(row: Mapping[str, Any]) -> StoredLeg:
    leg = Leg(
        row["leg_no"], LegKind(row["kind"]), row["source"], row["target"], row["amount"], row["expected"],
        row["least"], row["fee"],
    )  # fmt: skip
    return StoredLeg(row["fo_id"], row["plan"], leg, LegState(row["state"]), row["ref"], row["received"], row["reason"])

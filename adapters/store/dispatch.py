"""Claim an order before it is sent, record what came of it: the two transactions around an owner's attempt.

First attempts are claimed by the wave, see adapters/store/waves.py; recorded they are here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store import changes, exits
from adapters.store.breaking import as_of_now, break_refused, break_versions
from adapters.store.calendars import market
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.endpoints import count_health
from domain import guards
from domain.breaker import BreakerPolicy
from domain.calendars import flags_of, read_market
from domain.credentials import Status
from domain.dispatch import Change, PendingOrder, SealedKey, orphaned, resolve
from domain.enrolment import ConfirmBy
from domain.guards import GuardFacts
from domain.legs import Money
from domain.mirroring import OrderRef
from domain.orders import FOLLOWER_ENDS, FollowerState, ManagerState, OrderType, Side, TimeInForce
from domain.overlays import in_force
from domain.ports import SendOutcome
from domain.sessions import trading_hours
from domain.sizing import Effect

ACTOR = "system:dispatch"

_PENDING = f"""
SELECT f.*, m.order_type, m.limit_price, m.tif, m.meta, m.effect, m.expires_at, m.state AS manager_state,
  w.scale, w.max_pos_usd, w.kill_switch, w.persona, w.webhook ->> 'url' AS url,
  w.webhook ->> 'hmac_key_ref' AS key_ref, w.webhook ->> 'confirm_by' AS confirm_by, w.endpoint_disabled_at,
  w.consecutive_failures,
  v.maintenance, v.halt, t.halt AS tenant_halt, w.halt AS follower_halt, w.maintenance AS follower_maintenance,
  (SELECT array_agg(level) FROM platform_halts WHERE ended_at IS NULL) AS platform_halts,
  v.risk_profile -> 'trading_hours' AS trading_hours, s.body ->> 'price' AS price,
  c.cred_ref, c.key_id AS cred_key_id, c.sealed AS cred_sealed, c.version AS cred_version, c.status AS cred_status,
  c.environment,
  i.flags, {market("i.calendar", "coalesce(%(now)s::timestamptz, now())")} AS market,
  CASE WHEN f.route = 'webhook' THEN
    (SELECT jsonb_agg(jsonb_build_array(k.key_id, encode(k.sealed, 'hex')) ORDER BY k.version DESC)
     FROM webhook_keys k WHERE k.key_ref = w.webhook ->> 'hmac_key_ref'
       AND (k.expires_at IS NULL OR k.expires_at > now())) END AS webhook_keys,
  f.route = 'webhook' AND EXISTS (SELECT 1 FROM attempts a WHERE a.fo_id = f.fo_id AND a.outcome = 'ambiguous')
    AS maybe_there,
  CASE WHEN f.route <> 'webhook' AND f.state = 'unknown' THEN
    (SELECT extract(epoch FROM now() - a.ended_at) FROM attempts a
     WHERE a.fo_id = f.fo_id AND a.attempt_no = f.dispatch_attempts) END AS quiet_s,
  CASE WHEN f.route = 'webhook' OR f.side <> 'buy' OR f.leg <> 0 OR s.body ->> 'rail' <> 'crypto' THEN false
    WHEN f.state IN ('sized', 'retry') AND (w.bridged_brokers ->> 'crypto_convert')::bool THEN NOT coalesce(
      (SELECT bool_and(l.kind <> 'convert' OR l.state = 'done') FROM order_legs l WHERE l.fo_id = f.fo_id
         AND l.plan = (SELECT max(x.plan) FROM order_legs x WHERE x.fo_id = f.fo_id)), false)
    ELSE EXISTS (SELECT 1 FROM order_legs l WHERE l.fo_id = f.fo_id AND l.state = 'committing') END AS money_due,
  CASE WHEN f.route <> 'webhook' AND s.body ->> 'rail' = 'crypto' THEN
    (SELECT jsonb_build_array(sum(l.received)::text, l.target, max((SELECT max(x.leg_no) FROM order_legs x
        WHERE x.fo_id = f.fo_id AND x.plan = l.plan)))
     FROM order_legs l WHERE l.fo_id = f.fo_id AND l.state = 'done' GROUP BY l.target LIMIT 1) END AS changed,
  f.route <> 'webhook' AND s.body ->> 'rail' = 'crypto'
    AND EXISTS (SELECT 1 FROM order_legs l WHERE l.fo_id = f.fo_id) AS routed
FROM follower_orders f
JOIN manager_orders m ON m.mo_id = f.mo_id
JOIN snapshots s ON s.mo_id = f.mo_id
JOIN followers w ON w.follower_id = f.follower_id
JOIN vaults v ON v.vault_id = f.vault_id
JOIN tenants t ON t.tenant_id = f.tenant_id
LEFT JOIN instruments i ON i.symbol = f.symbol
LEFT JOIN credentials c ON f.route <> 'webhook' AND c.venue = f.route AND c.status IN ('active', 'broken')
  AND c.cred_ref IN (w.bridged_brokers ->> 'equities_ref', w.bridged_brokers ->> 'crypto_ref')
"""

_ONE = _PENDING + " WHERE f.fo_id = %(fo_id)s AND is_mine(f.tenant_id) FOR UPDATE OF f"

_HEDGED = """
SELECT state, filled_qty FROM follower_orders
WHERE mo_id = %s AND follower_id = %s AND leg = 0 AND is_mine(tenant_id)
"""

_OPEN_ATTEMPT = "INSERT INTO attempts (fo_id, attempt_no, tenant_id, via) VALUES (%s, %s, %s, 'order')"

# A late answer to an attempt that somebody else has already closed is dropped: the first record stands.
_CLOSE_ATTEMPTS = """
UPDATE attempts a SET outcome = x.outcome, code = x.code, http_status = x.http_status, detail = x.detail,
  ended_at = now()
FROM jsonb_to_recordset(%(rows)s)
  AS x(fo_id text, attempt_no int, outcome text, code text, http_status int, detail text)
WHERE a.fo_id = x.fo_id AND is_mine(a.tenant_id) AND a.attempt_no = x.attempt_no AND a.outcome IS NULL
"""

# An order still in `sent` after its wave has ended is nobody's: its owner waits until the wave's request must have hit
# its own time-out, so that asking the venue cannot overtake it.
_REFS = """
SELECT fo_id, follower_id, leg, symbol, side, qty, route, state, dispatch_attempts,
  greatest(0, ceil(extract(epoch FROM
    CASE state WHEN 'sent' THEN updated_at + interval '12 seconds' ELSE next_attempt_at END - now()) * 1000))::int
    AS wait_ms
FROM follower_orders WHERE mo_id = %(mo_id)s AND shard = %(shard)s AND state <> ALL(%(left_out)s)
  AND NOT (state = 'killed' AND dispatch_attempts = 0) AND is_mine(tenant_id)
ORDER BY fo_id
"""
_DUE_PAGES = """
SELECT DISTINCT shard FROM follower_orders
WHERE mo_id = %s AND is_mine(tenant_id) AND state <> ALL(%s) ORDER BY shard
"""
_NEVER_OWNED = ("skipped", "shadowed")
# Not the wave's any more, and not over: a retry that is due in a second, an order that is open at its venue.
_NOT_DUE = (*_NEVER_OWNED, "sized", "sent", *(state.value for state in FOLLOWER_ENDS))

_BREAKER = BreakerPolicy()


class DispatchStore:
    def __init__(self, database: Database, *, breaker: BreakerPolicy = _BREAKER) -> None:
        self._database = database
        self._breaker = breaker

    @asynccontextmanager
    async def locked(
        self, tenant_id: str, fo_id: str, now: datetime | None = None
    ) -> AsyncIterator[tuple[Cursor, PendingOrder]]:
        """The order as it is now, locked until the block ends: for whatever is counted from its present state.

        `now` is the time at which its exchange's session is asked about; None: the database's.
        """
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_ONE, {"fo_id": fo_id, "now": now})
            row = await cursor.fetchone()
            assert row is not None, f"{fo_id} does not exist for this tenant"
            yield cursor, _pending(row)

    async def take(
        self, tenant_id: str, fo_id: str, now: datetime, *, mark: int = 0, opens_held: bool = False
    ) -> PendingOrder:
        """The order, made ready for its owner's next step.

        `sized`, `retry` and a webhook's `unknown` come back claimed in `sent`, or stopped by a guard; an order that
        somebody left in `sent` comes back as `unknown`, after which the owner takes it again. With `opens_held` an
        order that opens stays where it is, unless a guard ends it, and so does one that waits for money.
        """
        async with exits.guarded(self._database, tenant_id), self.locked(tenant_id, fo_id, now) as (cursor, order):
            if order.state is FollowerState.SENT:
                return await self._orphan(cursor, order)
            resend = order.state is FollowerState.UNKNOWN and order.is_webhook
            if order.state in {FollowerState.SIZED, FollowerState.RETRY} or resend:
                if order.leg and not await self._hedges(cursor, order):
                    return await self._reread(cursor, order.fo_id)
                if opens_held and order.guards.effect is Effect.OPEN and guards.check(order.guards, now) is None:
                    return order
                if order.money_due and guards.check(order.guards, now) is None:
                    return replace(order, mark=mark)
                return replace(await self._claim(cursor, order, now), mark=mark)
            return order

    async def record(self, tenant_id: str, results: Sequence[tuple[PendingOrder, SendOutcome]]) -> list[Change]:
        """Write down what the attempts came to: attempts closed, orders moved, fills booked, endpoints disabled."""
        async with self._database.cursor(tenant_id) as cursor:
            results = await as_of_now(cursor, results)
            decided = [resolve(order, outcome) for order, outcome in results]
            await cursor.execute(_CLOSE_ATTEMPTS, {"rows": jsonb([_closing(o, r) for o, r in results])})
            await changes.apply(cursor, decided, actor=ACTOR)
            await count_health(cursor, results, self._breaker, actor=ACTOR)
            await break_refused(cursor, results, actor=ACTOR)
        return decided

    async def break_credential(self, order: PendingOrder, code: str) -> bool:
        """Mark the credential that the order was asked for with, if the code proves it broken; whether this did."""
        async with self._database.cursor(order.tenant_id) as cursor:
            return await break_versions(cursor, [(order.credential, code)], actor=ACTOR) > 0

    async def change(self, cursor: Cursor, change: Change, *, actor: str = ACTOR) -> None:
        """One change to an order that `locked` holds."""
        await changes.apply(cursor, [change], actor=actor)

    async def refs(self, tenant_id: str, mo_id: str, shard: int, *, due_only: bool = False) -> list[OrderRef]:
        """The page's orders that get a workflow of their own: all but those that expansion itself ended.

        `due_only` leaves out those that the wave still has or has brought to their end.
        """
        left_out = list(_NOT_DUE if due_only else _NEVER_OWNED)
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_REFS, {"mo_id": mo_id, "shard": shard, "left_out": left_out})
            return [
                OrderRef(
                    r["fo_id"], r["follower_id"], r["side"], r["qty"], r["route"], FollowerState(r["state"]),
                    r["dispatch_attempts"], r["wait_ms"] or 0, r["leg"], r["symbol"],
                )
                for r in await cursor.fetchall()
            ]  # fmt: skip

    async def due_pages(self, tenant_id: str, mo_id: str) -> list[int]:
        """The pages with an order that its wave has left with something to do."""
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_DUE_PAGES, [mo_id, list(_NOT_DUE)])
            return [row["shard"] for row in await cursor.fetchall()]

    async def _hedges(self, cursor: Cursor, order: PendingOrder) -> bool:
        """Whether the order that this one hedges has come to something; if it never will, this one is cancelled."""
        if order.attempts:
            return True
        await cursor.execute(_HEDGED, [order.mo_id, order.follower_id])
        hedged = await cursor.fetchone()
        if hedged is None or FollowerState(hedged["state"]) not in FOLLOWER_ENDS:
            return False
        if hedged["filled_qty"] > 0:
            return True
        await self.change(
            cursor, Change(order.fo_id, order.state, (FollowerState.CANCELLED,), reason="nothing_to_hedge")
        )
        return False

    async def _claim(self, cursor: Cursor, order: PendingOrder, now: datetime) -> PendingOrder:
        stop = guards.check(order.guards, now)
        if stop is None:
            attempt = order.attempts + 1
            if attempt == 1:
                await exits.release(cursor, order.mo_id, order.shard, [order.qty])
            detail = {"guards": guards.GUARDS_VERSION}
            change = Change(order.fo_id, order.state, (FollowerState.SENT,), attempts=attempt, detail=detail)
            await self.change(cursor, change)
            await cursor.execute(_OPEN_ATTEMPT, [order.fo_id, attempt, order.tenant_id])
            return replace(order, state=FollowerState.SENT, attempts=attempt)
        # What may already have arrived cannot be called killed or cancelled: a person has to look.
        target = FollowerState.DEAD_LETTER if order.state is FollowerState.UNKNOWN else stop.state
        await self.change(cursor, Change(order.fo_id, order.state, (target,), reason=stop.reason))
        return await self._reread(cursor, order.fo_id)

    async def _orphan(self, cursor: Cursor, order: PendingOrder) -> PendingOrder:
        change = orphaned(order)
        await changes.apply(cursor, [change], actor=ACTOR)
        closing = {"fo_id": order.fo_id, "attempt_no": order.attempts, "outcome": "ambiguous", "code": "orphaned"}
        await cursor.execute(_CLOSE_ATTEMPTS, {"rows": jsonb([closing])})
        return replace(order, state=change.target)

    async def _reread(self, cursor: Cursor, fo_id: str) -> PendingOrder:
        await cursor.execute(_ONE, {"fo_id": fo_id, "now": None})
        row = await cursor.fetchone()
        assert row is not None
        return _pending(row)


def _closing(order: PendingOrder, outcome: SendOutcome) -> dict[str, Any]:
    return {
        "fo_id": order.fo_id,
        "attempt_no": order.attempts,
        "outcome": outcome.kind.value,
        "code": outcome.code,
        "http_status": outcome.http_status,
        "detail": outcome.detail[:500],
    }


def _pending(row: dict[str, Any]) -> PendingOrder:
    ref = row["key_ref"] or ""
    return PendingOrder(
        tenant_id=str(row["tenant_id"]),
        fo_id=row["fo_id"],
        mo_id=row["mo_id"],
        follower_id=row["follower_id"],
        vault_id=row["vault_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=row["qty"],
        order_type=OrderType(row["order_type"]),
        limit_price=row["limit_price"],
        tif=TimeInForce(row["tif"]),
        state=FollowerState(row["state"]),
        attempts=row["dispatch_attempts"],
        last_error=row["last_error"],
        route=row["route"],
        broker_order_ref=row["broker_order_ref"],
        filled_qty=row["filled_qty"],
        avg_price=row["avg_price"],
        price=None if row["price"] is None else Decimal(row["price"]),
        scale=row["scale"],
        max_pos_usd=row["max_pos_usd"],
        persona=row["persona"],
        meta=row["meta"],
        leg=row["leg"],
        maybe_there=row["maybe_there"],
        shard=row["shard"],
        guards=GuardFacts(
            kill_switch=row["kill_switch"],
            maintenance=row["maintenance"] or row["follower_maintenance"],
            halt=in_force(row["halt"], row["tenant_halt"], row["follower_halt"], *row["platform_halts"] or ()),
            manager_state=ManagerState(row["manager_state"]),
            effect=Effect(row["effect"]),
            expires_at=row["expires_at"],
            endpoint_disabled=row["endpoint_disabled_at"] is not None,
            hours=trading_hours(row),
            credential_broken=row["cred_status"] == Status.BROKEN,
            market=read_market(row["market"]),
            flags=flags_of(row["flags"]),
            order_type=OrderType(row["order_type"]),
        ),
        url=row["url"],
        keys=tuple(SealedKey(ref, key_id, bytes.fromhex(sealed)) for key_id, sealed in row["webhook_keys"] or ()),
        credential=None
        if row["cred_status"] != Status.ACTIVE
        else SealedKey(row["cred_ref"], row["cred_key_id"], bytes(row["cred_sealed"]), row["cred_version"]),
        environment=row["environment"] or "paper",
        attempts_base=row["attempts_base"],
        quiet_s=row["quiet_s"],
        money_due=row["money_due"],
        routed=row["routed"],
        changed=None if row["changed"] is None else Money(Decimal(row["changed"][0]), *row["changed"][1:]),
        endpoint_failures=row["consecutive_failures"],
        calls_back=row["confirm_by"] == ConfirmBy.CALLBACK,
    )

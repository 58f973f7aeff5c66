"""The door: the order's row, its one snapshot and the vault's position, in one transaction (SPEC section 5)."""

import hashlib
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack

import orjson

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.door import Door, Facts, Limits, snapshot_body
from adapters.store.freezing import bending_overlays, bindings, freeze
from domain import admission
from domain.admission import Decision
from domain.errors import NotFound, OrderRefused
from domain.mirroring import CORRECTION, FLATTEN, ORDER, Admission, MirrorOrderInput
from domain.orders import ManagerState, check_manager
from domain.rights import Offer
from domain.sizing import Effect, plain
from domain.valuation import Valuation

_EVENTS = f"""
WITH e AS (
  SELECT tenant_id, 'manager_order' AS entity, mo_id AS entity_id, x.action, %(actor)s AS actor, mo_id,
         x.payload, x.n
  FROM manager_orders,
       jsonb_to_recordset(%(events)s) AS x(action text, payload jsonb, n int)
  WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)
), {EMIT}
SELECT count(*) FROM a
"""

_STORED = """
SELECT state, reason, fingerprint, followers, shards, effect, expires_at, waits_until,
  (SELECT coalesce(jsonb_agg(to_jsonb(p.routes) ORDER BY p.shard), '[]') FROM snapshot_pages p WHERE p.mo_id = m.mo_id)
    AS routes
FROM manager_orders m WHERE mo_id = %s AND is_mine(tenant_id)
"""

_INSERT = """
INSERT INTO manager_orders (mo_id, tenant_id, vault_id, symbol, venue, side, qty, order_type, limit_price, tif, meta,
  state, reason, effect, fingerprint, source, actor, expires_at, kind, only_follower_id, live, waits_until)
VALUES (%(mo_id)s, %(tenant_id)s, %(vault_id)s, %(symbol)s, %(venue)s, %(side)s, %(qty)s, %(order_type)s,
  %(limit_price)s, %(tif)s, %(meta)s, %(state)s, %(reason)s, %(effect)s, %(fingerprint)s, %(source)s, %(actor)s,
  %(expires_at)s, %(kind)s, %(only_follower_id)s, %(live)s, %(waits_until)s)
"""

# The vault pays for what it gets, so that its NAV moves with prices only. A reduction at no known price leaves cash
# that nobody knows either: opens are then refused until the NAV is set.
_MOVE_VAULT = """
WITH paid AS (
  UPDATE vaults SET cash_usd = cash_usd - %(delta)s * %(price)s
  WHERE vault_id = %(vault_id)s AND is_mine(tenant_id)
)
INSERT INTO positions AS h (tenant_id, holder_id, symbol, qty, avg_price)
VALUES (%(tenant_id)s, %(vault_id)s, %(symbol)s, %(delta)s, %(price)s)
ON CONFLICT (tenant_id, holder_id, symbol) DO UPDATE SET qty = h.qty + excluded.qty, updated_at = now()
"""


# The action of the audit event that says until when an order waits; its state stays `received`.
WAITS = "waits"


def waiting(decision: Decision, why: str | None = None) -> dict[str, Any]:
    """`why`: for something else than its session."""
    assert decision.waits_until is not None
    told = {"effect": decision.effect, "waits_until": decision.waits_until.isoformat()}
    return told if why is None else {**told, "why": why}


class AdmissionStore:
    """`page_size` followers share a shard; `offer`: what subscribers may have."""

    def __init__(self, database: Database, offer: Offer, *, page_size: int, **limits: Unpack[Limits]) -> None:
        self._database = database
        self._offer = offer
        self._page_size = page_size
        self._door = Door(**limits)

    async def admit(self, order: MirrorOrderInput, now: datetime) -> Admission:
        """Decide and record; a repeat finds the first decision. Raises NotFound, InvalidInput (nothing is recorded)."""
        async with self._database.cursor(order.tenant_id) as cursor:
            known = await self._stored(cursor, order.mo_id)
            if known is not None:
                return known
            profile = await self._lock(cursor, order.intent.vault_id)
            facts = await self._door.facts(cursor, order.intent, profile, now)
            worth = self._door.worth(facts, order.intent, now)
            try:
                decision = await self._decide(cursor, order, facts, worth, now)
            except OrderRefused as refusal:
                return await self._refuse(cursor, order, facts, refusal)
            if decision.waits_until is not None:
                return await self._hold(cursor, order, facts, decision)
            await self._insert(cursor, order, facts, ManagerState.DISPATCHING, None, decision.effect)
            begun, told = await self._begin(cursor, order, facts, worth, decision.effect, now)
            await self._emit(cursor, order, [(ManagerState.DISPATCHING, told)])
            return begun

    async def _decide(
        self, cursor: Cursor, order: MirrorOrderInput, facts: Facts, worth: Valuation, now: datetime
    ) -> Decision:
        """Raises OrderRefused."""
        vault, market = self._door.vault(facts, worth), self._door.market(facts)
        if order.kind == FLATTEN:
            return Decision(Effect.REDUCE)
        if order.kind == CORRECTION:
            held = await _held(cursor, order)
            return Decision(admission.admit_correction(order.intent, held, vault, market))
        return admission.admit(order.intent, vault, market, now)

    async def _lock(self, cursor: Cursor, vault_id: str) -> dict[str, Any]:
        """The vault's risk profile. Raises NotFound.

        By itself, before the facts are read: a statement that waits for the lock would go on with what it saw before,
        and the second of two orders at once would miss the first.
        """
        await cursor.execute(
            "SELECT risk_profile FROM vaults WHERE vault_id = %s AND is_mine(tenant_id) FOR UPDATE", [vault_id]
        )
        locked = await cursor.fetchone()
        if locked is None:
            raise NotFound("vault", vault_id)
        profile: dict[str, Any] = locked["risk_profile"]
        return profile

    async def _stored(self, cursor: Cursor, mo_id: str) -> Admission | None:
        await cursor.execute(_STORED, [mo_id])
        row = await cursor.fetchone()
        if row is None:
            return None
        state = ManagerState(row["state"])
        refused = row["effect"] is None
        code, _, reason = (row["reason"] or "").partition(": ")
        return Admission(
            mo_id, not refused, state, row["fingerprint"], code=code if refused else None,
            reason=reason if refused else None, followers=row["followers"], shards=row["shards"],
            routes=_routes(row["routes"]),
            expires_at=row["expires_at"] if row["effect"] == Effect.OPEN else None,
            waits_until=row["waits_until"] if state is ManagerState.RECEIVED else None,
        )  # fmt: skip

    async def _refuse(self, cursor: Cursor, order: MirrorOrderInput, facts: Facts, refusal: OrderRefused) -> Admission:
        state = ManagerState.EXPIRED if refusal.code == "expired" else ManagerState.REJECTED
        await self._insert(cursor, order, facts, state, str(refusal), None)
        await self._emit(cursor, order, [(state, {"code": refusal.code, "reason": refusal.reason})])
        return Admission(
            order.mo_id, accepted=False, state=state, fingerprint=order.fingerprint,
            code=refusal.code, reason=refusal.reason, field=refusal.field,
        )  # fmt: skip

    async def _hold(self, cursor: Cursor, order: MirrorOrderInput, facts: Facts, decision: Decision) -> Admission:
        """Keep it for its session, unsized: no snapshot, and nothing moved. It is live, so that a flatten finds it."""
        state, until = ManagerState.RECEIVED, decision.waits_until
        assert until is not None
        await self._insert(cursor, order, facts, state, None, decision.effect, until)
        await self._emit(cursor, order, [(state, waiting(decision))], action=WAITS)
        return Admission(
            order.mo_id, accepted=True, state=state, fingerprint=order.fingerprint, waits_until=until,
            expires_at=order.intent.expires_at if decision.effect is Effect.OPEN else None,
        )  # fmt: skip

    async def _begin(
        self, cursor: Cursor, order: MirrorOrderInput, facts: Facts, worth: Valuation, effect: Effect,
        now: datetime,
    ) -> tuple[Admission, dict[str, Any]]:  # fmt: skip
        """Of an order whose row is there: take its snapshot and move the vault; and what its event is to say."""
        intent = order.intent
        price = admission.order_price(intent, self._door.market(facts))
        keys = {"mo_id": order.mo_id, "vault_id": intent.vault_id, "symbol": intent.symbol}
        overlays = await bending_overlays(cursor, intent.vault_id, now)
        bound = await bindings(cursor, order, facts, overlays, self._offer)
        frozen = await freeze(cursor, order, bound, self._page_size)
        body = snapshot_body(facts, order, worth, effect, price, now)
        body |= {"followers": frozen["digest"], "overlays": overlays}
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        await cursor.execute(
            "INSERT INTO snapshots (mo_id, tenant_id, taken_at, body, digest) VALUES (%s, %s, %s, %s, %s)",
            [order.mo_id, order.tenant_id, now, jsonb(body), digest],
        )
        await cursor.execute(
            "UPDATE manager_orders SET followers = %s, shards = %s WHERE mo_id = %s AND is_mine(tenant_id)",
            [frozen["followers"], frozen["shards"], order.mo_id],
        )
        if order.kind == ORDER:
            delta = intent.qty * intent.side.sign
            await cursor.execute(_MOVE_VAULT, {**keys, "tenant_id": order.tenant_id, "delta": delta, "price": price})
        detail = {"effect": effect, "snapshot": digest, "followers": frozen["followers"], "kind": order.kind}
        return Admission(
            order.mo_id, accepted=True, state=ManagerState.DISPATCHING, fingerprint=order.fingerprint,
            followers=frozen["followers"], shards=frozen["shards"], routes=_routes(frozen["routes"]),
            expires_at=intent.expires_at if effect is Effect.OPEN else None,
        ), detail  # fmt: skip

    async def _insert(
        self, cursor: Cursor, order: MirrorOrderInput, facts: Facts, state: ManagerState,
        reason: str | None, effect: Effect | None, waits_until: datetime | None = None,
    ) -> None:  # fmt: skip
        if waits_until is None:
            check_manager(ManagerState.RECEIVED, state)
        intent = order.intent
        await cursor.execute(
            _INSERT,
            {
                **asdict(intent), "mo_id": order.mo_id, "tenant_id": order.tenant_id, "venue": facts["venue"],
                "meta": jsonb(order.meta), "state": state.value, "reason": reason,
                "effect": effect.value if effect else None, "fingerprint": order.fingerprint,
                "source": order.source, "actor": order.actor, "kind": order.kind,
                "only_follower_id": order.only_follower_id, "waits_until": waits_until,
                "live": state in {ManagerState.DISPATCHING, ManagerState.RECEIVED},
            },
        )  # fmt: skip

    async def _emit(
        self, cursor: Cursor, order: MirrorOrderInput, then: list[tuple[ManagerState, dict[str, Any]]],
        *, action: str | None = None, again: bool = False,
    ) -> None:  # fmt: skip
        """`again`: that it was received has been told."""
        intent = order.intent
        first = {
            "to": "received", "vault_id": intent.vault_id, "symbol": intent.symbol, "side": intent.side,
            "qty": plain(intent.qty), "tif": intent.tif, "type": intent.order_type, "source": order.source,
            "fingerprint": order.fingerprint,
        }  # fmt: skip
        events = [{"action": "received", "payload": first, "n": 0}]
        for n, (state, detail) in enumerate(then, start=1):
            events.append(
                {"action": action or state.value, "payload": {"from": "received", "to": state, **detail}, "n": n}
            )
        await cursor.execute(_EVENTS, {"events": jsonb(events[again:]), "mo_id": order.mo_id, "actor": order.actor})


async def _held(cursor: Cursor, order: MirrorOrderInput) -> Decimal:
    await cursor.execute(
        "SELECT qty FROM positions WHERE tenant_id = %s AND holder_id = %s AND symbol = %s",
        [order.tenant_id, order.only_follower_id, order.intent.symbol],
    )
    row = await cursor.fetchone()
    return Decimal(0) if row is None else Decimal(row["qty"])


def _routes(pages: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(page) for page in pages)

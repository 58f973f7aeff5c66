"""The door: the order's row, its one snapshot and the vault's position, in one transaction (SPEC section 5)."""

import hashlib
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.freezing import bending_overlays, freeze
from domain import admission
from domain.admission import Halt, Intent, MarketFacts, VaultFacts
from domain.errors import InvalidInput, NotFound, OrderRefused
from domain.mirroring import CORRECTION, FLATTEN, ORDER, Admission, MirrorOrderInput
from domain.orders import ManagerState, check_manager
from domain.pacing import Pace
from domain.personas import PERSONAS_VERSION
from domain.risk_profile import count_of
from domain.sessions import trading_hours
from domain.sizing import SIZING_VERSION, Effect, plain
from domain.valuation import Holding, Valuation, value

_EVENTS = f"""
WITH e AS (
  SELECT tenant_id, 'manager_order' AS entity, mo_id AS entity_id, x.action, %(actor)s AS actor, mo_id,
         x.payload, x.n
  FROM manager_orders,
       jsonb_to_recordset(%(events)s) AS x(action text, payload jsonb, n int)
  WHERE mo_id = %(mo_id)s
), {EMIT}
SELECT count(*) FROM a
"""

# By itself, before the facts are read: a statement that waits for the lock would go on with what it saw before, and the
# second of two orders at once would miss the first.
_LOCK = "SELECT risk_profile FROM vaults WHERE vault_id = %s FOR UPDATE"

# Accepted ones are those with an effect; what the platform itself orders (a flatten, a correction) is not the manager's
# pace. A duplicate of an order that was called off is meant.
_FACTS = """
SELECT v.status, v.maintenance, v.halt, v.cash_usd, v.risk_profile, v.personas,
       coalesce(h.qty, 0) AS position, i.venue, i.rail, i.qty_step, i.fine_step, i.min_qty, i.min_notional, i.tradable,
       i.symbol AS known, p.price, p.asof, p.source,
       CASE WHEN e.rail = i.rail THEN jsonb_build_object('symbol', e.symbol,
         'ratio', v.risk_profile #>> '{hedge,ratio}', 'price', ep.price::text, 'qty_step', e.qty_step::text,
         'fine_step', e.fine_step::text, 'min_qty', e.min_qty::text, 'min_notional', e.min_notional::text) END AS hedge,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('symbol', w.symbol, 'qty', w.qty::text, 'price', q.price::text,
          'asof', q.asof) ORDER BY w.symbol), '[]')
        FROM positions w LEFT JOIN prices q ON q.symbol = w.symbol
        WHERE w.tenant_id = v.tenant_id AND w.holder_id = v.vault_id AND w.qty <> 0) AS holdings,
       ARRAY(SELECT m.created_at FROM manager_orders m
         WHERE m.vault_id = v.vault_id AND m.kind = 'order' AND m.effect IS NOT NULL
           AND m.created_at > now() - interval '60 seconds'
         ORDER BY m.created_at DESC LIMIT %(most)s) AS recent,
       (SELECT m.mo_id FROM manager_orders m
         WHERE m.vault_id = v.vault_id AND m.kind = 'order' AND m.effect IS NOT NULL
           AND %(window)s > 0 AND m.created_at > now() - %(window)s * interval '1 second'
           AND m.state NOT IN ('cancelled', 'expired') AND m.symbol = %(symbol)s AND m.side = %(side)s
           AND m.qty = %(qty)s AND m.order_type = %(order_type)s AND m.limit_price IS NOT DISTINCT FROM %(limit_price)s
         ORDER BY m.created_at DESC LIMIT 1) AS twin
FROM vaults v
LEFT JOIN positions h ON h.tenant_id = v.tenant_id AND h.holder_id = v.vault_id AND h.symbol = %(symbol)s
LEFT JOIN instruments i ON i.symbol = %(symbol)s
LEFT JOIN prices p ON p.symbol = %(symbol)s
LEFT JOIN instruments e ON e.symbol = v.risk_profile #>> '{hedge,symbol}' AND e.symbol <> %(symbol)s
LEFT JOIN prices ep ON ep.symbol = e.symbol
WHERE v.vault_id = %(vault_id)s
"""

_STORED = """
SELECT state, reason, fingerprint, followers, shards,
  (SELECT coalesce(jsonb_agg(to_jsonb(p.routes) ORDER BY p.shard), '[]') FROM snapshot_pages p WHERE p.mo_id = m.mo_id)
    AS routes
FROM manager_orders m WHERE mo_id = %s
"""

_INSERT = """
INSERT INTO manager_orders (mo_id, tenant_id, vault_id, symbol, venue, side, qty, order_type, limit_price, tif, meta,
  state, reason, effect, fingerprint, source, actor, expires_at, kind, only_follower_id, live)
VALUES (%(mo_id)s, %(tenant_id)s, %(vault_id)s, %(symbol)s, %(venue)s, %(side)s, %(qty)s, %(order_type)s,
  %(limit_price)s, %(tif)s, %(meta)s, %(state)s, %(reason)s, %(effect)s, %(fingerprint)s, %(source)s, %(actor)s,
  %(expires_at)s, %(kind)s, %(only_follower_id)s, %(live)s)
"""

# The vault pays for what it gets, so that its NAV moves with prices only. A reduction at no known price leaves cash
# that nobody knows either: opens are then refused until the NAV is set.
_MOVE_VAULT = """
WITH paid AS (
  UPDATE vaults SET cash_usd = cash_usd - %(delta)s * %(price)s WHERE vault_id = %(vault_id)s
)
INSERT INTO positions AS h (tenant_id, holder_id, symbol, qty, avg_price)
VALUES (%(tenant_id)s, %(vault_id)s, %(symbol)s, %(delta)s, %(price)s)
ON CONFLICT (tenant_id, holder_id, symbol) DO UPDATE SET qty = h.qty + excluded.qty, updated_at = now()
"""


class AdmissionStore:
    """`page_size` followers share a shard; the limits are the platform's, which a vault can only tighten.

    Except for `duplicate_window_s`, in place of which a vault may set any of its own. Opens are sized, and NAV is told,
    by prices that are at most `max_price_age` old.
    """

    def __init__(
        self, database: Database, *, page_size: int, max_notional_usd: Decimal, max_qty: Decimal,
        max_orders_per_minute: int = 600, duplicate_window_s: int = 10, max_price_age: timedelta = timedelta(days=1),
    ) -> None:  # fmt: skip
        self._database = database
        self._max_price_age = max_price_age
        self._page_size = page_size
        self._max_notional = max_notional_usd
        self._max_qty = max_qty
        self._max_per_minute = max_orders_per_minute
        self._duplicate_window_s = duplicate_window_s

    async def admit(self, order: MirrorOrderInput, now: datetime) -> Admission:
        """Decide and record; a repeat finds the first decision. Raises NotFound, InvalidInput (nothing is recorded)."""
        async with self._database.cursor(order.tenant_id) as cursor:
            known = await self._stored(cursor, order.mo_id)
            if known is not None:
                return known
            facts = await self._facts(cursor, order)
            worth = self._worth(facts, order.intent, now)
            try:
                effect = await self._effect(cursor, order, facts, worth, now)
            except OrderRefused as refusal:
                return await self._refuse(cursor, order, facts, refusal)
            return await self._accept(cursor, order, facts, worth, effect, now)

    async def _effect(
        self, cursor: Cursor, order: MirrorOrderInput, facts: dict[str, Any], worth: Valuation, now: datetime
    ) -> Effect:
        """Raises OrderRefused."""
        vault, market = self._vault(facts, worth), self._market(facts)
        if order.kind == FLATTEN:
            return Effect.REDUCE
        if order.kind == CORRECTION:
            held = await _held(cursor, order)
            return admission.admit_correction(order.intent, held, vault, market)
        return admission.admit(order.intent, vault, market, now)

    async def _stored(self, cursor: Cursor, mo_id: str) -> Admission | None:
        await cursor.execute(_STORED, [mo_id])
        row = await cursor.fetchone()
        if row is None:
            return None
        state = ManagerState(row["state"])
        refused = state in {ManagerState.REJECTED, ManagerState.EXPIRED}
        code, _, reason = (row["reason"] or "").partition(": ")
        return Admission(
            mo_id, not refused, state, row["fingerprint"], code=code if refused else None,
            reason=reason if refused else None, followers=row["followers"], shards=row["shards"],
            routes=_routes(row["routes"]),
        )  # fmt: skip

    async def _facts(self, cursor: Cursor, order: MirrorOrderInput) -> dict[str, Any]:
        intent = order.intent
        await cursor.execute(_LOCK, [intent.vault_id])
        locked = await cursor.fetchone()
        if locked is None:
            raise NotFound("vault", intent.vault_id)
        pace = self._limits(locked["risk_profile"])
        await cursor.execute(_FACTS, {**asdict(intent), "most": pace.most_per_minute, "window": pace.window_s})
        facts = await cursor.fetchone()
        assert facts is not None, "the vault is locked"
        if facts["known"] is None:
            raise InvalidInput("symbol", f"{intent.symbol} is not a known instrument")
        return {**facts, "pace": replace(pace, recent=tuple(facts["recent"]), twin=facts["twin"])}

    def _limits(self, profile: dict[str, Any]) -> Pace:
        window = count_of(profile, "duplicate_window_s")
        most = min(self._max_per_minute, count_of(profile, "max_orders_per_minute") or self._max_per_minute)
        return Pace(most_per_minute=most, window_s=self._duplicate_window_s if window is None else window)

    def _worth(self, facts: dict[str, Any], intent: Intent, now: datetime) -> Valuation:
        """The vault's NAV before the order, at the prices of this moment."""
        holdings = [_holding(row, intent, now, self._max_price_age) for row in facts["holdings"]]
        return value(facts["cash_usd"], holdings, now, self._max_price_age)

    def _vault(self, facts: dict[str, Any], worth: Valuation) -> VaultFacts:
        profile = facts["risk_profile"]
        return VaultFacts(
            open=facts["status"] == "open",
            maintenance=facts["maintenance"],
            halt=Halt(facts["halt"]) if facts["halt"] else None,
            nav_usd=worth.nav_usd,
            position=facts["position"],
            allow_short=bool(profile.get("allow_short", False)),
            max_order_notional_usd=_tighter(self._max_notional, profile.get("max_order_notional_usd")),
            max_order_qty=_tighter(self._max_qty, profile.get("max_order_qty")),
            unpriced=worth.missing,
            stale=worth.stale,
            hours=trading_hours(profile),
            pace=facts["pace"],
        )

    def _market(self, facts: dict[str, Any]) -> MarketFacts:
        return MarketFacts(
            venue=facts["venue"],
            tradable=facts["tradable"],
            step=facts["fine_step"] if facts["rail"] == "crypto" else facts["qty_step"],
            price=facts["price"],
            collar_bps=Decimal(str(facts["risk_profile"].get("price_collar_bps", 500))),
            price_asof=facts["asof"],
            max_price_age=self._max_price_age,
        )

    async def _refuse(
        self, cursor: Cursor, order: MirrorOrderInput, facts: dict[str, Any], refusal: OrderRefused
    ) -> Admission:
        state = ManagerState.EXPIRED if refusal.code == "expired" else ManagerState.REJECTED
        await self._insert(cursor, order, facts, state, str(refusal), None)
        await self._emit(cursor, order, [(state, {"code": refusal.code, "reason": refusal.reason})])
        return Admission(
            order.mo_id, accepted=False, state=state, fingerprint=order.fingerprint,
            code=refusal.code, reason=refusal.reason, field=refusal.field,
        )  # fmt: skip

    async def _accept(
        self, cursor: Cursor, order: MirrorOrderInput, facts: dict[str, Any], worth: Valuation, effect: Effect,
        now: datetime,
    ) -> Admission:  # fmt: skip
        intent = order.intent
        price = admission.order_price(intent, self._market(facts))
        await self._insert(cursor, order, facts, ManagerState.DISPATCHING, None, effect)
        keys = {"mo_id": order.mo_id, "vault_id": intent.vault_id, "symbol": intent.symbol}
        frozen = await freeze(cursor, order, facts, self._page_size)
        overlays = await bending_overlays(cursor, intent.vault_id)
        body = snapshot_body(facts, order, worth, effect, price, now)
        body |= {"followers": frozen["digest"], "overlays": overlays}
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        await cursor.execute(
            "INSERT INTO snapshots (mo_id, tenant_id, taken_at, body, digest) VALUES (%s, %s, %s, %s, %s)",
            [order.mo_id, order.tenant_id, now, jsonb(body), digest],
        )
        await cursor.execute(
            "UPDATE manager_orders SET followers = %s, shards = %s WHERE mo_id = %s",
            [frozen["followers"], frozen["shards"], order.mo_id],
        )
        if order.kind == ORDER:
            delta = intent.qty * intent.side.sign
            await cursor.execute(_MOVE_VAULT, {**keys, "tenant_id": order.tenant_id, "delta": delta, "price": price})
        detail = {"effect": effect, "snapshot": digest, "followers": frozen["followers"], "kind": order.kind}
        await self._emit(cursor, order, [(ManagerState.DISPATCHING, detail)])
        return Admission(
            order.mo_id, accepted=True, state=ManagerState.DISPATCHING, fingerprint=order.fingerprint,
            followers=frozen["followers"], shards=frozen["shards"], routes=_routes(frozen["routes"]),
        )  # fmt: skip

    async def _insert(
        self, cursor: Cursor, order: MirrorOrderInput, facts: dict[str, Any], state: ManagerState,
        reason: str | None, effect: Effect | None,
    ) -> None:  # fmt: skip
        check_manager(ManagerState.RECEIVED, state)
        intent = order.intent
        await cursor.execute(
            _INSERT,
            {
                **asdict(intent), "mo_id": order.mo_id, "tenant_id": order.tenant_id, "venue": facts["venue"],
                "meta": jsonb(order.meta), "state": state.value, "reason": reason,
                "effect": effect.value if effect else None, "fingerprint": order.fingerprint,
                "source": order.source, "actor": order.actor, "kind": order.kind,
                "only_follower_id": order.only_follower_id, "live": state is ManagerState.DISPATCHING,
            },
        )  # fmt: skip

    async def _emit(
        self, cursor: Cursor, order: MirrorOrderInput, then: list[tuple[ManagerState, dict[str, Any]]]
    ) -> None:
        intent = order.intent
        first = {
            "to": "received", "vault_id": intent.vault_id, "symbol": intent.symbol, "side": intent.side,
            "qty": plain(intent.qty), "tif": intent.tif, "type": intent.order_type, "source": order.source,
            "fingerprint": order.fingerprint,
        }  # fmt: skip
        events = [{"action": "received", "payload": first, "n": 0}]
        for n, (state, detail) in enumerate(then, start=1):
            events.append({"action": state.value, "payload": {"from": "received", "to": state, **detail}, "n": n})
        await cursor.execute(_EVENTS, {"events": jsonb(events), "mo_id": order.mo_id, "actor": order.actor})


async def _held(cursor: Cursor, order: MirrorOrderInput) -> Decimal:
    await cursor.execute(
        "SELECT qty FROM positions WHERE tenant_id = %s AND holder_id = %s AND symbol = %s",
        [order.tenant_id, order.only_follower_id, order.intent.symbol],
    )
    row = await cursor.fetchone()
    return Decimal(0) if row is None else Decimal(row["qty"])


def _holding(row: dict[str, Any], intent: Intent, now: datetime, max_age: timedelta) -> Holding:
    """A position as read; where its symbol's price is missing or old, the one that the order's author states is taken.

    A limit is not: it says what the author would pay, not what the position is worth.
    """
    price = None if row["price"] is None else Decimal(row["price"])
    asof = None if row["asof"] is None else datetime.fromisoformat(row["asof"])
    if row["symbol"] == intent.symbol and intent.reference_price and (asof is None or now - asof > max_age):
        price, asof = intent.reference_price, now
    return Holding(row["symbol"], Decimal(row["qty"]), price, asof)


def snapshot_body(
    facts: dict[str, Any], order: MirrorOrderInput, worth: Valuation, effect: Effect, price: Decimal | None,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Everything sizing needs besides followers and overlays, numbers as exact strings.

    `nav_asof` is the time of the oldest price in the NAV, `price_asof` that of the order's price.
    """
    numbers = ("position", "qty_step", "fine_step", "min_qty", "min_notional")
    stated = admission.price_source(order.intent)
    price_asof = now if stated else facts["asof"]
    return {
        "taken_at": now.isoformat(),
        "sizing_version": SIZING_VERSION,
        "effect": effect.value,
        "rail": facts["rail"],
        "price": None if price is None else plain(price),
        "price_source": stated or facts["source"],
        "price_asof": None if price_asof is None else price_asof.isoformat(),
        "nav_usd": None if worth.nav_usd is None else plain(worth.nav_usd),
        "nav_asof": (worth.price_asof or now).isoformat(),
        "personas": facts["personas"],
        "kind": order.kind,
        "personas_version": PERSONAS_VERSION,
        "hedge": facts["hedge"],
        **{name: None if facts[name] is None else plain(facts[name]) for name in numbers},
    }


def _routes(pages: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(page) for page in pages)


def _tighter(platform: Decimal, vault: Any) -> Decimal:
    return platform if vault is None else min(platform, Decimal(str(vault)))

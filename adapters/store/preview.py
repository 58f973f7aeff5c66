"""What a follower would get of an order, now or at some time in the past: admitted and sized by the same code.

Nothing is stored. All of a preview is read from one snapshot of the database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store.asof import as_of, of_vault
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.door import Door, snapshot_body
from adapters.store.freezing import FROZEN, bending_overlays, bindings
from adapters.store.frozen import SizedOrder, Sizer
from adapters.store.money import PlannedRoute, RoutePreviews
from domain import admission, guards
from domain.dispatch import WEBHOOK
from domain.errors import InvalidInput, NotFound, OrderRefused
from domain.guards import GuardFacts, Stop
from domain.intents import parse_intent
from domain.mirroring import MirrorOrderInput
from domain.orders import ManagerState
from domain.overlays import in_force
from domain.rights import Offer
from domain.sizing import Effect

_NOBODYS = "preview"  # the id of an order that there is not
_GUARDED = """
SELECT kill_switch, halt, maintenance, endpoint_disabled_at IS NOT NULL AS endpoint_disabled
FROM followers WHERE follower_id = %s AND is_mine(tenant_id)
"""
_TERMS = f"SELECT terms FROM ({FROZEN}) x"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the manager's order would be admitted; if not, the guard's code, reason and field.

    `waits_until`: it would be, and wait for its session, at whose beginning it is judged and sized anew.
    """

    accepted: bool
    effect: Effect | None
    code: str | None = None
    reason: str | None = None
    field: str | None = None
    waits_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """`legs` is what the follower would get if the order were admitted; empty where it is neither open nor reduction.

    `stop`: the guard that would stop it at the moment of sending. `terms` and `snapshot` are what it was sized by, as
    an order freezes them. `money`: how it would be paid for, at a venue whose accounts hold several currencies.
    """

    follower_id: str
    vault_id: str
    asof: datetime
    verdict: Verdict
    legs: tuple[SizedOrder, ...]
    stop: Stop | None
    snapshot: dict[str, Any]
    terms: dict[str, Any]
    money: PlannedRoute | None = None


class PreviewStore:
    def __init__(self, database: Database, door: Door, offer: Offer, routes: RoutePreviews | None = None) -> None:
        self._database = database
        self._offer = offer
        self._door = door
        self._routes = routes or RoutePreviews()

    async def preview(self, tenant_id: str, follower_id: str, raw: Mapping[str, Any], asof: datetime | None) -> Preview:
        """`raw` is a manager order without its vault. Raises NotFound for a follower that is not (or was not yet),

        InvalidInput for the order and for a time in the future.
        """
        async with self._database.snapshot(tenant_id) as present:
            now = await _clock(present)
            if asof is not None and asof > now:
                raise InvalidInput("asof", f"is in the future; it is {now.isoformat()} here")
            at = asof or now
            cursor = present if asof is None else await as_of(present, asof, follower_id)
            vault_id = await _one(cursor, "vault_id", "followers", "follower", follower_id)
            await of_vault(present, vault_id)
            intent, meta = parse_intent({**raw, "vault_id": vault_id})
            order = MirrorOrderInput(
                tenant_id, _NOBODYS, intent, meta, "", "preview", "preview", only_follower_id=follower_id
            )
            judged = await self._judge(cursor, order, at)
            # What an account held at an earlier time is not known.
            return judged if asof is not None else await self._paid(cursor, order, judged)

    async def _paid(self, cursor: Cursor, order: MirrorOrderInput, judged: Preview) -> Preview:
        """With how its order would be paid for, where it would go to an account for the crypto rail."""
        leg = next((leg for leg in judged.legs if leg.leg == 0 and leg.allotted), None)
        if leg is None or judged.snapshot["rail"] != "crypto" or judged.terms["route"] in {None, WEBHOOK}:
            return judged
        intent, frozen = order.intent, judged.snapshot["price"]
        price = intent.limit_price or (None if frozen is None else Decimal(frozen))
        asked = {"symbol": leg.symbol, "side": leg.side, "qty": leg.qty, "order_type": intent.order_type}
        return replace(judged, money=await self._routes.of(cursor, judged.follower_id, asked, price))

    async def _judge(self, cursor: Cursor, order: MirrorOrderInput, at: datetime) -> Preview:
        intent, follower_id = order.intent, order.only_follower_id
        assert follower_id is not None
        profile = await _one(cursor, "risk_profile", "vaults", "vault", intent.vault_id)
        facts = await self._door.facts(cursor, intent, profile, at)
        worth = self._door.worth(facts, intent, at)
        vault, market = self._door.vault(facts, worth), self._door.market(facts)
        verdict = _verdict(intent, vault, market, at)
        price = admission.order_price(intent, market)
        body = snapshot_body(facts, order, worth, verdict.effect or Effect.OPEN, price, at)
        body["overlays"] = await bending_overlays(cursor, intent.vault_id, at)
        await cursor.execute(_TERMS, await bindings(cursor, order, facts, body["overlays"], self._offer))
        row = await cursor.fetchone()
        assert row is not None, "the follower is there"
        legs: tuple[SizedOrder, ...] = ()
        if verdict.effect is not None:
            stored = {"symbol": intent.symbol, "side": intent.side, "qty": intent.qty, "body": body}
            legs = Sizer(_NOBODYS, {**stored, "meta": await _as_stored(cursor, order.meta)}).size(row["terms"])
        stop = await _stop(cursor, order, vault, market, verdict, at)
        return Preview(follower_id, intent.vault_id, at, verdict, legs, stop, body, row["terms"])


async def _stop(
    cursor: Cursor, order: MirrorOrderInput, vault: admission.VaultFacts, market: admission.MarketFacts,
    verdict: Verdict, at: datetime,
) -> Stop | None:  # fmt: skip
    """By the guards of a claim, for an order that is admitted; one that waits is not claimed before its session."""
    effect, waits = verdict.effect, verdict.waits_until is not None
    await cursor.execute(_GUARDED, [order.only_follower_id])
    row = await cursor.fetchone()
    if row is None or effect is None:
        return None
    guarded = GuardFacts(
        kill_switch=row["kill_switch"],
        maintenance=vault.maintenance or row["maintenance"],
        halt=in_force(vault.halt, row["halt"]),
        manager_state=ManagerState.DISPATCHING,
        effect=effect,
        expires_at=order.intent.expires_at,
        endpoint_disabled=row["endpoint_disabled"],
        hours=None if waits else vault.hours,
        market=None if waits else market.market,
        flags=market.flags,
        order_type=order.intent.order_type,
    )
    return guards.check(guarded, at)


def _verdict(
    intent: admission.Intent, vault: admission.VaultFacts, market: admission.MarketFacts, at: datetime
) -> Verdict:
    try:
        decision = admission.admit(intent, vault, market, at)
        return Verdict(accepted=True, effect=decision.effect, waits_until=decision.waits_until)
    except OrderRefused as refusal:
        effect, code = _effect(intent, vault), refusal.code
        return Verdict(accepted=False, effect=effect, code=code, reason=refusal.reason, field=refusal.field)


def _effect(intent: admission.Intent, vault: admission.VaultFacts) -> Effect | None:
    """Of an order that is refused; None where it would cross zero."""
    try:
        return admission.effect_of(intent.side, intent.qty, vault.position)
    except OrderRefused:
        return None


async def _clock(cursor: Cursor) -> datetime:
    """The database's, as it is the one that rows are stamped by; the transaction sees what was committed before."""
    await cursor.execute("SELECT clock_timestamp() AS now")
    row = await cursor.fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


async def _one(cursor: Cursor, column: str, table: str, entity: str, entity_id: str) -> Any:
    await cursor.execute(f"SELECT {column} FROM {table} WHERE {entity}_id = %s AND is_mine(tenant_id)", [entity_id])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(entity, entity_id)
    return row[column]


async def _as_stored(cursor: Cursor, meta: dict[str, Any]) -> Any:
    """As an order's row gives it back: the database writes numbers its own way, and the trace shows some of them."""
    await cursor.execute("SELECT %s::jsonb AS meta", [jsonb(meta)])
    row = await cursor.fetchone()
    assert row is not None
    return row["meta"]

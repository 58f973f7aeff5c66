"""From what a snapshot has frozen to sizes: the terms that sizing takes, and a sizer for an order's followers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain import ids
from domain.hedging import hedge_leg
from domain.orders import FollowerState, Side
from domain.overlays import Overlay, OverlayKind, Params, boosts_for, effective_flip, total_delta
from domain.personas import Character, Flip
from domain.rights import lack
from domain.sizing import Effect, FollowerTerms, Hedge, Instrument, Mode, OrderTerms, Sizing, SkipReason, plain, size

HEDGE_LEG = 1
_Legs = tuple[tuple[Sizing, list[dict[str, str]]], ...]


@dataclass(frozen=True, slots=True)
class SizedOrder:
    """A follower's order as the snapshot makes it: `terms` are the follower's, `trace` explains the quantity.

    `carry` is what it adds to the follower's residue. Leg 0 is the order itself, leg 1 its hedge in another `symbol`.
    """

    fo_id: str
    follower_id: str
    leg: int
    symbol: str
    side: Side
    terms: dict[str, Any]
    qty: Decimal
    cap_applied: bool
    carry: Decimal
    state: FollowerState
    reason: str | None
    trace: list[dict[str, str]]

    def row(self) -> dict[str, Any]:
        return {
            "fo_id": self.fo_id,
            "follower_id": self.follower_id,
            "leg": self.leg,
            "symbol": self.symbol,
            "side": self.side.value,
            "qty": plain(self.qty),
            "cap_applied": self.cap_applied,
            "carry": plain(self.carry),
            "state": self.state.value,
            "reason": self.reason,
            "route": self.terms["route"] or "none",
            "trace": self.trace,
        }

    @property
    def allotted(self) -> bool:
        """Whether it may leave for the follower at all."""
        return self.state is FollowerState.SIZED


class Sizer:
    """Sizes one manager order's followers. As sizing is a pure function, equal terms are sized once."""

    def __init__(self, mo_id: str, order: dict[str, Any]) -> None:
        self._mo_id = mo_id
        self._order = order_terms(order)
        self._instrument = instrument_of(order["symbol"], order["body"])
        self._overlays = overlays_of(order["body"])
        self._taken_at = datetime.fromisoformat(order["body"]["taken_at"])
        self._known: dict[FollowerTerms, _Legs] = {}

    def size(self, terms: dict[str, Any]) -> tuple[SizedOrder, ...]:
        """The follower's legs, the order itself first."""
        follower = follower_terms(terms, character(terms, self._overlays, self._taken_at))
        legs = self._known.get(follower)
        if legs is None:
            legs = self._known[follower] = self._legs(follower)
        return tuple(self._sized(leg, sizing, trace, terms) for leg, (sizing, trace) in enumerate(legs))

    def _legs(self, follower: FollowerTerms) -> _Legs:
        main = size(self._order, follower, self._instrument)
        hedge = hedge_leg(self._order, follower, main)
        return tuple((s, [asdict(step) for step in s.trace]) for s in (main, hedge) if s is not None)

    def _sized(self, leg: int, sizing: Sizing, trace: list[dict[str, str]], terms: dict[str, Any]) -> SizedOrder:
        hedge = self._order.hedge
        symbol = hedge.instrument.symbol if leg == HEDGE_LEG and hedge is not None else self._instrument.symbol
        state, reason = _first_state(sizing, terms)
        follower_id = terms["follower_id"]
        return SizedOrder(
            ids.follower_order_id(self._mo_id, follower_id, leg), follower_id, leg, symbol, sizing.side, terms,
            sizing.qty, sizing.cap_applied, sizing.carry, state, reason, trace,
        )  # fmt: skip


def sized(sizer: Sizer, page: Sequence[dict[str, Any]]) -> list[SizedOrder]:
    """Every leg of every follower of the page."""
    return [order for terms in page for order in sizer.size(terms)]


def order_terms(order: dict[str, Any]) -> OrderTerms:
    """`order`: symbol, side, qty and meta of the manager order, and the snapshot's `body`."""
    body = order["body"]
    conviction = order["meta"].get("conviction", {})
    score = conviction.get("score")
    overrides = conviction.get("overrides") or {}
    return OrderTerms(
        side=Side(order["side"]),
        qty=order["qty"],
        effect=Effect(body["effect"]),
        vault_qty=Decimal(body["position"]),
        price=_decimal(body["price"]),
        score=None if score is None else Decimal(str(score)),
        overrides=tuple(sorted((trait, Decimal(str(delta))) for trait, delta in overrides.items())),
        exact=body.get("kind") == "correction",
        exit=body.get("kind") == "flatten",
        hedge=_hedge(body.get("hedge")),
    )


def instrument_of(symbol: str, body: dict[str, Any]) -> Instrument:
    numbers = ("qty_step", "fine_step", "min_qty", "min_notional")
    return Instrument(symbol, *(Decimal(body[name]) for name in numbers))


def overlays_of(body: dict[str, Any]) -> list[Overlay] | None:
    """The flips and boosts that were active when the snapshot was taken."""
    stored = body.get("overlays")
    if stored is None:
        return None
    return [
        Overlay(
            o["overlay_id"], OverlayKind(o["kind"]), o["vault_id"], o["follower_id"], Params.from_json(o["params"]),
            datetime.fromisoformat(o["starts_at"]),
            None if o["expires_at"] is None else datetime.fromisoformat(o["expires_at"]),
        )
        for o in stored
    ]  # fmt: skip


def character(terms: dict[str, Any], overlays: Sequence[Overlay] | None, at: datetime) -> Character:
    """What bends the follower's sizes at that time. `overlays`: None for a snapshot from before personas counted."""
    if overlays is None:
        return Character()
    follower_id, persona = terms["follower_id"], terms["persona"]
    flip = effective_flip(overlays, at, follower_id)
    mine = persona if flip is None or flip.params.persona is None else flip.params.persona
    return Character(
        persona,
        total_delta(boosts_for(overlays, at, follower_id, mine)),
        None if flip is None else Flip(flip.overlay_id, flip.params.persona, flip.params.amplify or Decimal(0)),
    )


def follower_terms(terms: dict[str, Any], character: Character) -> FollowerTerms:
    """A follower as frozen. The keys that version 1 of the snapshot did not have stand at what counted then."""
    zero, persona = Decimal(0), character.in_force()
    return FollowerTerms(
        mode=Mode(terms["mode"]),
        scale=Decimal(terms["scale"]),
        holding=Decimal(terms["holding"]),
        max_pos_usd=_decimal(terms["max_pos_usd"]),
        fractional=terms["fractional"],
        kill_switch=terms["kill_switch"],
        character=character,
        residue=_decimal(terms.get("residue")) or zero,
        buying=_decimal(terms.get("buying")) or zero,
        selling=_decimal(terms.get("selling")) or zero,
        allow_short=terms.get("allow_short", True),
        close_only=terms.get("close_only", False),
        lacks=lack(terms.get("lacks"), terms, None if persona is None else persona.name),
        funds_usd=_decimal(terms.get("funds_usd")),
        hedge_qty=_decimal(terms.get("hedge_qty")) or zero,
        hedge_holding=_decimal(terms.get("hedge_holding")) or zero,
    )


def _hedge(stored: dict[str, Any] | None) -> Hedge | None:
    if stored is None:
        return None
    return Hedge(instrument_of(stored["symbol"], stored), Decimal(stored["ratio"]), _decimal(stored["price"]))


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


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
    if terms.get("credential_broken"):
        return FollowerState.SKIPPED, SkipReason.CREDENTIAL_BROKEN.value
    return FollowerState.SIZED, None

"""One order on its way out: what is sent, and what an answer means for its state. Pure; no clock, no network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from domain import guards, retry
from domain.guards import GuardFacts
from domain.legs import Money
from domain.orders import CALLED_OFF, FollowerState, OrderType, Side, TimeInForce, check_follower
from domain.ports import ChildOrder, OutcomeKind, SendOutcome, VenueOrder, VenueStatus
from domain.sizing import Effect, plain

WEBHOOK = "webhook"
_F = FollowerState


@dataclass(frozen=True, slots=True)
class SealedKey:
    """An encrypted secret and what opens it. `version` counts the values that a credential has had."""

    ref: str
    key_id: str
    sealed: bytes
    version: int = 0


@dataclass(frozen=True, slots=True)
class PendingOrder:
    """A follower order with everything that sending, asking and deciding need; read in one query.

    `attempts_base` is how many attempts there had been when it was last redriven; `endpoint_failures` in a row are the
    webhook's. `quiet_s`: seconds from the end of the last attempt to this reading, by the database's clock; None where
    nobody has seen its end yet. `money_due`: money is to be changed before it is sent, or may be changing; `changed`:
    what has been. `routed`: its legs are stored. `calls_back`: a webhook's 2xx alone confirms nothing, as its follower
    tells later what has come of it.
    """

    tenant_id: str
    fo_id: str
    mo_id: str
    follower_id: str
    vault_id: str
    symbol: str
    side: Side
    qty: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    tif: TimeInForce
    state: FollowerState
    attempts: int
    last_error: str | None
    route: str
    broker_order_ref: str | None
    filled_qty: Decimal
    avg_price: Decimal | None
    price: Decimal | None
    scale: Decimal
    max_pos_usd: Decimal | None
    persona: str | None
    meta: dict[str, Any]
    guards: GuardFacts
    url: str | None = None
    keys: tuple[SealedKey, ...] = ()
    credential: SealedKey | None = None
    environment: str = "paper"
    leg: int = 0
    shard: int = 0
    mark: int = 0  # the kill watch's count when the claim began
    maybe_there: bool = False  # an earlier attempt of a webhook got no answer
    attempts_base: int = 0
    endpoint_failures: int = 0
    quiet_s: Decimal | None = None
    money_due: bool = False
    changed: Money | None = None
    routed: bool = False
    calls_back: bool = False

    @property
    def tries(self) -> int:
        """Attempts of the present round: a redrive begins a new one, while attempts are numbered on."""
        return self.attempts - self.attempts_base

    @property
    def is_webhook(self) -> bool:
        return self.route == WEBHOOK

    def child_order(self) -> ChildOrder:
        # An order that opens for the vault may close what a follower holds on the other side (a contrarian does).
        closes = True if self.guards.effect is Effect.REDUCE else None
        return ChildOrder(
            self.fo_id, self.symbol, self.side, self.qty, self.order_type, self.tif, self.limit_price, closes
        )


@dataclass(frozen=True, slots=True)
class NewFill:
    """A fill to book; `fill_id` is a business key, so that a repeat books nothing."""

    fill_id: str
    qty: Decimal
    price: Decimal | None
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """Where an order goes next. `path` is the states it passes, in order; empty: it stays where it is.

    `wait` is set where another attempt is due. `dead_letter` is the reason, where the path ends in one.
    """

    fo_id: str
    source: FollowerState
    path: tuple[FollowerState, ...] = ()
    attempts: int | None = None
    reason: str | None = None
    last_error: str | None = None
    broker_order_ref: str | None = None
    filled_qty: Decimal | None = None
    avg_price: Decimal | None = None
    wait: timedelta | None = None
    fills: tuple[NewFill, ...] = ()
    disable_endpoint: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        state = self.source
        for target in self.path:
            check_follower(state, target)
            state = target

    @property
    def target(self) -> FollowerState:
        return self.path[-1] if self.path else self.source


def webhook_body(order: PendingOrder, attempt: int, sent_at: datetime) -> dict[str, Any]:
    """The wire contract of SPEC section 7. Decimals stay Decimals: the encoder writes them as exact JSON numbers."""
    conviction = order.meta.get("conviction", {})
    provenance = order.meta.get("provenance", {})
    return {
        "ts": sent_at.isoformat().replace("+00:00", "Z"),
        "follower_id": order.follower_id,
        "vault_id": order.vault_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "qty": order.qty,
        "qty_str": plain(order.qty),
        "type": order.order_type.value,
        "limit_price_str": None if order.limit_price is None else plain(order.limit_price),
        "time_in_force": order.tif.value,
        "reason_vector": order.meta.get("reason_vector", []),
        "conviction": {
            "score": conviction.get("score"),
            "band": conviction.get("band"),
            "persona": order.persona or conviction.get("persona"),
            "overrides": conviction.get("overrides", {}),
        },
        "meta": {
            "manager_order_id": order.mo_id,
            "follower_order_id": order.fo_id,
            "scale": order.scale,
            "scale_str": plain(order.scale),
            "max_pos_usd": order.max_pos_usd,
            "max_pos_usd_str": None if order.max_pos_usd is None else plain(order.max_pos_usd),
            "kill_switch": order.guards.kill_switch,
        },
        "audit": {
            "dag_id": order.mo_id,
            "dispatch_attempts": attempt,
            "last_error": order.last_error,
            "state": _F.SENT.value,
        },
        "provenance": {
            "collector": provenance.get("collector"),
            "enriched_at": provenance.get("enriched_at"),
            "os_node": provenance.get("os_node"),
            "features_used": provenance.get("features_used", []),
        },
    }


def resolve(order: PendingOrder, outcome: SendOutcome) -> Change:
    """What the answer to attempt number `order.attempts` means for an order in `sent`."""
    if outcome.kind is OutcomeKind.ACK:
        return _acknowledged(order, outcome)
    if outcome.kind is OutcomeKind.FINAL:
        gone = outcome.disable_endpoint
        if order.maybe_there:
            return _change(order, outcome, _F.DEAD_LETTER, reason="refused_after_silence", disable_endpoint=gone)
        if order.changed is not None:
            # The money for it lies there, so that it may well be sent again once its trouble is mended.
            failed = order.changed.trade_failed(_said(outcome))
            return _change(order, outcome, _F.DEAD_LETTER, reason="leg_failed", last_error=failed)
        return _change(order, outcome, _F.REJECTED, disable_endpoint=gone)
    wait = retry.wait_after(order.fo_id, order.tries, outcome.retry_after_s)
    if outcome.kind is OutcomeKind.AMBIGUOUS and not order.is_webhook:
        # The venue is asked before anything else happens; the attempts left are counted when its answer is known.
        return _change(order, outcome, _F.UNKNOWN, wait=timedelta(0))
    if wait is None:
        return _change(order, outcome, _F.DEAD_LETTER, reason="retries_exhausted")
    # This attempt provably is not there; an earlier one that got no answer still may be.
    ambiguous = outcome.kind is OutcomeKind.AMBIGUOUS or order.maybe_there
    target = _F.UNKNOWN if ambiguous else _F.RETRY
    return _change(order, outcome, target, wait=wait)


def orphaned(order: PendingOrder) -> Change:
    """An order in `sent` that nobody is sending any more: its attempt may or may not have arrived."""
    error = f"attempt {order.attempts}: nobody saw the answer"
    # A webhook cannot be asked, so the last attempt's orphan has nothing to wait for.
    spent = order.is_webhook and order.tries >= retry.MAX_ATTEMPTS
    return Change(
        order.fo_id,
        order.state,
        (_F.UNKNOWN, _F.DEAD_LETTER) if spent else (_F.UNKNOWN,),
        reason="retries_exhausted" if spent else None,
        last_error=error,
        detail={"code": "orphaned"},
    )


def proof_due(order: PendingOrder, proven_after_s: int) -> timedelta:
    """How long until a look-up that finds nothing would prove something; zero where it does already.

    `order` must have been read before the venue was asked: `proven_after_s` is counted from the end of the last attempt
    to the question, see `domain.venues.Capabilities`.
    """
    quiet = order.quiet_s or Decimal(0)
    return timedelta(milliseconds=int(max(proven_after_s - quiet, Decimal(0)) * 1000))


def absent(order: PendingOrder) -> Change:
    """The venue provably has nothing under our id: the attempt is spent, the order may be sent again.

    Not where its manager order has been called off meanwhile: then it is over.
    """
    detail = {"code": "absent_at_venue"}
    if order.guards.manager_state in CALLED_OFF:
        return Change(order.fo_id, order.state, (_F.CANCELLED,), reason=call_off_reason(order), detail=detail)
    # A redrive that had to ask first has not tried yet.
    wait = retry.wait_after(order.fo_id, order.tries) if order.tries else timedelta(0)
    if wait is None:
        return Change(order.fo_id, order.state, (_F.DEAD_LETTER,), reason="retries_exhausted", detail=detail)
    return Change(order.fo_id, order.state, (_F.RETRY,), wait=wait, detail=detail)


def call_off_reason(order: PendingOrder) -> str:
    return guards.CALL_OFF_REASONS[order.guards.manager_state]


def reported(order: PendingOrder, venue: VenueOrder, source: str) -> Change:
    """What a venue's report means for an order in `sent`, `unknown`, `ack` or `partially_filled`."""
    fills = new_fills(order, venue, source)
    filled = max(venue.filled_qty, order.filled_qty)
    end = _VENUE_END[venue.status]
    steps: list[FollowerState] = []
    if order.state not in {_F.ACK, _F.PARTIALLY_FILLED} and end is not _F.REJECTED:
        steps.append(_F.ACK)
    if fills and end is not _F.CONFIRMED:
        steps.append(_F.PARTIALLY_FILLED)
    if end is not None:
        # A venue that rejects what it had begun to fill has in effect cancelled the rest.
        steps.append(_F.CANCELLED if end is _F.REJECTED and filled > 0 else end)
    return Change(
        order.fo_id,
        order.state,
        tuple(steps),
        reason=None if end in {None, _F.CONFIRMED} else (venue.reason or venue.status.value),
        broker_order_ref=venue.ref,
        filled_qty=filled if fills else None,
        avg_price=venue.avg_price if fills else None,
        fills=fills,
        detail={"venue_status": venue.status.value, "filled_qty": plain(filled)},
    )


_VENUE_END: dict[VenueStatus, FollowerState | None] = {
    VenueStatus.WORKING: None,
    VenueStatus.PARTIALLY_FILLED: None,
    VenueStatus.FILLED: _F.CONFIRMED,
    VenueStatus.CANCELLED: _F.CANCELLED,
    VenueStatus.EXPIRED: _F.CANCELLED,
    VenueStatus.REJECTED: _F.REJECTED,
}


def _acknowledged(order: PendingOrder, outcome: SendOutcome) -> Change:
    if outcome.venue_order is not None:
        return reported(order, outcome.venue_order, source=order.route)
    if not order.is_webhook:
        return _change(order, outcome, _F.ACK, last_error=None)
    fills = tuple(NewFill(f"{order.fo_id}:{f.fill_id}", f.qty, f.price, "receiver") for f in outcome.fills)
    filled = sum((f.qty for f in fills), Decimal(0))
    if filled > order.qty:
        # More than was ordered is no fill of this order: the ack stands, and what it claims is left out.
        fills, outcome = (), replace(outcome, code="fills_ignored")
    if fills and filled < order.qty:
        return _filled(order, outcome, (_F.ACK, _F.PARTIALLY_FILLED), fills)
    if order.calls_back and not fills:
        return _change(order, outcome, _F.ACK, last_error=None)
    # A bare 2xx confirms: the receiver has taken the order over, and its fill is booked at the snapshot's price.
    booked = fills or (NewFill(f"{order.fo_id}:ack", order.qty, order.price, "ack"),)
    return _filled(order, outcome, (_F.ACK, _F.CONFIRMED), booked)


def _filled(
    order: PendingOrder, outcome: SendOutcome, path: tuple[FollowerState, ...], fills: Sequence[NewFill]
) -> Change:
    qty = sum((f.qty for f in fills), Decimal(0))
    priced = [f for f in fills if f.price is not None]
    value = sum((f.qty * f.price for f in priced if f.price is not None), Decimal(0))
    return Change(
        order.fo_id,
        order.state,
        path,
        filled_qty=qty,
        avg_price=value / qty if len(priced) == len(fills) else None,
        fills=tuple(fills),
        detail={"code": outcome.code, "http_status": outcome.http_status, "attempt": order.attempts},
    )


def _change(order: PendingOrder, outcome: SendOutcome, target: FollowerState, **fields: Any) -> Change:
    fields.setdefault("last_error", _said(outcome))
    if target is _F.REJECTED:
        fields.setdefault("reason", outcome.code)
    detail = {"code": outcome.code, "http_status": outcome.http_status, "attempt": order.attempts}
    return Change(order.fo_id, order.state, (target,), detail=detail, **fields)


def _said(outcome: SendOutcome) -> str:
    return f"{outcome.code}: {outcome.detail}" if outcome.detail else outcome.code


def new_fills(order: PendingOrder, venue: VenueOrder, source: str) -> tuple[NewFill, ...]:
    """The part of the venue's cumulative fill that we have not booked: (avg₁·q₁ − avg₀·q₀)/Δq is its price."""
    delta = venue.filled_qty - order.filled_qty
    if delta <= 0:
        return ()
    price = venue.avg_price
    if price is not None and order.filled_qty > 0 and order.avg_price is not None:
        price = (price * venue.filled_qty - order.avg_price * order.filled_qty) / delta
    return (NewFill(f"{order.fo_id}:{plain(venue.filled_qty)}", delta, price, source),)

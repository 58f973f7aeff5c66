"""May a dead letter's order be sent again, and as what? Everything is judged by what is true now. Pure.

The order keeps its id, side and quantity: what may not go out whole is refused, and the refusal says what would be
allowed. A new order for less is the manager's to give.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from domain import guards
from domain.guards import GuardFacts
from domain.mirroring import OrderRef
from domain.orders import FollowerState, LetterState, Side
from domain.sizing import Effect, FollowerTerms, Instrument, OrderTerms, plain, size
from domain.terms import ZERO

_F = FollowerState


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `newest`: its order has none that is younger."""

    dead_letter_id: int
    redriven_at: datetime | None = None
    redriven_by: str | None = None
    purged_at: datetime | None = None
    newest: bool = True


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters; None asks for nothing."""

    vault_id: str | None = None
    follower_id: str | None = None
    mo_id: str | None = None
    reason: str | None = None
    state: LetterState | None = None


@dataclass(frozen=True, slots=True)
class Redrivable:
    """A dead letter with what its order's next owner is started with."""

    dead_letter_id: int
    tenant_id: str
    fo_id: str
    mo_id: str
    follower_id: str
    vault_id: str
    symbol: str
    order: OrderRef
    tif: str


@dataclass(frozen=True, slots=True)
class RedriveFacts:
    """What the decision needs, read with the order locked.

    `side`, `qty` and `filled_qty` are the follower order's own: a persona may have inverted it, and a hedge is in
    another symbol. `outcomes` are its attempts', oldest first, None for one that nobody saw the end of. `terms` is the
    manager's order at the present price; `follower` has the present terms, what is held of the order's symbol, and
    what the follower's other orders in it are buying and selling. The two prices are the order's symbol's. `barred`:
    why the subscriber's present rights do not let it open; empty where they do.
    """

    state: FollowerState
    webhook: bool
    hedge: bool
    side: Side
    qty: Decimal
    filled_qty: Decimal
    outcomes: tuple[str | None, ...]
    guards: GuardFacts
    sized_at: Decimal | None
    price: Decimal | None
    collar_bps: Decimal
    terms: OrderTerms
    follower: FollowerTerms
    instrument: Instrument
    barred: str = ""

    @property
    def open_qty(self) -> Decimal:
        return self.qty - self.filled_qty


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is stable and public, `reason` is for people."""

    code: str
    reason: str


_GUARD_WORDS = {
    "kill_switch": "the follower's kill switch is on",
    "manager_order_cancelled": "the manager order was cancelled",
    "expired": "the manager order has expired, and it would open or increase a position",
    "outside_session": "the trading session is over, and it would open or increase a position",
    "market_closed": "its exchange is closed, and it would open or increase a position",
    "calendar_unknown": "the sessions of its exchange are not stored; run vanta calendars refresh",
    "instrument_halted": "the instrument is halted at its venue, or takes cancels only",
    "instrument_limit_only": "the instrument takes limit orders only, and this is none",
    "instrument_post_only": "the instrument takes post-only orders only",
    "instrument_close_only": "the instrument takes reductions only",
    "endpoint_disabled": "the follower's endpoint is disabled; enable it with a test delivery that it answers with 2xx",
    "credential_broken": "the follower's broker credential is broken; replace it, or test it once it works again",
    "vault_maintenance": "the vault is in maintenance",
}


def closed(letter: Letter) -> Refusal | None:
    """Why a letter is over, by a redrive or a purge; None for one that is open."""
    if letter.purged_at is not None:
        return Refusal("purged", f"purged at {_at(letter.purged_at)}")
    if letter.redriven_at is not None:
        return Refusal("already_redriven", f"redriven at {_at(letter.redriven_at)} by {letter.redriven_by}")
    return None


def refusal(facts: RedriveFacts, now: datetime) -> Refusal | None:
    """Why an open letter's order must not go out now; None where it may.

    Reductions pass where only opens are stopped, as at admission, and are held to what the follower has now.
    """
    if facts.state is not _F.DEAD_LETTER:
        return Refusal("not_dead", f"the order is {facts.state}")
    stop = guards.check(facts.guards, now)
    if stop is not None:
        return Refusal(stop.reason, _GUARD_WORDS.get(stop.reason, f"stopped: {stop.reason.replace('_', ' ')}"))
    if facts.barred and not _reduces(facts):
        return Refusal("not_entitled", facts.barred)
    if facts.webhook and facts.filled_qty > 0:
        return Refusal(
            "partially_filled",
            f"the receiver has confirmed {plain(facts.filled_qty)} of {plain(facts.qty)}, and a plain ack of the whole "
            "order would book that again; settle the rest with the follower",
        )
    return _price_refusal(facts) or _size_refusal(facts)


def reopened(facts: RedriveFacts) -> FollowerState:
    """`retry` where no attempt can have arrived, else `unknown`: a broker is asked first, a receiver de-duplicates."""
    never_arrived = all(outcome == "retryable" for outcome in facts.outcomes)
    return _F.RETRY if never_arrived and not facts.filled_qty else _F.UNKNOWN


def _reduces(facts: RedriveFacts) -> bool:
    """Whether the order takes from what the follower holds: that passes whatever its subscriber has."""
    return facts.terms.effect is Effect.REDUCE or facts.follower.holding * facts.side.sign < 0


def permitted(facts: RedriveFacts) -> tuple[Decimal, str]:
    """The quantity that the order might have now, and what bounds it."""
    follower, side = facts.follower, facts.side
    held = max(-follower.holding * side.sign, ZERO)
    if facts.terms.effect is Effect.REDUCE or (facts.hedge and held > 0):
        ahead = follower.ahead(side)
        return max(held - ahead, ZERO), "held now and not being closed already" if ahead else "held now"
    if facts.hedge:
        if side is Side.SELL and not follower.allow_short:
            return ZERO, "the hedge would be a short, which the follower does not allow"
        return facts.open_qty, "what was hedged has not changed"
    sizing = size(facts.terms, follower, facts.instrument)
    if sizing.skip is None and sizing.side is not side:
        return ZERO, f"sized now, it would be a {sizing.side}"
    return sizing.qty, sizing.trace[-1].why if sizing.skip else "by the follower's present terms, cap and holding"


def _price_refusal(facts: RedriveFacts) -> Refusal | None:
    """For opens: the price must be known, and near the one that the order was sized at."""
    price, sized_at = facts.price, facts.sized_at
    if facts.terms.effect is Effect.REDUCE:
        return None
    if price is None or price <= 0 or sized_at is None or sized_at <= 0:
        return Refusal("missing_price", "no present price is known to hold the order's price against")
    off_bps = abs(price - sized_at) / sized_at * 10_000
    if off_bps <= facts.collar_bps:
        return None
    return Refusal(
        "price_collar",
        f"the price is {plain(price)} now, {plain(off_bps.quantize(Decimal(1)))} bps from {plain(sized_at)}, at which "
        f"the order was sized; the collar is {plain(facts.collar_bps)} bps",
    )


def _size_refusal(facts: RedriveFacts) -> Refusal | None:
    most, why = permitted(facts)
    if facts.open_qty <= most:
        return None
    return Refusal("size", f"{plain(facts.open_qty)} would be sent, and {plain(most)} is permitted: {why}")


def _at(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")

"""What crosses the border of the mirroring workflows: plain values, no secrets, small enough for a payload.

The workflows' inputs are here and not with them, as the sandbox would make these classes anew for every run.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain.admission import Intent
from domain.errors import InvalidInput
from domain.orders import FollowerState, ManagerState

# Kinds of manager orders: a manager's, the kill path's exit of all that followers hold, reconciliation's correction.
ORDER, FLATTEN, CORRECTION = "order", "flatten", "correction"


@dataclass(frozen=True, slots=True)
class MirrorOrderInput:
    """One manager order. `fingerprint` is the SHA-256 of the request, `source` is `api` or `queue`.

    `kind` is `order`, `flatten` (all that followers hold of the symbol) or `correction` (exactly the quantity).
    `only_follower_id` leaves all others out, and the vault's own position alone.
    """

    tenant_id: str
    mo_id: str
    intent: Intent
    meta: dict[str, Any]
    fingerprint: str
    source: str
    actor: str
    kind: str = ORDER
    only_follower_id: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of the order at the door. `code`, `reason` and `field` say why it was refused.

    `routes` are, for each page, those that it has something to send by. `wave` and the two after it are the platform's
    settings, which workflows must not read themselves; they bound what one manager order has under way at once.
    `expires_at` is when what is then still open of an opening order is called off; reductions have none. `waits_until`
    is when the session opens that an accepted order waits for in state `received`; None for one that has begun.
    """

    mo_id: str
    accepted: bool
    state: ManagerState
    fingerprint: str
    code: str | None = None
    reason: str | None = None
    field: str | None = None
    followers: int = 0
    shards: int = 0
    routes: tuple[tuple[str, ...], ...] = ()
    wave: bool = True
    waves_at_once: int = 50
    children_starting: int = 50
    expires_at: datetime | None = None
    waits_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """`cancelled` orders had never been sent; `in_flight` ones are being cancelled where the venue allows it.

    `state` is the manager order's: another than was asked for where something else came first.
    """

    mo_id: str
    cancelled: int
    in_flight: int
    state: ManagerState = ManagerState.CANCELLED


@dataclass(frozen=True, slots=True)
class OrderRef:
    """A follower order as its workflow is started: where it stands after the wave."""

    fo_id: str
    follower_id: str
    side: str
    qty: Decimal
    route: str
    state: FollowerState
    attempts: int
    wait_ms: int
    leg: int = 0
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class ShardInput:
    """`children_starting` bounds how many children are being started at once; a page bounds how many there are.

    `held`: only orders that are due get their owners, until `release`. `wave`: the page sends its own first wave, as
    those that began before waves belonged to the manager order do.
    """

    tenant_id: str
    mo_id: str
    vault_id: str
    symbol: str
    tif: str
    shard: int
    wave: bool
    children_starting: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class RedriveRequest:
    """Send the order of this dead letter again, if everything still allows it."""

    dead_letter_id: int
    actor: str


@dataclass(frozen=True, slots=True)
class RedriveVerdict:
    """`redriven`: the order is under way again in `state`; else `code` and `reason` say why nothing has changed."""

    dead_letter_id: int
    fo_id: str
    redriven: bool
    state: FollowerState
    attempts: int
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FollowerOrderInput:
    """The order as the wave left it (or untouched), and the manager's time in force.

    With `redrive` it is a dead letter's order, which is looked at anew first.
    """

    tenant_id: str
    order: OrderRef
    tif: str
    redrive: RedriveRequest | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Follower orders of a manager order, counted by state."""

    mo_id: str
    state: ManagerState
    counts: dict[str, int]


# An order that is never confirmed is given up this long after its time in force has ended.
CONFIRM_WINDOW_H = {"day": 36, "gtc": 24 * 91, "ioc": 1, "fok": 1}


def require_aware(value: datetime, field: str) -> datetime:
    """Raises InvalidInput for a time without an offset."""
    if value.tzinfo is None:
        raise InvalidInput(field, "needs a time zone, for example 2026-01-31T12:00:00Z")
    return value

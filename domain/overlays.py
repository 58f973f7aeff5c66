"""Overlays: rules laid over a vault or one follower for a time (SPEC section 3, flip mode; section 5, kill paths).

Which of several counts:

- flip: one at a time. The follower's own beats the vault's; among equals the one started last wins whole, so that a
  persona of one and the amplify of another never mix and amplifies never add up.
- boost: all that are active add up, as each is a delta of its own.
- maintenance: one is enough.
- halt: the strictest (halt_all > flatten > halt_opens).

An overlay counts while starts_at <= now < expires_at and nobody has ended it; without expires_at until it is lifted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.admission import Halt
from domain.errors import InvalidInput
from domain.personas import PERSONAS
from domain.trace import plain

MIN_AMPLIFY, MAX_AMPLIFY = Decimal("-0.9"), Decimal(1)
MIN_DELTA, MAX_DELTA = Decimal(-1), Decimal(1)
MAX_REASON = 500
_PLACES = 12
STRICTNESS = (Halt.HALT_OPENS, Halt.FLATTEN, Halt.HALT_ALL)


class OverlayKind(StrEnum):
    FLIP = "flip"
    BOOST = "boost"
    MAINTENANCE = "maintenance"
    HALT = "halt"


class EndReason(StrEnum):
    """`expired`: by its own time; `cancelled`: by somebody before that; `lifted`: one that had no time."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LIFTED = "lifted"


# Shortest and longest time from start to expiry; the kinds that are not here last until they are lifted.
TTL: Mapping[OverlayKind, tuple[timedelta, timedelta]] = {
    OverlayKind.FLIP: (timedelta(minutes=30), timedelta(minutes=60)),
    OverlayKind.BOOST: (timedelta(minutes=5), timedelta(days=7)),
}
# What each kind says besides its scope and time; `flip` needs one of its two, the others need all of theirs.
_FIELDS: Mapping[OverlayKind, frozenset[str]] = {
    OverlayKind.FLIP: frozenset({"persona", "amplify"}),
    OverlayKind.BOOST: frozenset({"persona", "delta"}),
    OverlayKind.MAINTENANCE: frozenset(),
    OverlayKind.HALT: frozenset({"level"}),
}


@dataclass(frozen=True, slots=True)
class Params:
    """What an overlay does; which of the fields are set follows from its kind."""

    persona: str | None = None
    amplify: Decimal | None = None
    delta: Decimal | None = None
    level: Halt | None = None

    def to_json(self) -> dict[str, str]:
        """The fields that are set, decimals as exact strings."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {name: plain(value) for name, value in given.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Params":
        amplify, delta, level = (stored.get(name) for name in ("amplify", "delta", "level"))
        return cls(
            persona=stored.get("persona"),
            amplify=None if amplify is None else Decimal(amplify),
            delta=None if delta is None else Decimal(delta),
            level=None if level is None else Halt(level),
        )


@dataclass(frozen=True, slots=True)
class NewOverlay:
    """An overlay as somebody asks for it. Without `vault_id` it is the tenant's, which only a halt can be."""

    kind: OverlayKind
    vault_id: str | None
    follower_id: str | None = None
    ttl: timedelta | None = None
    params: Params = Params()
    reason: str = ""

    def check(self) -> None:
        """Raises InvalidInput naming the field: ttl_minutes, persona, amplify, delta, level, reason, vault_id."""
        if self.vault_id is None and (self.kind is not OverlayKind.HALT or self.follower_id is not None):
            raise InvalidInput("vault_id", "is needed for everything but a halt of the whole tenant")
        check_ttl(self.kind, self.ttl)
        _check_fields(self.kind, self.params)
        if self.params.persona is not None and self.params.persona not in PERSONAS:
            raise InvalidInput("persona", f"must be one of {', '.join(PERSONAS)}")
        _check_decimal("amplify", self.params.amplify, MIN_AMPLIFY, MAX_AMPLIFY)
        _check_decimal("delta", self.params.delta, MIN_DELTA, MAX_DELTA)
        if len(self.reason) > MAX_REASON or not self.reason.isprintable():
            raise InvalidInput("reason", f"must be at most {MAX_REASON} printable characters")


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay as it is stored."""

    overlay_id: str
    kind: OverlayKind
    vault_id: str | None
    follower_id: str | None
    params: Params
    starts_at: datetime
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None

    def active(self, now: datetime) -> bool:
        """Whether it counts at `now`; its expiry needs nobody to carry it out."""
        running = self.starts_at <= now and (self.expires_at is None or now < self.expires_at)
        return running and (self.ended_at is None or now < self.ended_at)

    def concerns(self, follower_id: str) -> bool:
        return self.follower_id is None or self.follower_id == follower_id


def check_ttl(kind: OverlayKind, ttl: timedelta | None) -> None:
    """Raises InvalidInput `ttl_minutes` where the kind has no time, or for a time outside its range."""
    if kind not in TTL:
        if ttl is not None:
            raise InvalidInput("ttl_minutes", f"a {kind} lasts until it is lifted and takes no time")
        return
    shortest, longest = TTL[kind]
    if ttl is None or not shortest <= ttl <= longest:
        raise InvalidInput("ttl_minutes", f"must be {_minutes(shortest)} to {_minutes(longest)} for a {kind}")


def extended(overlay: Overlay, ttl: timedelta, now: datetime) -> datetime:
    """When it expires if it lasts `ttl` from its start on. Asking for the time it has already is no fault.

    Raises InvalidInput `ttl_minutes` past the kind's longest time or for less than it has, `overlay_id` for one that
    is over or has no time.
    """
    if overlay.expires_at is None:
        raise InvalidInput("overlay_id", f"a {overlay.kind} lasts until it is lifted; there is nothing to extend")
    if not overlay.active(now):
        raise InvalidInput("overlay_id", "it is over; start another one")
    check_ttl(overlay.kind, ttl)
    until = overlay.starts_at + ttl
    if until < overlay.expires_at:
        has = _minutes(overlay.expires_at - overlay.starts_at)
        raise InvalidInput("ttl_minutes", f"it lasts {has} minutes already; end it to make it shorter")
    return until


def effective_flip(overlays: Iterable[Overlay], now: datetime, follower_id: str) -> Overlay | None:
    """The one flip that counts for the follower, of its vault's overlays."""
    flips = [o for o in overlays if o.kind is OverlayKind.FLIP and o.active(now) and o.concerns(follower_id)]
    # The id breaks the tie of two that started at the same instant, so that every reader sees the same one win.
    return max(flips, key=lambda o: (o.follower_id is not None, o.starts_at, o.overlay_id), default=None)


def boosts_for(
    overlays: Iterable[Overlay], now: datetime, follower_id: str, persona: str | None
) -> tuple[Overlay, ...]:
    """The boosts of that persona that count for the follower, by id; their deltas add up."""
    found = (
        o
        for o in overlays
        if o.kind is OverlayKind.BOOST and o.params.persona == persona and o.active(now) and o.concerns(follower_id)
    )
    return tuple(sorted(found, key=lambda o: o.overlay_id))


def total_delta(boosts: Iterable[Overlay]) -> Decimal:
    return sum((o.params.delta or Decimal(0) for o in boosts), Decimal(0))


def strongest(halts: Iterable[Halt | None]) -> Halt | None:
    """The strictest of the levels; None where nothing is halted."""
    return max((h for h in halts if h is not None), key=STRICTNESS.index, default=None)


def in_force(*levels: str | None) -> Halt | None:
    """The strictest of the levels as they are stored: of platform, tenant, vault and follower."""
    return strongest(None if level is None else Halt(level) for level in levels)


def _check_fields(kind: OverlayKind, params: Params) -> None:
    takes = _FIELDS[kind]
    for name in params.__slots__:
        if getattr(params, name) is not None and name not in takes:
            raise InvalidInput(name, f"a {kind} does not take it")
    if kind is OverlayKind.FLIP:
        if params.persona is None and not params.amplify:
            raise InvalidInput("amplify", "or a persona is needed; otherwise the flip would change nothing")
        return
    for name in sorted(takes):
        if getattr(params, name) is None:
            raise InvalidInput(name, f"is needed for a {kind}")


def _check_decimal(name: str, value: Decimal | None, least: Decimal, most: Decimal) -> None:
    if value is None:
        return
    if not value.is_finite() or not least <= value <= most:
        raise InvalidInput(name, f"must be {plain(least)} to {plain(most)}")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_PLACES:
        raise InvalidInput(name, f"must have at most {_PLACES} decimal places")
    if name == "delta" and value == 0:
        raise InvalidInput(name, "must not be zero; the boost would change nothing")


def _minutes(time: timedelta) -> int:
    return int(time.total_seconds() // 60)

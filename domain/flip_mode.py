"""What crosses the border of the workflow that owns a flip's or a boost's time: plain values, no secrets."""

from dataclasses import dataclass
from datetime import timedelta

from domain.overlays import EndReason, NewOverlay, Overlay
from domain.requests import Once


@dataclass(frozen=True, slots=True)
class StartOverlay:
    """An overlay to be started, as checked by the caller. `actor` is what its audit events name."""

    tenant_id: str
    overlay_id: str
    new: NewOverlay
    once: Once
    actor: str


@dataclass(frozen=True, slots=True)
class FlipModeInput:
    """`stored` is set by a run that continues an earlier one: the row is there, and has this expiry."""

    start: StartOverlay
    stored: Overlay | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The overlay as it stands, and the fingerprint of the request that started it."""

    overlay: Overlay
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ExtendOverlay:
    """`ttl` counts from the overlay's start."""

    tenant_id: str
    overlay_id: str
    ttl: timedelta
    actor: str


@dataclass(frozen=True, slots=True)
class EndOverlay:
    tenant_id: str
    overlay_id: str
    reason: EndReason
    actor: str


@dataclass(frozen=True, slots=True)
class Extension:
    """The argument of the workflow's update `extend`."""

    ttl: timedelta
    actor: str

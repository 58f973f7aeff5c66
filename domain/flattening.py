"""Flatten: stop what opens, call off what is under way, and sell all that followers hold (SPEC section 5)."""

from dataclasses import dataclass, field
from decimal import Decimal

from domain.orders import Side

ROUNDS = 3  # what is still held after so many is for a person


@dataclass(frozen=True, slots=True)
class FlattenInput:
    """Whom the halt of level flatten concerns: a tenant, one vault, or one of its followers."""

    tenant_id: str
    halt_id: str
    actor: str
    vault_id: str | None = None
    follower_id: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What the followers of a vault hold of a symbol: `side` closes it, `qty` is the largest holding."""

    vault_id: str
    symbol: str
    side: Side
    qty: Decimal
    followers: int


@dataclass(frozen=True, slots=True)
class FlattenResult:
    """`orders` were placed; `left` is what is still held, by vault and symbol, with how many followers hold it."""

    called_off: int
    orders: list[str] = field(default_factory=list)
    left: list[Held] = field(default_factory=list)

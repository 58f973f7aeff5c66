"""The guards that are checked again immediately before each send (SPEC section 5.4)."""

from dataclasses import dataclass
from datetime import datetime

from domain.admission import Halt
from domain.calendars import Market, barred, shut
from domain.orders import CALLED_OFF, FollowerState, ManagerState, OrderType
from domain.sessions import TradingHours
from domain.sizing import Effect
from domain.venues import Flag

# What `check` asks, in its order, as an explanation names it; the version goes up whenever the list changes.
GUARDS_VERSION = "3"
GUARDS = (
    "kill_switch", "halt", "maintenance", "manager_order", "expiry", "trading_session", "instrument", "market_session",
    "endpoint", "credential",
)  # fmt: skip

# Why a follower's order ends with its manager order.
CALL_OFF_REASONS = {ManagerState.CANCELLED: "manager_order_cancelled", ManagerState.EXPIRED: "expired"}


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """What is true now, read in the transaction that claims the attempt.

    `market` is None for an instrument that trades at all times.
    """

    kill_switch: bool
    maintenance: bool
    halt: Halt | None
    manager_state: ManagerState
    effect: Effect
    expires_at: datetime | None
    endpoint_disabled: bool
    hours: TradingHours | None = None
    credential_broken: bool = False
    market: Market | None = None
    flags: frozenset[Flag] = frozenset()
    order_type: OrderType = OrderType.MARKET


@dataclass(frozen=True, slots=True)
class Stop:
    """Why nothing is sent, and the state that follows for an order which has never reached the other side."""

    state: FollowerState
    reason: str


def check(facts: GuardFacts, now: datetime) -> Stop | None:
    """None when the send may start."""
    opens = facts.effect is Effect.OPEN
    if facts.kill_switch:
        return Stop(FollowerState.KILLED, "kill_switch")
    if facts.halt is Halt.HALT_ALL or (facts.halt is not None and opens):
        return Stop(FollowerState.KILLED, f"vault_{facts.halt}")
    if facts.maintenance:
        return Stop(FollowerState.KILLED, "vault_maintenance")
    if facts.manager_state in CALLED_OFF:
        return Stop(FollowerState.CANCELLED, CALL_OFF_REASONS[facts.manager_state])
    if opens and facts.expires_at is not None and facts.expires_at <= now:
        return Stop(FollowerState.CANCELLED, CALL_OFF_REASONS[ManagerState.EXPIRED])
    if opens and facts.hours is not None and not facts.hours.is_open(now):
        return Stop(FollowerState.CANCELLED, "outside_session")
    if (reason := _market_stop(facts)) is not None:
        return Stop(FollowerState.CANCELLED, reason)
    if facts.endpoint_disabled:
        return Stop(FollowerState.DEAD_LETTER, "endpoint_disabled")
    if facts.credential_broken:
        return Stop(FollowerState.DEAD_LETTER, "credential_broken")
    return None


def _market_stop(facts: GuardFacts) -> str | None:
    """By what the instrument's venue says of it, and by its exchange's sessions."""
    bar = barred(facts.flags, facts.effect, facts.order_type)
    return shut(facts.market, facts.effect) if bar is None else bar.code

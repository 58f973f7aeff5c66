"""The guards that are checked again immediately before each send (SPEC section 5.4)."""

from dataclasses import dataclass
from datetime import datetime

from domain.admission import Halt
from domain.orders import FollowerState, ManagerState
from domain.sizing import Effect


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """What is true now, read in the transaction that claims the attempt."""

    kill_switch: bool
    maintenance: bool
    halt: Halt | None
    manager_state: ManagerState
    effect: Effect
    expires_at: datetime | None
    endpoint_disabled: bool


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
    if facts.manager_state is ManagerState.CANCELLED:
        return Stop(FollowerState.CANCELLED, "manager_order_cancelled")
    if opens and facts.expires_at is not None and facts.expires_at <= now:
        return Stop(FollowerState.CANCELLED, "expired")
    if facts.endpoint_disabled:
        return Stop(FollowerState.DEAD_LETTER, "endpoint_disabled")
    return None

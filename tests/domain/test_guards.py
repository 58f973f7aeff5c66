from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.admission import Halt
from domain.calendars import Market
from domain.guards import GuardFacts, Stop, check
from domain.orders import FOLLOWER_TRANSITIONS, FollowerState, ManagerState
from domain.sessions import parse_hours
from domain.sizing import Effect
from domain.venues import Flag

NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)
OPEN = GuardFacts(
    kill_switch=False, maintenance=False, halt=None, manager_state=ManagerState.DISPATCHING, effect=Effect.OPEN,
    expires_at=None, endpoint_disabled=False,
)  # fmt: skip
REDUCE = replace(OPEN, effect=Effect.REDUCE)
CLOSED = parse_hours({"time_zone": "UTC", "days": ["fri"], "open": "15:01", "close": "16:00"})
NOON = parse_hours({"time_zone": "UTC", "days": ["fri"], "open": "15:00", "close": "15:01"})
TRADING = Market("XNYS", covered=True, closes_at=NOW + timedelta(hours=1))
SHUT = Market("XNYS", covered=True, opens_at=NOW + timedelta(hours=1))
UNKNOWN = Market("XNYS", covered=False)
F = FollowerState
STOPS = [
    (replace(OPEN, kill_switch=True), F.KILLED, "kill_switch"),
    (replace(REDUCE, kill_switch=True), F.KILLED, "kill_switch"),
    (replace(OPEN, halt=Halt.HALT_OPENS), F.KILLED, "vault_halt_opens"),
    (replace(OPEN, halt=Halt.FLATTEN), F.KILLED, "vault_flatten"),
    (replace(OPEN, halt=Halt.HALT_ALL), F.KILLED, "vault_halt_all"),
    (replace(REDUCE, halt=Halt.HALT_ALL), F.KILLED, "vault_halt_all"),
    (replace(REDUCE, maintenance=True), F.KILLED, "vault_maintenance"),
    (replace(OPEN, manager_state=ManagerState.CANCELLED), F.CANCELLED, "manager_order_cancelled"),
    (replace(OPEN, expires_at=NOW), F.CANCELLED, "expired"),
    (replace(OPEN, manager_state=ManagerState.EXPIRED), F.CANCELLED, "expired"),
    (replace(OPEN, hours=CLOSED), F.CANCELLED, "outside_session"),
    (replace(OPEN, market=SHUT), F.CANCELLED, "market_closed"),
    (replace(OPEN, market=UNKNOWN), F.CANCELLED, "calendar_unknown"),
    (replace(REDUCE, flags=frozenset({Flag.HALTED})), F.CANCELLED, "instrument_halted"),
    (replace(REDUCE, flags=frozenset({Flag.LIMIT_ONLY})), F.CANCELLED, "instrument_limit_only"),
    (replace(OPEN, flags=frozenset({Flag.CLOSE_ONLY})), F.CANCELLED, "instrument_close_only"),
    (replace(REDUCE, endpoint_disabled=True), F.DEAD_LETTER, "endpoint_disabled"),
    (replace(REDUCE, credential_broken=True), F.DEAD_LETTER, "credential_broken"),
]


@pytest.mark.parametrize(("facts", "state", "reason"), STOPS)
def test_a_guard_stops_the_send_and_says_why(facts: GuardFacts, state: FollowerState, reason: str):
    assert check(facts, NOW) == Stop(state, reason)


@pytest.mark.parametrize(
    "facts",
    [
        OPEN,
        REDUCE,
        replace(OPEN, expires_at=NOW + timedelta(microseconds=1)),
        replace(REDUCE, expires_at=NOW - timedelta(days=1)),
        replace(REDUCE, halt=Halt.HALT_OPENS),
        replace(REDUCE, halt=Halt.FLATTEN),
        replace(REDUCE, hours=CLOSED),
        replace(OPEN, hours=NOON),
        replace(OPEN, market=TRADING),
        replace(REDUCE, market=SHUT),
        replace(REDUCE, market=UNKNOWN),
        replace(REDUCE, flags=frozenset({Flag.CLOSE_ONLY})),
    ],
)
def test_nothing_else_stops_a_send(facts: GuardFacts):
    assert check(facts, NOW) is None


@pytest.mark.parametrize("source", [F.SIZED, F.RETRY])
def test_every_stop_is_a_legal_end_for_an_order_that_has_not_been_taken(source: FollowerState):
    assert {stop.state for facts, _, _ in STOPS if (stop := check(facts, NOW))} <= FOLLOWER_TRANSITIONS[source]


def test_the_kill_switch_is_named_before_anything_else():
    everything = replace(
        OPEN, kill_switch=True, maintenance=True, halt=Halt.HALT_ALL, manager_state=ManagerState.CANCELLED,
        expires_at=NOW, endpoint_disabled=True,
    )  # fmt: skip
    assert check(everything, NOW) == Stop(F.KILLED, "kill_switch")

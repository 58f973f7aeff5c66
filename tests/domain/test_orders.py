from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from domain.errors import IllegalTransition
from domain.orders import (
    FOLLOWER_ENDS,
    FOLLOWER_ERRORS,
    FOLLOWER_TRANSITIONS,
    MANAGER_TRANSITIONS,
    FollowerState,
    ManagerState,
    Side,
    check_follower,
    check_manager,
)

# Written out again on purpose: the machine may only change together with this page.
MANAGER = {
    "received": {"rejected", "dispatching", "cancelled", "expired"},
    "dispatching": {"settled", "settled_with_errors", "cancelled", "expired"},
    "rejected": set(),
    "settled": set(),
    "settled_with_errors": {"cancelled"},
    "cancelled": set(),
    "expired": set(),
}
FOLLOWER = {
    "sized": {"sent", "killed", "cancelled", "dead_letter"},
    "sent": {
        "ack", "retry", "unknown", "partially_filled", "confirmed", "rejected", "cancelled", "dead_letter",
    },
    "retry": {"sent", "unknown", "killed", "cancelled", "dead_letter"},
    "unknown": {
        "sent", "retry", "ack", "partially_filled", "confirmed", "rejected", "cancelled", "dead_letter",
    },
    "ack": {"partially_filled", "confirmed", "rejected", "cancelled", "dead_letter"},
    "partially_filled": {"partially_filled", "confirmed", "cancelled", "dead_letter"},
    "dead_letter": {"retry", "unknown", "cancelled"},
    "skipped": set(),
    "shadowed": set(),
    "confirmed": set(),
    "rejected": set(),
    "cancelled": set(),
    "killed": set(),
}  # fmt: skip
FOLLOWER_STARTS = {"sized", "skipped", "shadowed", "killed"}


_S = TypeVar("_S", bound=StrEnum)


def _plain(table: Mapping[_S, frozenset[_S]]) -> dict[str, set[str]]:
    return {source.value: {target.value for target in targets} for source, targets in table.items()}


def _reachable(table: Mapping[str, set[str]], starts: set[str]) -> set[str]:
    found, fresh = set(starts), set(starts)
    while fresh:
        fresh = set().union(*(table[state] for state in fresh)) - found
        found |= fresh
    return found


def test_the_tables_are_as_listed_here():
    assert _plain(MANAGER_TRANSITIONS) == MANAGER
    assert _plain(FOLLOWER_TRANSITIONS) == FOLLOWER


def test_the_tables_know_every_state():
    assert set(MANAGER_TRANSITIONS) == set(ManagerState)
    assert set(FOLLOWER_TRANSITIONS) == set(FollowerState)


@pytest.mark.parametrize("source", ManagerState)
@pytest.mark.parametrize("target", ManagerState)
def test_a_manager_order_moves_by_the_table_only(source: ManagerState, target: ManagerState):
    if target in MANAGER[source]:
        check_manager(source, target)
    else:
        with pytest.raises(IllegalTransition, match=f"manager_order: no transition {source} -> {target}"):
            check_manager(source, target)


@pytest.mark.parametrize("source", FollowerState)
@pytest.mark.parametrize("target", FollowerState)
def test_a_follower_order_moves_by_the_table_only(source: FollowerState, target: FollowerState):
    if target in FOLLOWER[source]:
        check_follower(source, target)
    else:
        with pytest.raises(IllegalTransition, match=f"follower_order: no transition {source} -> {target}"):
            check_follower(source, target)


def test_every_state_is_reachable():
    assert _reachable(MANAGER, {"received"}) == set(MANAGER)
    assert _reachable(FOLLOWER, FOLLOWER_STARTS) == set(FOLLOWER)


def test_ends_have_no_way_out_except_a_dead_letters_redrive():
    assert {s.value for s in FOLLOWER_ENDS} == {
        "skipped", "shadowed", "confirmed", "rejected", "cancelled", "killed", "dead_letter",
    }  # fmt: skip
    assert {s for s in FOLLOWER_ENDS if FOLLOWER_TRANSITIONS[s]} == {FollowerState.DEAD_LETTER}
    assert FOLLOWER_ERRORS < FOLLOWER_ENDS


def test_every_state_can_still_end():
    for state in FollowerState:
        assert _reachable(FOLLOWER, {state.value}) & {s.value for s in FOLLOWER_ENDS}


def test_sides_have_opposite_signs():
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)

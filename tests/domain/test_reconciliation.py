"""Why a position is not what it should be, and what is done about it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.expectation import Cause
from domain.orders import FollowerState as F
from domain.ports import VenueStatus
from domain.reconciliation import ActionKind, DriftFinding, Policy, classify
from tests.domain.drifting import PRICE, T0, Desk

ALL = Decimal(1)


def shape(finding: DriftFinding) -> tuple[Any, Any, Any]:
    """Cause, kind of action, quantity."""
    action = finding.action
    return finding.cause, action and action.kind, action and action.qty


def held_ten(**more: Any) -> Desk:
    desk = Desk(**more)
    desk.order("buy", 10)
    return desk


def test_a_follower_that_holds_what_it_should_has_no_drift():
    finding = held_ten().look()
    assert (finding.expected, finding.booked, finding.actual) == (10, 10, 10)
    assert (finding.cause, finding.action, finding.is_drift, finding.evidence) == (None, None, False, {})


def test_a_lost_stream_frame_does_not_leave_a_position_unknown_for_ever():
    desk = Desk()
    fo_id = desk.order("buy", 10, state=F.DEAD_LETTER, venue_filled=10)
    first, second = desk.settle()
    assert shape(first) == (Cause.MISSED_FILL, ActionKind.BOOK_FILL, 10)
    assert first.evidence["missed"] == [{"fo_id": fo_id, "ref": f"ref-{fo_id}", "filled": "10", "booked": "0"}]
    assert (second.cause, second.booked) == (None, 10)


def test_a_resync_does_not_re_open_what_the_follower_closed_by_hand():
    desk = held_ten()
    desk.by_hand("sell", 4)
    first, second = desk.settle()
    assert shape(first) == (Cause.OWN_TRADE, ActionKind.ADOPT, -4)
    assert (second.expected, second.booked, second.actual, second.cause) == (6, 6, 6, None)


def test_a_follower_that_turned_the_position_around_is_taken_down_to_nothing():
    desk = held_ten()
    desk.by_hand("sell", 25)
    first, second = desk.settle()
    assert shape(first) == (Cause.OWN_TRADE, ActionKind.ADOPT, -10)
    # The short is its own: known, and none of our business.
    assert (second.expected, second.booked, second.actual) == (0, 0, -15)
    assert shape(second) == (Cause.UNKNOWN, None, None)


def test_what_the_follower_bought_on_top_is_its_own():
    desk = held_ten()
    desk.by_hand("buy", 5)
    assert shape(desk.look()) == (Cause.OWN_TRADE, None, None)
    assert desk.look().evidence["own"][0]["filled"] == "5"


def test_what_was_in_the_account_before_us_is_unknown_and_hides_no_missed_exit():
    desk = Desk(actual=Decimal(1_000))
    desk.order("buy", 10)
    assert shape(desk.look()) == (Cause.UNKNOWN, None, None)
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=ALL)
    assert shape(desk.look()) == (Cause.KILL_OR_SKIP, ActionKind.REDUCE, -10)


def test_shares_that_vanish_without_an_order_are_unknown_and_nothing_is_done():
    desk = held_ten()
    desk.actual -= 3
    assert shape(desk.look()) == (Cause.UNKNOWN, None, None)


def test_a_missed_exit_is_corrected_by_a_reduction():
    desk = held_ten()
    missed = desk.order("sell", 10, state=F.DEAD_LETTER, fraction=ALL)
    first, second = desk.settle()
    assert shape(first) == (Cause.KILL_OR_SKIP, ActionKind.REDUCE, -10)
    assert first.evidence["orders"]["kill_or_skip"][0]["fo_id"] == missed
    assert (second.cause, second.booked) == (None, 0)


def test_a_missed_exit_that_the_follower_made_up_for_by_hand_is_taken_over():
    desk = held_ten()
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=ALL)
    desk.by_hand("sell", 10)
    first, second = desk.settle()
    assert shape(first) == (Cause.OWN_TRADE, ActionKind.ADOPT, -10)
    assert (second.cause, second.booked) == (None, 0)


@pytest.mark.parametrize("state", [F.KILLED, F.REJECTED, F.DEAD_LETTER, F.CANCELLED])
def test_an_order_that_never_filled_is_a_shortfall_that_only_the_follower_s_policy_opens(state: F):
    desk = Desk(policy=Policy.CORRECT)
    desk.order("buy", 10, state=state)
    assert shape(desk.look()) == (Cause.KILL_OR_SKIP, None, None)
    assert desk.look().evidence["held_back"] == "the follower's policy opens nothing"
    assert shape(desk.look(policy=Policy.CORRECT_AND_OPEN)) == (Cause.KILL_OR_SKIP, ActionKind.OPEN, 10)


def test_nothing_is_opened_when_the_manager_s_order_has_expired():
    desk = Desk()
    desk.order("buy", 10, state=F.DEAD_LETTER, expires_at=T0 + timedelta(minutes=1))
    assert shape(desk.look()) == (Cause.KILL_OR_SKIP, None, None)
    assert desk.look().evidence["held_back"] == "the manager's order has expired"


def test_nothing_is_opened_for_a_webhook_follower():
    desk = Desk()
    desk.order("buy", 10, state=F.DEAD_LETTER)
    finding = desk.look(account=None, is_webhook=True)
    assert (shape(finding), finding.actual) == ((Cause.KILL_OR_SKIP, None, None), 0)
    assert finding.evidence["source"] == "receipts"


def test_nothing_is_opened_after_the_follower_closed_by_hand():
    desk = held_ten()
    desk.order("buy", 5, state=F.DEAD_LETTER)
    desk.by_hand("sell", 10)
    assert [shape(f)[1] for f in desk.settle()] == [ActionKind.ADOPT, None]
    assert desk.look().expected == 0


def test_what_a_cap_took_is_called_so_and_left_alone():
    desk = Desk()
    desk.order("buy", 6, wanted=10, capped=True)
    assert shape(desk.look()) == (Cause.CAP, None, None)


def test_a_cap_stays_closed_when_the_rest_of_the_gap_is_opened():
    desk = Desk()
    desk.order("buy", 3, wanted=5, capped=True)
    desk.order("buy", 6, state=F.DEAD_LETTER)
    assert shape(desk.look()) == (Cause.KILL_OR_SKIP, ActionKind.OPEN, 6)


def test_less_than_a_step_is_rounding():
    desk = Desk()
    desk.order("buy", 9, wanted=Decimal("9.5"))
    assert shape(desk.look()) == (Cause.ROUNDING, None, None)
    held = held_ten()
    held.actual -= Decimal("0.000001")
    assert shape(held.look()) == (Cause.ROUNDING, None, None)


@pytest.mark.parametrize("state", [F.SIZED, F.SENT, F.RETRY, F.UNKNOWN, F.ACK, F.PARTIALLY_FILLED])
def test_what_is_under_way_is_no_drift_yet(state: F):
    desk = held_ten()
    fo_id = desk.order("buy", 10, state=state, venue_filled=4)
    finding = desk.look()
    assert (shape(finding), finding.is_drift) == ((Cause.IN_FLIGHT, None, None), False)
    assert finding.evidence["in_flight"] == [fo_id]


def test_an_order_that_nobody_owns_any_more_and_that_ended_at_the_venue_is_a_missed_fill():
    desk = Desk()
    desk.order("buy", 10, state=F.ACK, venue_filled=10, is_stale=True)
    assert shape(desk.look()) == (Cause.MISSED_FILL, ActionKind.BOOK_FILL, 10)
    working = replace(desk.venue[0], order=replace(desk.venue[0].order, status=VenueStatus.PARTIALLY_FILLED))
    desk.venue = [working]
    assert shape(desk.look()) == (Cause.IN_FLIGHT, None, None)


def test_a_venue_that_cannot_be_read_proves_nothing():
    finding = held_ten().look(account=None, unreachable="bad_credentials: HTTP 401")
    assert (shape(finding), finding.actual) == ((Cause.UNKNOWN, None, None), None)
    assert finding.evidence["unreachable"] == "bad_credentials: HTTP 401"


def test_a_stopped_follower_gets_no_orders_but_its_books_are_kept():
    desk = held_ten()
    desk.order("sell", 10, state=F.KILLED, fraction=ALL)
    assert shape(desk.look(stopped=True)) == (Cause.KILL_OR_SKIP, None, None)
    desk.by_hand("sell", 10)
    assert shape(desk.look(stopped=True)) == (Cause.OWN_TRADE, ActionKind.ADOPT, -10)


def test_a_correction_that_failed_is_not_tried_again():
    desk = held_ten()
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=ALL)
    desk.act(desk.look(), fills=False)
    assert shape(desk.look()) == (Cause.KILL_OR_SKIP, None, None)
    assert desk.look().evidence["held_back"].startswith("an earlier correction did not fill")


def test_drift_is_in_basis_points_of_the_follower_s_base():
    desk = Desk()
    desk.order("buy", 10, price=PRICE - 5)
    assert desk.look().drift_bps == Decimal(-50)
    assert desk.look(base_usd=None).drift_bps is None


# --- for any history ---------------------------------------------------------------------------------------------

_QTY = st.integers(1, 20)
_ENDS = st.sampled_from([F.CONFIRMED, F.KILLED, F.REJECTED, F.DEAD_LETTER, F.CANCELLED, F.ACK, F.SKIPPED])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(["buy", "sell"]), _QTY, _ENDS, st.integers(0, 20)),
        st.tuples(st.just("reduce"), _QTY, _ENDS, st.sampled_from([Decimal(1), Decimal("0.5"), Decimal("0.3")])),
        st.tuples(st.just("hand"), st.sampled_from(["buy", "sell"]), _QTY),
        st.tuples(st.just("vanish"), _QTY),
    ),
    max_size=8,
)  # fmt: skip


def played(steps: list[Any], policy: Policy) -> Desk:
    desk = Desk(policy=policy)
    for step in steps:
        if step[0] == "open":
            _, side, qty, state, there = step
            seen = {} if state in {F.CONFIRMED, F.SKIPPED} else {"venue_filled": min(there, qty)}
            desk.order(side, 0 if state is F.SKIPPED else qty, wanted=qty, state=state, **seen)
        elif step[0] == "reduce" and desk.booked != 0:
            _, qty, state, fraction = step
            side = "sell" if desk.booked > 0 else "buy"
            desk.order(side, min(Decimal(qty), abs(desk.booked)), state=state, fraction=fraction)
        elif step[0] == "hand":
            desk.by_hand(step[1], step[2])
        elif step[0] == "vanish":
            desk.actual -= step[1]
    return desk


@given(_STEPS, st.sampled_from(Policy), st.booleans(), st.sampled_from([None, "timeout: no answer"]))
def test_every_history_has_one_finding_whatever_the_order_of_its_evidence(
    steps: list[Any], policy: Policy, stopped: bool, unreachable: str | None
):
    desk = played(steps, policy)
    e = desk.evidence(stopped=stopped, unreachable=unreachable, **({"account": None} if unreachable else {}))
    finding = classify(e)
    assert finding.cause is None or finding.cause in Cause
    backwards = replace(e, orders=e.orders[::-1], fills=e.fills[::-1])
    if e.account is not None:
        backwards = replace(backwards, account=replace(e.account, orders=e.account.orders[::-1]))
    assert classify(backwards) == finding == classify(e)
    if finding.cause is None and finding.actual is not None:
        assert finding.expected == finding.booked == finding.actual
    if finding.cause in {None, Cause.IN_FLIGHT, Cause.CAP, Cause.ROUNDING, Cause.UNKNOWN} or policy is Policy.OBSERVE:
        assert finding.action is None


def test_rounding_does_not_make_a_sync_oscillate():
    desk = Desk()
    for _ in range(5):
        desk.order("buy", 3, wanted=Decimal("3.4"))
        desk.order("sell", 1, fraction=Decimal("0.4"))
        assert [shape(f)[1] for f in desk.settle()] == [None]


def test_a_halt_of_opens_keeps_corrective_opens_away_and_no_reduction():
    short, long = Desk(), held_ten()
    short.order("buy", 10, state=F.DEAD_LETTER)
    long.order("sell", 10, state=F.DEAD_LETTER, fraction=ALL)
    assert shape(short.look(opens_stopped=True)) == (Cause.KILL_OR_SKIP, None, None)
    assert shape(long.look(opens_stopped=True)) == (Cause.KILL_OR_SKIP, ActionKind.REDUCE, -10)


@given(_STEPS, st.sampled_from([Policy.CORRECT, Policy.CORRECT_AND_OPEN]))
@settings(max_examples=300)
def test_repeated_runs_come_to_rest(steps: list[Any], policy: Policy):
    played(steps, policy).settle()


@given(_STEPS)
@settings(max_examples=300)
def test_an_action_never_opens_what_the_follower_closed_by_hand(steps: list[Any]):
    desk = played(steps, Policy.CORRECT_AND_OPEN)
    closed = {"buy": "sell", "sell": "buy"}
    hands = {closed[step[1]] for step in steps if step[0] == "hand"}
    for finding in desk.settle():
        action = finding.action
        if action is None or action.kind in {ActionKind.BOOK_FILL, ActionKind.ADOPT}:
            continue
        if action.kind is ActionKind.OPEN:
            assert ("buy" if action.qty > 0 else "sell") not in hands
        else:
            # A reduction brings the position nearer to nothing, never over it, and never sells what is not there.
            assert abs(finding.booked + action.qty) < abs(finding.booked)
            assert (finding.booked + action.qty) * finding.booked >= 0
            assert finding.actual is not None
            assert abs(action.qty) <= abs(finding.actual)


@given(_STEPS)
def test_what_is_taken_over_is_never_more_than_was_booked(steps: list[Any]):
    desk = played(steps, Policy.CORRECT)
    for finding in desk.settle():
        if finding.action is not None and finding.action.kind is ActionKind.ADOPT:
            assert 0 <= (finding.booked + finding.action.qty) / finding.booked < 1

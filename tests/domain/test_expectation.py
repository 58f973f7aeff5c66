"""What a follower should hold, order by order."""

from decimal import Decimal
from typing import Any

import pytest

from domain.expectation import Cause, expect
from domain.orders import FollowerState as F
from tests.domain.drifting import PRICE, Desk

HALF = Decimal("0.5")


def fold(desk: Desk, mark: Decimal | None = PRICE) -> Any:
    opening = desk.booked - sum((f.qty for f in desk.fills), Decimal(0))
    return expect(opening, desk.orders, desk.fills, desk.step, mark)


def test_what_was_held_before_the_first_order_is_expected():
    assert fold(Desk(booked=Decimal(7))).expected == 7


def test_a_follower_whose_orders_all_filled_holds_what_is_expected():
    desk = Desk()
    desk.order("buy", 10)
    desk.order("sell", 4, fraction=Decimal("0.4"))
    x = fold(desk)
    assert (x.expected, x.held, x.parts) == (6, 6, {})


@pytest.mark.parametrize(
    ("order", "cause", "missing"),
    [
        ({"state": F.KILLED}, Cause.KILL_OR_SKIP, 10),
        ({"state": F.REJECTED}, Cause.KILL_OR_SKIP, 10),
        ({"state": F.DEAD_LETTER, "booked": 3}, Cause.KILL_OR_SKIP, 7),
        ({"state": F.ACK}, Cause.IN_FLIGHT, 10),
        ({"state": F.PARTIALLY_FILLED, "booked": 4}, Cause.IN_FLIGHT, 6),
        ({"qty": 6, "wanted": 10, "capped": True}, Cause.CAP, 4),
        ({"qty": 0, "wanted": 10, "capped": True, "state": F.SKIPPED, "reason": "at_cap"}, Cause.CAP, 10),
        ({"qty": 0, "wanted": 10, "state": F.KILLED, "reason": "kill_switch"}, Cause.KILL_OR_SKIP, 10),
        ({"qty": 9, "wanted": Decimal("9.4")}, Cause.ROUNDING, Decimal("0.4")),
    ],
)
def test_what_an_opening_order_did_not_bring_is_kept_by_its_cause(order: dict[str, Any], cause: Cause, missing: Any):
    desk = Desk()
    desk.order("buy", order.pop("qty", 10), **order)
    x = fold(desk)
    assert x.parts == {cause: missing}
    assert x.expected - x.held == missing


def test_what_the_manager_took_back_is_not_expected():
    desk = Desk()
    desk.order("buy", 10, state=F.CANCELLED, reason="manager_order_cancelled", booked=2)
    assert (fold(desk).expected, fold(desk).parts) == (2, {})


@pytest.mark.parametrize("fraction", [None, Decimal(1), HALF])
def test_an_order_that_the_vault_was_given_back_never_was(fraction: Decimal | None):
    desk = Desk()
    desk.order("buy", 10)
    side = "buy" if fraction is None else "sell"
    desk.order(side, 5, state=F.KILLED, fraction=fraction, given_back=True)
    assert (fold(desk).expected, fold(desk).parts) == (10, {})


def test_an_exit_that_was_cancelled_when_others_were_out_is_still_expected():
    desk = Desk()
    desk.order("buy", 10)
    desk.order("sell", 10, state=F.CANCELLED, reason="manager_order_cancelled", booked=3, fraction=Decimal(1))
    assert (fold(desk).expected, fold(desk).parts) == (0, {Cause.KILL_OR_SKIP: -7})


def test_an_exit_ends_what_an_earlier_kill_left_open():
    desk = Desk()
    desk.order("buy", 10, state=F.KILLED)
    desk.order("sell", 0, state=F.SKIPPED, reason="nothing_held", fraction=Decimal(1))
    assert (fold(desk).expected, fold(desk).parts) == (0, {})


def test_a_partial_exit_takes_its_fraction_of_what_a_kill_left_open():
    desk = Desk()
    desk.order("buy", 10, state=F.DEAD_LETTER, booked=4)
    desk.order("sell", 2, fraction=HALF)
    assert (fold(desk).expected, fold(desk).parts) == (5, {Cause.KILL_OR_SKIP: 3})


def test_a_missed_exit_leaves_more_than_expected():
    desk = Desk()
    desk.order("buy", 10)
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=Decimal(1))
    x = fold(desk)
    assert (x.expected, x.held, x.parts) == (0, 10, {Cause.KILL_OR_SKIP: -10})


def test_a_rounded_reduction_of_a_follower_without_drift_is_what_was_meant():
    desk = Desk()
    desk.order("buy", 5)
    desk.order("sell", 2, fraction=HALF)
    desk.order("sell", 0, state=F.SKIPPED, reason="below_minimum", fraction=Decimal("0.1"))
    assert (fold(desk).expected, fold(desk).parts) == (3, {})


def test_a_correction_closes_the_gap_and_changes_nothing_that_is_expected():
    desk = Desk()
    desk.order("buy", 10)
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=Decimal(1))
    desk.order("sell", 10, kind="correction")
    x = fold(desk)
    assert (x.expected, x.held, x.failed_correction) == (0, 0, None)
    assert sum(x.parts.values()) == 0


def test_a_correction_that_failed_is_remembered_until_the_next_order():
    desk = Desk()
    desk.order("buy", 10)
    desk.order("sell", 10, state=F.DEAD_LETTER, fraction=Decimal(1))
    failed = desk.order("sell", 10, kind="correction", state=F.REJECTED)
    assert fold(desk).failed_correction == failed
    desk.order("buy", 1)
    assert fold(desk).failed_correction is None


def test_pnl_differs_by_what_the_fills_cost_more_than_the_reference_price():
    desk = Desk()
    desk.order("buy", 10, price=PRICE - 1)
    x = fold(desk, mark=PRICE + 5)
    assert (x.expected_pnl, x.actual_pnl) == (60, 50)
    assert fold(desk, mark=None).expected_pnl == 0


def test_the_order_of_the_evidence_does_not_matter():
    desk = Desk()
    desk.order("buy", 10, state=F.DEAD_LETTER, booked=4)
    desk.order("sell", 2, fraction=HALF)
    desk.order("buy", 3)
    assert expect(Decimal(0), desk.orders[::-1], desk.fills[::-1], desk.step, PRICE) == fold(desk)

from datetime import timedelta
from decimal import Decimal

import pytest

from domain.breaker import BreakerPolicy, Sign, Streak, sign_of, streak, tripped

POLICY = BreakerPolicy()


@pytest.mark.parametrize("code", ["connect_failed", "no_answer", "bad_answer", "http_500", "http_503", "http_599"])
def test_no_usable_answer_is_a_failure_of_the_endpoint(code: str):
    assert sign_of(code) is Sign.FAILURE


@pytest.mark.parametrize("code", ["ack", "fills_ignored", "http_400", "http_401", "http_404", "gone", "redirect"])
def test_whoever_answers_is_alive(code: str):
    assert sign_of(code) is Sign.ALIVE


@pytest.mark.parametrize(
    "code", ["http_429", "http_408", "http_425", "internal_error", "stopped_before_send", "blocked_address", "orphaned"]
)
def test_being_busy_or_not_being_asked_is_neither(code: str):
    assert sign_of(code) is Sign.NONE


def test_a_row_ends_with_an_answer_and_goes_on_over_what_is_neither():
    assert streak(["http_500", "http_429", "no_answer"]) == Streak(answered=False, failures=2, any_failure=True)
    assert streak(["http_500", "ack", "http_500"]) == Streak(answered=True, failures=1, any_failure=True)
    assert streak(["ack", "http_404"]) == Streak(answered=True, failures=0, any_failure=False)
    assert streak(["http_429"]) == Streak()


def test_so_many_failures_in_a_row_trip_it():
    assert tripped(19, [], POLICY) is None
    assert tripped(20, [], POLICY) == "20 failures in a row"


@pytest.mark.parametrize(
    ("failed", "answered", "trips"), [(10, 10, True), (10, 9, False), (9, 11, False), (30, 29, True), (19, 0, False)]
)
def test_so_large_a_part_of_enough_attempts_trips_it(failed: int, answered: int, trips: bool):
    latest = [("http_500", failed), ("ack", answered), ("http_429", 100)]
    told = tripped(1, latest, POLICY)
    assert (told is not None) is trips
    if (failed, answered) == (10, 10):
        assert told == "10 of 20 attempts failed within 10 minutes (50 %)"


def test_the_limits_are_the_policys():
    policy = BreakerPolicy(3, Decimal("0.1"), 5, timedelta(minutes=1))
    assert tripped(3, [], policy) == "3 failures in a row"
    assert tripped(1, [("no_answer", 1), ("ack", 4)], policy) == "1 of 5 attempts failed within 1 minutes (20 %)"

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import retry
from domain.retry import jitter, poll_wait, wait_after

SCHEDULE_S = {1: 1, 2: 5, 3: 15, 4: 60}
order_ids = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-", min_size=1, max_size=48)


def test_the_schedule_is_1_5_15_60():
    assert dict(enumerate(retry.WAITS_S, start=1)) == SCHEDULE_S
    assert retry.MAX_ATTEMPTS == 5


@given(order_ids, st.integers(1, 4))
def test_a_wait_is_its_base_with_at_most_ten_percent_of_jitter(fo_id: str, attempt: int):
    wait = wait_after(fo_id, attempt)
    base = SCHEDULE_S[attempt]
    assert wait is not None
    assert timedelta(milliseconds=900 * base) <= wait <= timedelta(milliseconds=1_100 * base)
    assert wait == timedelta(milliseconds=int(base * (1 + jitter(fo_id, attempt)) * 1000))


@given(order_ids, st.integers(1, 10))
def test_jitter_is_bounded_and_fixed_by_order_and_attempt(fo_id: str, attempt: int):
    assert abs(jitter(fo_id, attempt)) <= Decimal("0.1")
    assert jitter(fo_id, attempt) == jitter(fo_id, attempt)


def test_jitter_spreads_over_orders_and_attempts():
    found = [jitter(f"FO-{n}", attempt) for n in range(500) for attempt in (1, 2)]
    assert len(set(found)) == 1_000
    assert min(found) < Decimal("-0.09")
    assert max(found) > Decimal("0.09")
    assert abs(sum(found, Decimal(0))) / 1_000 < Decimal("0.01")


@given(order_ids, st.integers(1, 4), st.integers(-10, 10_000))
def test_retry_after_lengthens_up_to_60_s_and_never_shortens(fo_id: str, attempt: int, asked: int):
    plain, told = wait_after(fo_id, attempt), wait_after(fo_id, attempt, asked)
    assert plain is not None
    assert told == max(plain, timedelta(seconds=min(asked, 60)))


@given(order_ids, st.integers(5, 100), st.none() | st.integers(0, 100))
def test_after_the_fifth_attempt_there_is_no_wait(fo_id: str, attempt: int, asked: int | None):
    assert wait_after(fo_id, attempt, asked) is None


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_counted_from_one(attempt: int):
    with pytest.raises(ValueError, match="below 1"):
        wait_after("FO-1", attempt)


def test_polls_become_rarer_and_stay_at_a_minute():
    waits = [poll_wait(n).total_seconds() for n in range(1, 12)]
    assert waits == [0.25, 0.5, 1, 2, 5, 10, 30, 60, 60, 60, 60]

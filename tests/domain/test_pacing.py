from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admission import admit
from domain.errors import OrderRefused
from domain.pacing import RATE_WINDOW, Pace, check_duplicate, check_rate
from domain.sessions import parse_hours
from domain.sizing import Effect
from tests.domain.test_admission import BUY, LONG, MARKET, NOW, SELL, VAULT

CLOSED = parse_hours({"time_zone": "UTC", "days": ["mon"], "open": "09:00", "close": "10:00"})
BUSY = Pace(recent=(NOW, NOW), most_per_minute=2)
TWIN = Pace(twin="M-1", window_s=10)


@given(st.lists(st.integers(0, 59), max_size=12), st.integers(1, 8))
def test_an_order_is_refused_only_while_the_minute_is_full_and_passes_when_it_was_told(ages: list[int], most: int):
    recent = tuple(NOW - timedelta(seconds=age) for age in sorted(ages))
    pace = Pace(recent, most)
    if len(recent) < most:
        check_rate(pace)
        return
    with pytest.raises(OrderRefused) as refused:
        check_rate(pace)
    free_at = recent[most - 1] + RATE_WINDOW
    assert free_at > NOW
    assert free_at.isoformat() in refused.value.reason
    check_rate(Pace(tuple(at for at in recent if at > free_at - RATE_WINDOW), most))


def test_without_a_limit_there_is_no_rate():
    check_rate(Pace((NOW,) * 1_000))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pace": BUSY}, "message-rate"),
        ({"pace": TWIN}, "duplicate-intent"),
        ({"hours": CLOSED}, "outside-session"),
    ],
)
def test_an_open_is_refused_with_a_stable_code(change: dict[str, object], code: str):
    with pytest.raises(OrderRefused) as refused:
        admit(BUY, replace(VAULT, **change), MARKET, NOW)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_a_reduction_passes_a_full_minute_and_a_closed_session():
    assert admit(SELL, replace(LONG, pace=BUSY, hours=CLOSED), MARKET, NOW).effect is Effect.REDUCE


def test_a_reduction_twice_is_refused_as_well():
    with pytest.raises(OrderRefused, match="M-1"):
        admit(SELL, replace(LONG, pace=TWIN), MARKET, NOW)


def test_a_duplicate_passes_where_its_author_means_it():
    check_duplicate(TWIN, allowed=True)
    assert admit(replace(BUY, allow_duplicate=True), replace(VAULT, pace=TWIN), MARKET, NOW).effect is Effect.OPEN


def test_a_closed_session_says_when_the_next_one_begins():
    with pytest.raises(OrderRefused, match="2026-02-02T09:00:00") as refused:
        admit(BUY, replace(VAULT, hours=CLOSED), MARKET, NOW)
    assert refused.value.code == "outside-session"

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.sessions import DAYS, parse_hours, trading_hours

WEEK = ["mon", "tue", "wed", "thu", "fri"]
NEW_YORK = {"time_zone": "America/New_York", "days": WEEK, "open": "09:30", "close": "16:00"}
NIGHT = {"time_zone": "UTC", "days": ["sun"], "open": "18:00", "close": "17:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "is_open"),
    [
        (NEW_YORK, "2026-01-30 14:29:59", False),
        (NEW_YORK, "2026-01-30 14:30:00", True),
        (NEW_YORK, "2026-01-30 20:59:59", True),
        (NEW_YORK, "2026-01-30 21:00:00", False),  # the close belongs to no session
        (NEW_YORK, "2026-01-31 15:00:00", False),  # a Saturday
        (NEW_YORK, "2026-07-01 13:30:00", True),  # summer time: an hour earlier in UTC
        (NIGHT, "2026-02-01 17:59:59", False),
        (NIGHT, "2026-02-01 18:00:00", True),
        (NIGHT, "2026-02-02 16:59:59", True),  # Monday, in the session that Sunday began
        (NIGHT, "2026-02-02 18:00:00", False),
    ],
)
def test_a_session_is_open_from_its_first_to_before_its_last_minute(hours: dict[str, Any], now: str, is_open: bool):
    assert parse_hours(hours).is_open(at(now)) is is_open


def test_without_hours_there_is_no_session_to_be_outside_of():
    assert trading_hours({}) is None


def test_the_same_time_for_open_and_close_is_the_whole_day():
    whole = parse_hours({"time_zone": "Asia/Tokyo", "days": list(DAYS), "open": "00:00", "close": "00:00"})
    assert all(whole.is_open(at("2026-01-30 00:00:00") + timedelta(hours=n)) for n in range(24 * 8))


@given(
    st.builds(
        lambda zone, days, first, last: {"time_zone": zone, "days": days, "open": first, "close": last},
        st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"]),
        st.lists(st.sampled_from(DAYS), min_size=1, max_size=7),
        st.times().map(lambda t: t.strftime("%H:%M")),
        st.times().map(lambda t: t.strftime("%H:%M")),
    ),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  bounds
)
def test_the_next_session_begins_within_eight_days_and_not_before_now(raw: dict[str, Any], now: datetime):
    hours = parse_hours(raw)
    begins = hours.opens_after(now)
    assert now < begins <= now + timedelta(days=8, hours=2)
    assert begins.astimezone(hours.zone).weekday() in hours.days


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": 1}, "time_zone"),
        ({"days": []}, "days"),
        ({"days": ["monday"]}, "days"),
        ({"days": "mon"}, "days"),
        ({"days": [0]}, "days"),
        ({"open": "9:30"}, "open"),
        ({"open": "24:00"}, "open"),
        ({"close": None}, "close"),
        ({"close": "16:00:00"}, "close"),
        ({"close": "1600Z"}, "close"),
        ({"closes": "16:00"}, "closes"),
    ],
)
def test_hours_that_nobody_could_keep_are_refused_by_field(change: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as refused:
        parse_hours({**NEW_YORK, **change})
    assert refused.value.field == f"risk_profile.trading_hours.{field}"


def test_hours_must_be_an_object():
    with pytest.raises(InvalidInput, match="must be an object"):
        trading_hours({"trading_hours": "always"})

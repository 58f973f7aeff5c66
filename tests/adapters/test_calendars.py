"""The library's calendars as its own process tells them; the dates are those that the exchanges have published.

NYSE's holidays and early closings: nyse.com/markets/hours-calendars; Hong Kong's hours: hkex.com.hk.
"""

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from adapters.calendars import read_calendar
from domain.calendars import Published
from domain.errors import InvalidInput


@pytest.fixture(scope="module")
async def new_york() -> Published:
    return await read_calendar("XNYS", date(2026, 11, 25))


def hours(found: Published, day: str) -> list[tuple[str, str]]:
    return [
        (f"{s.opens_at.astimezone(UTC):%H:%M}", f"{s.closes_at.astimezone(UTC):%H:%M}")
        for s in found.sessions
        if s.day == day
    ]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-11-25", [("14:30", "21:00")]),
        ("2026-11-26", []),  # Thanksgiving
        ("2026-11-27", [("14:30", "18:00")]),  # the day after it, until 13:00 in New York
        ("2026-11-28", []),  # a Saturday
        ("2026-12-24", [("14:30", "18:00")]),
        ("2026-12-25", []),
        ("2027-01-01", []),
        ("2027-03-12", [("14:30", "21:00")]),
        ("2027-03-15", [("13:30", "20:00")]),  # summer time has begun in New York
        ("2027-03-26", []),  # Good Friday
        ("2027-07-05", []),  # Independence Day, observed
    ],
)
async def test_holidays_early_closings_and_summer_time_come_out_right(
    new_york: Published, day: str, expected: list[tuple[str, str]]
) -> None:
    assert hours(new_york, day) == expected


async def test_a_month_back_and_eighteen_months_ahead_are_covered(new_york: Published) -> None:
    assert new_york.covers_from < datetime(2026, 10, 27, tzinfo=UTC)
    assert new_york.covers_until > datetime(2028, 5, 25, tzinfo=UTC)
    assert new_york.source.startswith("exchange_calendars ")


async def test_a_day_with_a_break_has_two_stretches() -> None:
    found = await read_calendar("XHKG", date(2026, 11, 25))
    assert hours(found, "2026-11-25") == [("01:30", "04:00"), ("05:00", "08:00")]


@pytest.mark.parametrize("code", ["XXXX", "../XNYS", "--help"])
async def test_a_calendar_that_there_is_not_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await read_calendar(code, date(2026, 11, 25))
    assert refused.value.field == "calendar"


def test_no_process_of_ours_carries_the_library() -> None:
    heavy = "import sys, worker, api.app, cli; print({'exchange_calendars', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

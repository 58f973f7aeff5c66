"""When a vault trades: hours of the day in its time zone, on some days of the week. Pure: the clock is its caller's.

A session whose `close` is not after its `open` ends on the day after, so 18:00 to 17:00 is a futures day and 00:00 to
00:00 a whole one. It belongs to the day on which it opens. Wall-clock times: summer time moves the session with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import InvalidInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FIELDS = frozenset({"time_zone", "days", "open", "close"})
_PATH = "risk_profile.trading_hours"
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}")
_FORM = "must be a time of day such as 09:30"


@dataclass(frozen=True, slots=True)
class TradingHours:
    """`days` are numbers from 0 for Monday; `open` belongs to the session, `close` does not."""

    zone: ZoneInfo
    days: frozenset[int]
    open: time
    close: time

    def is_open(self, now: datetime) -> bool:
        """`now` is aware."""
        local = now.astimezone(self.zone)
        clock, today = local.time(), local.weekday()
        if self.open < self.close:
            return today in self.days and self.open <= clock < self.close
        began_today = today in self.days and clock >= self.open
        return began_today or ((today - 1) % 7 in self.days and clock < self.close)

    def opens_after(self, now: datetime) -> datetime:
        """When the next session begins, in UTC."""
        local = now.astimezone(self.zone)
        for ahead in range(9):
            day: date = local.date() + timedelta(days=ahead)
            begins = datetime.combine(day, self.open, self.zone).astimezone(UTC)
            if day.weekday() in self.days and begins > now:
                return begins
        raise AssertionError("some day of the week has a session")


def trading_hours(profile: Mapping[str, Any]) -> TradingHours | None:
    """The hours in a vault's risk profile; None: at all times. Raises InvalidInput naming the field."""
    raw = profile.get("trading_hours")
    return None if raw is None else parse_hours(raw)


def parse_hours(raw: Any) -> TradingHours:
    """From `{time_zone, days, open, close}`, all of them needed. Raises InvalidInput naming the field."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(_PATH, "must be an object with time_zone, days, open and close")
    unknown = sorted(str(name)[:64] for name in raw if name not in _FIELDS)
    if unknown:
        raise InvalidInput(f"{_PATH}.{unknown[0]}", f"is not known; known are {', '.join(sorted(_FIELDS))}")
    days = raw.get("days")
    if not isinstance(days, list | tuple) or not days or not all(isinstance(d, str) and d in DAYS for d in days):
        raise InvalidInput(f"{_PATH}.days", f"must list some of {', '.join(DAYS)}")
    return _hours(_zone_name(raw.get("time_zone")), frozenset(days), _time(raw, "open"), _time(raw, "close"))


@lru_cache(maxsize=256)
def _hours(zone: str, days: frozenset[str], opens: time, closes: time) -> TradingHours:
    return TradingHours(ZoneInfo(zone), frozenset(DAYS.index(day) for day in days), opens, closes)


def _zone_name(name: Any) -> str:
    try:
        if isinstance(name, str) and name:
            return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass  # a name that is no file, or a path that leads out of the database of zones
    raise InvalidInput(f"{_PATH}.time_zone", "must be a time zone of the IANA database such as America/New_York")


def _time(raw: Mapping[str, Any], name: str) -> time:
    value = raw.get(name)
    # Only HH:MM, as `time.fromisoformat` would also read offsets and fractions, which have no meaning here.
    if not isinstance(value, str) or _CLOCK.fullmatch(value) is None:
        raise InvalidInput(f"{_PATH}.{name}", _FORM)
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise InvalidInput(f"{_PATH}.{name}", _FORM) from None

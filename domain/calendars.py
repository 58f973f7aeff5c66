"""When an instrument's exchange trades, by stored sessions, and what its flags forbid. Pure: the clock is its caller's.

An instrument without a calendar, or with `24/7`, trades at all times. A calendar that is not stored for the moment
asked about is never taken for open: what cannot be judged does not pass.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.errors import InvalidInput
from domain.orders import OrderType
from domain.sizing import Effect
from domain.venues import Flag

ALWAYS = "24/7"
# What an instrument gets that is added without a calendar: US equities trade by New York's.
DEFAULTS = {"fiat": "XNYS", "crypto": ALWAYS}
_CODE = re.compile(r"[A-Za-z0-9_]{2,16}")  # MICs, and names such as CME_Equity
_PATH = "risk_profile.outside_session"


class Outside(StrEnum):
    """What a vault does with an order that opens a position while its market is closed."""

    REFUSE = "refuse"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Session:
    """A stretch of trading of one day, in UTC; a day with a break at noon has two."""

    day: str
    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """A calendar's sessions for the time from `covers_from` to `covers_until`, in order; `source` says by whom."""

    calendar: str
    covers_from: datetime
    covers_until: datetime
    source: str
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class Market:
    """What the stored sessions say of one moment. `opened_at` and `closes_at` are set while the market is open.

    `opens_at` is when it opens next. `covered`: the moment lies in the time for which the calendar is stored.
    """

    calendar: str
    covered: bool
    closes_at: datetime | None = None
    opens_at: datetime | None = None
    opened_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.covered and self.closes_at is not None

    @property
    def is_known(self) -> bool:
        """Whether it can be said that it is open, or when it opens."""
        return self.covered and (self.closes_at is not None or self.opens_at is not None)


def read_market(row: Mapping[str, Any] | None) -> Market | None:
    """From the JSON in which a statement tells it; None: it trades at all times."""
    if row is None:
        return None
    times = [_time(row[name]) for name in ("closes_at", "opens_at", "opened_at")]
    return Market(row["calendar"], row["covered"], *times)


def parse_published(raw: Any) -> Published:
    """From the JSON object of a calendar, its times in RFC 3339. Raises InvalidInput for what is none."""
    try:
        stretches = tuple(Session(day, _aware(opens), _aware(closes)) for day, opens, closes in raw["sessions"])
        covers = _aware(raw["covers_from"]), _aware(raw["covers_until"])
        found = Published(str(raw["calendar"]), *covers, str(raw["source"]), stretches)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("calendar", f"is not what a calendar is written as ({error})") from None
    ends = [found.covers_from - timedelta(days=7)] + [s.closes_at for s in found.sessions]
    if any(s.closes_at <= s.opens_at or s.opens_at < end for s, end in zip(found.sessions, ends, strict=False)):
        raise InvalidInput("calendar", f"{found.calendar} has sessions that overlap or end before they begin")
    return found


def flags_of(names: Iterable[str] | None) -> frozenset[Flag]:
    """Raises InvalidInput for a flag that there is not."""
    try:
        return frozenset(Flag(name) for name in names or ())
    except ValueError as error:
        raise InvalidInput("flags", f"{error}; known are {', '.join(Flag)}") from None


def check_calendar(code: str | None) -> None:
    """Raises InvalidInput for what cannot be a calendar's code."""
    if code is not None and code != ALWAYS and _CODE.fullmatch(code) is None:
        raise InvalidInput("calendar", f"must be {ALWAYS} or a calendar's code such as XNYS")


def outside_session(profile: Mapping[str, Any]) -> Outside:
    """A vault's policy. Raises InvalidInput naming the field."""
    value = profile.get("outside_session")
    if value is None:
        return Outside.REFUSE
    if not isinstance(value, str) or value not in list(Outside):
        raise InvalidInput(_PATH, f"must be one of {', '.join(Outside)}")
    return Outside(value)


@dataclass(frozen=True, slots=True)
class Bar:
    """Why the instrument takes no such order: `code` is stable, `reason` is for people."""

    code: str
    reason: str


def barred(flags: frozenset[Flag], effect: Effect, order_type: OrderType) -> Bar | None:
    """What the instrument's flags forbid; reductions too, as the venue would refuse them."""
    if Flag.HALTED in flags:
        return Bar("instrument_halted", "is halted at its venue; nothing can be sent until it trades again")
    if Flag.CANCEL_ONLY in flags:
        return Bar("instrument_halted", "takes nothing but cancels at its venue now")
    if Flag.POST_ONLY in flags:
        return Bar("instrument_post_only", "takes nothing but post-only orders now, which are not sent from here")
    if Flag.LIMIT_ONLY in flags and order_type is not OrderType.LIMIT:
        return Bar("instrument_limit_only", "takes nothing but limit orders now; give type limit and a limit_price")
    if Flag.CLOSE_ONLY in flags and effect is Effect.OPEN:
        return Bar("instrument_close_only", "takes nothing but reductions now")
    return None


def shut(market: Market | None, effect: Effect) -> str | None:
    """Why an order must not start now, as a code; None where it may.

    Reductions that are under way pass: a venue holds a day order until it opens, and nothing may strand a position.
    """
    if market is None or effect is not Effect.OPEN or market.is_open:
        return None
    return "market_closed" if market.is_known else "calendar_unknown"


def _aware(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return time


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)

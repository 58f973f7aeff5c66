"""Billing periods and what a change within one costs. Times are aware UTC, money is in integer minor units."""

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.plans import Interval


def period_end(anchor: datetime, interval: Interval, count: int) -> datetime:
    """`count` intervals after the anchor, on its day or the month's last: 31 January, 28 February, 31 March.

    Counted from the anchor and not from the period before, so that a short month does not move the day for ever.
    """
    months = anchor.month - 1 + count * (12 if interval is Interval.YEAR else 1)
    year, month = anchor.year + months // 12, months % 12 + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, calendar.monthrange(year, month)[1]))


def next_end(anchor: datetime, interval: Interval, after: datetime) -> datetime:
    """The first end of a period that is later than `after`."""
    months = (after.year - anchor.year) * 12 + after.month - anchor.month
    count = max(1, months // (12 if interval is Interval.YEAR else 1))
    while count > 1 and period_end(anchor, interval, count - 1) > after:
        count -= 1
    while period_end(anchor, interval, count) <= after:
        count += 1
    return period_end(anchor, interval, count)


@dataclass(frozen=True, slots=True)
class Proration:
    """What a change of plan costs: the unused part of the old plan back, the rest of the period of the new one."""

    credit_minor: int
    charge_minor: int

    @property
    def due_minor(self) -> int:
        """Positive: to pay now; negative: in the customer's favour."""
        return self.charge_minor - self.credit_minor


def prorate(old_minor: int, new_minor: int, start: datetime, end: datetime, at: datetime) -> Proration:
    """By the second, as Stripe does it, and each of the two rounded half up to the minor unit.

    How Stripe rounds a half is not documented: of what is paid there its own invoice is what counts, and this may be
    a unit beside it. Each line is rounded by itself, so a change there and back at one moment costs nothing.

    Raises ValueError where the period is empty or `at` lies outside of it.
    """
    whole, left = _seconds(end - start), _seconds(end - at)
    if whole <= 0 or not 0 <= left <= whole:
        raise ValueError("a change lies within its period")
    return Proration(_share(old_minor, left, whole), _share(new_minor, left, whole))


def _share(minor: int, left: int, whole: int) -> int:
    return (2 * minor * left + whole) // (2 * whole)


def _seconds(span: timedelta) -> int:
    return span.days * 86_400 + span.seconds

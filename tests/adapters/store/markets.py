"""Calendars of a test's own, so that no test hangs on the hour at which it runs."""

import uuid
from datetime import UTC, datetime, timedelta

from adapters.store.calendars import CalendarStore
from adapters.store.database import Database
from domain.calendars import Published, Session
from tests.adapters.store.orders import EQUITY, Floor

DAY = timedelta(days=1)


def published(code: str, *stretches: tuple[datetime, datetime], days: int = 60) -> Published:
    now = datetime.now(UTC)
    found = tuple(Session(opens.date().isoformat(), opens, closes) for opens, closes in stretches)
    return Published(code, now - 30 * DAY, now + days * DAY, "test", found)


async def calendar(database: Database, *, opens_in: timedelta, lasts: timedelta = timedelta(hours=6)) -> str:
    """A calendar with one session that opens at that distance from now (negative: it has begun)."""
    code = f"T{uuid.uuid4().hex[:12]}"
    opens = datetime.now(UTC) + opens_in
    await CalendarStore(database).keep(published(code, (opens, opens + lasts)))
    return code


async def trades_by(floor: Floor, code: str | None, *flags: str, symbol: str = EQUITY) -> None:
    """Of all tests' instrument: `floor.prepare` sets it back."""
    await floor.rows("UPDATE instruments SET calendar = %s, flags = %s WHERE symbol = %s", code, list(flags), symbol)

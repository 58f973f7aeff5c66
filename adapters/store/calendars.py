"""Exchanges' sessions as they are stored, and what they say of one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from adapters.store.database import Database, jsonb
from domain.calendars import ALWAYS, Published
from domain.errors import Conflict

_NOBODY = str(UUID(int=0))  # shared tables need a transaction, not a tenant


def market(calendar: str, at: str) -> str:
    """An expression: JSON for `domain.calendars.read_market`, null for what trades at all times.

    Told of a moment and not by reading a list, so that an order's statement stays one look-up by key.
    """
    stored = f"market_sessions n WHERE n.calendar = {calendar} AND NOT n.withdrawn"
    running = f"FROM {stored} AND n.opens_at <= {at} AND n.closes_at > {at} ORDER BY n.opens_at DESC LIMIT 1"
    return f"""
CASE WHEN {calendar} <> '{ALWAYS}' THEN jsonb_build_object('calendar', {calendar},
  'covered', EXISTS (SELECT 1 FROM market_calendars n
    WHERE n.calendar = {calendar} AND n.covers_from <= {at} AND n.covers_until > {at}),
  'closes_at', (SELECT n.closes_at {running}), 'opened_at', (SELECT n.opens_at {running}),
  'opens_at', (SELECT min(n.opens_at) FROM {stored} AND n.opens_at > {at})) END
"""


_COVER = """
INSERT INTO market_calendars AS k (calendar, covers_from, covers_until, source)
VALUES (%(calendar)s, %(covers_from)s, %(covers_until)s, %(source)s)
ON CONFLICT (calendar) DO UPDATE SET covers_from = CASE WHEN k.covers_until >= excluded.covers_from
    THEN least(k.covers_from, excluded.covers_from) ELSE excluded.covers_from END,
  covers_until = excluded.covers_until, source = excluded.source, refreshed_at = now()
"""

# What was published for that time and is no more was called off; what lies before it stays as it was.
_REPLACE = """
WITH new AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s) AS x(opens_at timestamptz, closes_at timestamptz, session_date date)
), gone AS (
  UPDATE market_sessions s SET withdrawn = true
  WHERE s.calendar = %(calendar)s AND s.opens_at >= %(covers_from)s AND NOT s.withdrawn
    AND NOT EXISTS (SELECT 1 FROM new WHERE new.opens_at = s.opens_at) RETURNING 1
), kept AS (
  INSERT INTO market_sessions AS s (calendar, opens_at, closes_at, session_date)
  SELECT %(calendar)s, opens_at, closes_at, session_date FROM new
  ON CONFLICT (calendar, opens_at) DO UPDATE SET closes_at = excluded.closes_at, session_date = excluded.session_date,
    withdrawn = false
  WHERE s.withdrawn OR (s.closes_at, s.session_date) <> (excluded.closes_at, excluded.session_date) RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM kept) AS changed
"""

_NEEDED = f"""
SELECT DISTINCT calendar FROM instruments WHERE calendar <> '{ALWAYS}'
UNION SELECT calendar FROM market_calendars ORDER BY 1
"""
_COVERAGE = f"""
SELECT x.calendar, x.used, k.covers_from, k.covers_until, k.source, k.refreshed_at,
  (SELECT count(*) FROM market_sessions s WHERE s.calendar = x.calendar AND NOT s.withdrawn) AS sessions
FROM (SELECT calendar, bool_or(used) AS used FROM (
    SELECT DISTINCT calendar, true AS used FROM instruments WHERE calendar <> '{ALWAYS}'
    UNION ALL SELECT calendar, false FROM market_calendars) n GROUP BY calendar) x
LEFT JOIN market_calendars k USING (calendar) ORDER BY x.calendar
"""
_SHORT = f"""
SELECT DISTINCT i.calendar FROM instruments i LEFT JOIN market_calendars k USING (calendar)
WHERE i.calendar <> '{ALWAYS}'
  AND (k.covers_until IS NULL OR k.covers_until < now() + %s * interval '1 day') ORDER BY 1
"""
_DAYS = """
SELECT session_date, opens_at, closes_at FROM market_sessions
WHERE calendar = %s AND NOT withdrawn AND session_date BETWEEN %s AND %s ORDER BY opens_at
"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """For what time a calendar is stored; `used` where some instrument goes by it. None: not at all."""

    calendar: str
    used: bool
    covers_from: datetime | None
    covers_until: datetime | None
    source: str | None
    refreshed_at: datetime | None
    sessions: int


class CalendarStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def needed(self) -> list[str]:
        """The calendars that instruments go by, and those that were stored at some time."""
        return [row["calendar"] for row in await self._rows(_NEEDED)]

    async def keep(self, published: Published) -> int:
        """Store what was published in the place of what was for that time; how many sessions have changed."""
        rows = [
            {"opens_at": s.opens_at, "closes_at": s.closes_at, "session_date": s.day} for s in published.sessions
        ]  # fmt: skip
        values = {
            "calendar": published.calendar, "covers_from": published.covers_from, "source": published.source,
            "covers_until": published.covers_until, "rows": jsonb(rows),
        }  # fmt: skip
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_COVER, values)
            await cursor.execute(_REPLACE, values)
            row = await cursor.fetchone()
            assert row is not None
            return int(row["changed"])

    async def coverage(self) -> list[Coverage]:
        return [Coverage(**row) for row in await self._rows(_COVERAGE)]

    async def days(self, calendar: str, first: date, last: date) -> list[dict[str, Any]]:
        """The stored sessions of those days, both included."""
        return await self._rows(_DAYS, [calendar, first, last])

    async def require_ahead(self, days: int) -> None:
        """Raises Conflict `calendars-end-soon` where an instrument's calendar is not stored for so many days."""
        short = [row["calendar"] for row in await self._rows(_SHORT, [days])]
        if short:
            raise Conflict(
                "calendars-end-soon",
                f"the sessions of {', '.join(short)} are not stored for the next {days} days; run: "
                "vanta calendars refresh",
            )

    async def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

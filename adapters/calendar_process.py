"""One exchange's sessions on standard output: `python -m adapters.calendar_process XNYS 2026-01-01 2027-06-30`.

A process of its own, as the library brings pandas: 50 MB and seconds that no worker, API or command should carry
(docs/decisions/0018). Times are UTC; the first and the last day are given, but not vouched for, as a session that
belongs to the day after may begin on them.
"""

import json
import sys
from datetime import UTC, datetime, time, timedelta
from importlib.metadata import version
from typing import Any

LIBRARY = "exchange_calendars"


def sessions(code: str, first: str, last: str) -> dict[str, Any]:
    """Raises ValueError, also for a calendar that the library does not have or does not reach so far."""
    import exchange_calendars

    try:
        calendar = exchange_calendars.get_calendar(code, start=first, end=last)
    except exchange_calendars.errors.InvalidCalendarName:
        raise ValueError(f"{LIBRARY} has no calendar {code}") from None
    stretches: list[tuple[str, str, str]] = []
    for row in calendar.schedule.itertuples():
        day = row.Index.date().isoformat()
        noon = [] if row.break_start is None or row.break_start != row.break_start else [row.break_start, row.break_end]
        times = [_utc(moment) for moment in (row.open, *noon, row.close)]
        stretches += [(day, times[n], times[n + 1]) for n in range(0, len(times), 2)]
    return {
        "calendar": code,
        "source": f"{LIBRARY} {version(LIBRARY)}",
        "covers_from": _midnight(first, 1),
        "covers_until": _midnight(last, 0),
        "sessions": stretches,
    }


def _utc(moment: Any) -> str:
    text: str = moment.to_pydatetime().astimezone(UTC).isoformat()
    return text


def _midnight(day: str, later: int) -> str:
    return datetime.combine(datetime.fromisoformat(day) + timedelta(days=later), time(), UTC).isoformat()


def main() -> int:
    """What went wrong is one line on standard error and exit code 1."""
    try:
        found = sessions(*sys.argv[1:4])
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Exchanges' sessions from the library that keeps them, read in a process of its own (`adapters.calendar_process`)."""

import asyncio
import json
import sys
from datetime import date, timedelta

from domain.calendars import Published, check_calendar, parse_published
from domain.errors import InvalidInput, VenueUnavailable

_TIMEOUT_S = 120  # it takes 3 s on a machine that has nothing else to do
_PAST, _AHEAD = timedelta(days=31), timedelta(days=550)


async def read_calendar(code: str, today: date) -> Published:
    """A month back and eighteen months ahead.

    Raises InvalidInput for a calendar that there is not, VenueUnavailable where the process does not answer.
    """
    check_calendar(code)
    return await _read(code, today - _PAST, today + _AHEAD)


async def _read(code: str, first: date, last: date) -> Published:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapters.calendar_process", code, first.isoformat(), last.isoformat(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise VenueUnavailable("calendar-process", f"{code}: no answer within {_TIMEOUT_S} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 1:
        said = err.decode("utf-8", "replace").strip().splitlines()
        raise InvalidInput("calendar", said[-1][:300] if said else f"{code} cannot be read")
    if process.returncode != 0:
        raise VenueUnavailable("calendar-process", f"{code}: ended with code {process.returncode}")
    return parse_published(json.loads(out))

"""Exchanges' sessions and venues' instruments, brought up to date now and then."""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import translated
from activities.heartbeat import beating

if TYPE_CHECKING:
    from adapters.reference import Reference, Refreshed

_log = logging.getLogger("vanta.reference")


@dataclass(slots=True)
class RefreshDone:
    """`changed` of what was `asked` for; `problems` say what stayed as it was, and why."""

    asked: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)


class ReferenceActivities:
    def __init__(self, reference: "Reference") -> None:
        self._reference = reference

    @activity.defn
    async def refresh_calendars(self) -> RefreshDone:
        """A calendar that cannot be read stays as it was; that one ends soon is a warning in the log."""
        async with beating(), translated():
            return _told(await self._reference.refresh_calendars())

    @activity.defn
    async def refresh_instruments(self) -> RefreshDone:
        async with beating(), translated():
            return _told(await self._reference.refresh_instruments())


def _told(done: "Refreshed") -> RefreshDone:
    for problem in done.problems:
        _log.warning("reference data: %s", problem)
    return RefreshDone(done.asked, done.changed, done.problems[:50])

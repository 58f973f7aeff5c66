"""Last prices from their source, and every vault's NAV at them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import translated
from activities.heartbeat import beating
from domain.errors import InvalidInput, VenueError
from domain.ports import PriceSource

if TYPE_CHECKING:
    from adapters.store.marks import MarkStore

_log = logging.getLogger("vanta.prices")
# A price from the future would never grow old, and none that comes later would take its place.
CLOCKS_DIFFER_BY = timedelta(minutes=1)


class Mark(StrEnum):
    """What became of one vault: `same` as at its last mark, or its NAV cannot be told, or was never set."""

    SAME = "same"
    MARKED = "marked"
    TOLD = "told"  # marked, and said by an audit event
    UNKNOWN = "unknown"
    UNSET = "unset"


@dataclass(slots=True)
class RefreshResult:
    """`changed` of the symbols that were `asked` for; `problem` says why there was nothing to be had."""

    asked: int = 0
    changed: int = 0
    problem: str | None = None


@dataclass(slots=True)
class MarkResult:
    """Vaults of this round by what became of them."""

    marked: int = 0
    told: int = 0
    unknown: int = 0
    same: int = 0
    unset: int = 0

    def count(self, mark: Mark) -> None:
        setattr(self, mark.value, getattr(self, mark.value) + 1)
        if mark is Mark.TOLD:
            self.marked += 1


class PriceActivities:
    """`all_every`: how often symbols are looked up that nobody holds or orders."""

    def __init__(
        self,
        source: PriceSource | None,
        store: "MarkStore",
        *,
        all_every: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._store = store
        self._all_every = all_every
        self._now = now
        self._all_at: datetime | None = None
        self._said: str | None = None

    @activity.defn
    async def refresh_prices(self) -> RefreshResult:
        """Ask the source; where it fails, every price stays as it was and grows older until it counts no more."""
        if self._source is None:
            return RefreshResult()
        now = self._now()
        everything = self._all_at is None or now - self._all_at >= self._all_every
        symbols = await self._store.symbols(everything=everything)
        result = RefreshResult(asked=len(symbols))
        try:
            async with beating():
                quotes = await self._source.latest(symbols)
        except (VenueError, InvalidInput) as error:
            result.problem = str(error)[:500]
        else:
            usable = {s: q for s, q in quotes.items() if q.asof <= now + CLOCKS_DIFFER_BY}
            result.changed = await self._store.record(usable)
            if early := sorted(quotes.keys() - usable.keys()):
                result.problem = f"from the future: {', '.join(early[:5])}"
            if everything:
                self._all_at = now
        self._say(result.problem)
        return result

    @activity.defn
    async def mark_vaults(self) -> MarkResult:
        result = MarkResult()
        async with beating(lambda: (result.marked,)), translated():
            for tenant_id, vault_id in await self._store.vaults():
                result.count(Mark(await self._store.mark(tenant_id, vault_id, self._now())))
        return result

    def _say(self, problem: str | None) -> None:
        """Once, and once when it is over: every minute the same line would hide the others."""
        if problem is not None and problem != self._said:
            _log.warning("prices stay as they were: %s", problem)
        elif problem is None and self._said is not None:
            _log.info("prices are read again")
        self._said = problem

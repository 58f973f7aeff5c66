"""Orders' progress for all who watch, from one place per process: one reading of the log serves them all.

The log is asked every `poll_ms` for as long as anybody watches. A feed that has not been emptied is not asked for, so
that a slow client holds one page of events and delays nobody.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from adapters.ending import wanted
from adapters.store.progress import Piece, Place
from domain.errors import StoreUnavailable, TooManyStreams
from domain.progress import Progress, Told, is_over

_log = logging.getLogger("vanta.live")
_CLOSING_S = 5
_AT_ONCE = 100  # feeds of one reading: with full pages, what it brings is some ten megabytes


class LiveConfig(Protocol):
    """What `settings.LiveSettings` offers."""

    @property
    def poll_ms(self) -> int: ...
    @property
    def page_size(self) -> int: ...
    @property
    def max_streams(self) -> int: ...
    @property
    def max_streams_per_tenant(self) -> int: ...


class Log(Protocol):
    """What `adapters.store.progress.ProgressStore` offers."""

    async def begin(self, tenant_id: str, mo_id: str, after: int) -> None: ...

    async def look(self, places: Sequence[Place], most: int) -> list[Piece]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What is told next; `over`: it is the last of it, as the order has ended."""

    told: Sequence[Told]
    over: bool


class Feed:
    """One who watches one order. `after`: the last event that he has been told before."""

    def __init__(self, place: Place, after: int, wake: asyncio.Event) -> None:
        self.place = place
        self._after = after
        self._progress = Progress(place.mo_id)
        self._wake = wake
        self._full = asyncio.Event()
        self._batch = Batch((), over=False)
        self._more = False

    @property
    def hungry(self) -> bool:
        return not self._full.is_set()

    def give(self, piece: Piece, most: int) -> None:
        if piece.events:
            self.place = Place(self.place.tenant_id, self.place.mo_id, piece.events[-1].event_id)
        told = self._progress.tell(piece.events, after=self._after)
        over = piece.whole and is_over(piece.state, live=piece.live)
        if over:
            told.append(self._progress.end())
        self._more = len(piece.events) == most
        if told or over:
            self._batch = Batch(told, over)
            self._full.set()
        elif self._more:
            self._wake.set()

    async def next(self) -> Batch:
        await self._full.wait()
        batch = self._batch
        self._full.clear()
        if self._more:
            self._wake.set()
        return batch


class LiveOrders:
    def __init__(self, log: Log, config: LiveConfig) -> None:
        self._store = log
        self._config = config
        self._feeds: set[Feed] = set()
        self._taken: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()

    @asynccontextmanager
    async def watch(self, tenant_id: str, mo_id: str, after: int = 0) -> AsyncIterator[Feed]:
        """Raises TooManyStreams, NotFound, and InvalidInput where `after` is not 0 and no event of the order."""
        self._check_room(tenant_id)
        self._taken[tenant_id] += 1
        try:
            await self._store.begin(tenant_id, mo_id, after)
            feed = Feed(Place(tenant_id, mo_id, 0), after, self._wake)
            self._feeds.add(feed)
            self._wake.set()
            self._ensure_polling()
            try:
                yield feed
            finally:
                self._feeds.discard(feed)
        finally:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]

    def stop(self) -> None:
        """The server is going: whoever watches is told so, and comes back to another one."""
        self.stopping.set()

    async def close(self) -> None:
        self.stop()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling}, timeout=_CLOSING_S)

    def _check_room(self, tenant_id: str) -> None:
        if self._taken[tenant_id] >= self._config.max_streams_per_tenant:
            raise TooManyStreams(f"{self._taken[tenant_id]} streams of yours are open here already", own=True)
        if self._taken.total() >= self._config.max_streams:
            raise TooManyStreams("this server has as many streams open as it can serve", own=False)

    def _ensure_polling(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="progress of orders")

    async def _poll(self) -> None:
        while self._feeds and wanted():
            self._wake.clear()
            try:
                hungry = [feed for feed in self._feeds if feed.hungry]
                for start in range(0, len(hungry), _AT_ONCE):
                    await self._serve(hungry[start : start + _AT_ONCE])
            except StoreUnavailable as error:
                _log.warning("orders' progress cannot be read: %s", error)
            except Exception as error:  # noqa: BLE001  one fault must not end what all streams live on
                _log.error("orders' progress could not be told", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_ms / 1000):
                    await self._wake.wait()

    async def _serve(self, feeds: Sequence[Feed]) -> None:
        pieces = await self._store.look([feed.place for feed in feeds], self._config.page_size)
        for feed, piece in zip(feeds, pieces, strict=True):
            feed.give(piece, self._config.page_size)

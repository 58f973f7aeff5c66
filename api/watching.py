"""What somebody who watches an order is sent, and when that ends."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api import event_stream
from domain.access import Principal, Scope
from domain.errors import InvalidToken, StoreUnavailable
from domain.progress import CLOSED, Told

if TYPE_CHECKING:
    from adapters.live import Feed

_RECONNECT_MS = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between signs of life where nothing happens, between looks whether the caller may still watch, and how
    long a client may take nothing."""

    keep_alive_s: float
    recheck_s: float
    write_timeout_s: float


class Watching:
    """One stream. `who` tells who its token stands for now, and raises InvalidToken where that is nobody any more."""

    def __init__(
        self, feed: "Feed", pace: Pace, who: Callable[[], Awaitable[Principal]], stopping: asyncio.Event
    ) -> None:
        self._feed, self._pace, self._who, self._stopping = feed, pace, who, stopping
        self._spoke_at = self._checked_at = time.monotonic()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Ends after `end`, or after `closed`, whose reason says whether to come back."""
        yield event_stream.retry(_RECONNECT_MS)
        stop = asyncio.ensure_future(self._stopping.wait())
        news = asyncio.ensure_future(self._feed.next())
        try:
            while True:
                await asyncio.wait({stop, news}, timeout=self._due(), return_when=asyncio.FIRST_COMPLETED)
                ended = await self._ended()
                if ended is not None:
                    yield ended
                    return
                if news.done():
                    batch = news.result()
                    yield self._say(_words(batch.told))
                    if batch.over:
                        return
                    news = asyncio.ensure_future(self._feed.next())
                elif time.monotonic() >= self._spoke_at + self._pace.keep_alive_s:
                    yield self._say(event_stream.KEEP_ALIVE)
        finally:
            stop.cancel()
            news.cancel()

    def _say(self, words: bytes) -> bytes:
        self._spoke_at = time.monotonic()
        return words

    def _due(self) -> float:
        due = min(self._spoke_at + self._pace.keep_alive_s, self._checked_at + self._pace.recheck_s)
        return max(due - time.monotonic(), 0)

    async def _ended(self) -> bytes | None:
        """The last words, where it is to end before the order does."""
        if self._stopping.is_set():
            return event_stream.event(CLOSED, {"reason": "shutdown", "reconnect": True})
        if time.monotonic() >= self._checked_at + self._pace.recheck_s:
            self._checked_at = time.monotonic()
            if not await self._allowed():
                return event_stream.event(CLOSED, {"reason": "access-ended", "reconnect": False})
        return None

    async def _allowed(self) -> bool:
        """While the database cannot say, nothing is told either: events come from there."""
        try:
            return Scope.ORDERS_READ in (await self._who()).scopes
        except InvalidToken:
            return False
        except StoreUnavailable:
            return True


def _words(told: Sequence[Told]) -> bytes:
    return b"".join(event_stream.event(one.name, one.data, one.event_id) for one in told)

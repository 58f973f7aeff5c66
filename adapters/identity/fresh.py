"""A value that is fetched when it is too old, once for all who wait for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from domain.errors import ProviderUnavailable

_T = TypeVar("_T")


class Fresh(Generic[_T]):
    """`ttl_s`: how old it may be. `pause_s`: between two fetches that are asked for earlier, or after one that failed.

    Without the pause, those who wait would each sit through a time-out of their own while the other side is away.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[_T]],
        *,
        ttl_s: float,
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch, self._ttl_s, self._pause_s, self._clock = fetch, ttl_s, pause_s, clock
        self._lock = asyncio.Lock()
        self._value: _T | None = None
        self._fetched_at = self._failed_at = float("-inf")

    async def get(self) -> _T:
        """Raises ProviderUnavailable; a value that is too old is never given instead of a new one."""
        return await self._younger_than(self._ttl_s)

    async def again(self) -> _T:
        """For who has missed something in the value: a newer one, unless it is as new as `pause_s` allows."""
        return await self._younger_than(self._pause_s)

    async def _younger_than(self, age_s: float) -> _T:
        async with self._lock:
            now = self._clock()
            if self._value is not None and now - self._fetched_at < age_s:
                return self._value
            if now - self._failed_at < self._pause_s:
                raise ProviderUnavailable("the identity provider did not answer a moment ago")
            try:
                self._value = await self._fetch()
            except ProviderUnavailable:
                self._failed_at = self._clock()
                raise
            self._fetched_at = self._clock()
            return self._value

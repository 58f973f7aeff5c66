"""How many orders may be on their way at once: in this process, and to one destination."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_ALL = ""
_FAST_S = 0.25
_SLOW_S = 1.0


@dataclass(slots=True)
class _Host:
    """`window` is how many may be inside at present; `since` when they were, while the host is closed."""

    window: int
    inside: int = 0
    since: float | None = None


class Gate:
    """Orders that are claimed and not yet answered: at most `total` in all and `per_host` for one destination.

    A destination that is full stays closed until half of its orders are answered, so that orders are claimed in
    batches; the others' orders pass it by. It is given `first` at first, as many as are sent at once, and more only
    while it answers fast: an order that is claimed has had its guards checked, and must not stand in line for long.
    """

    def __init__(
        self, *, total: int, per_host: int, first: int = 100, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._per_host = per_host
        self._first = min(first, per_host)
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._closed: set[str] = set()
        self._reopened = asyncio.Event()

    def enter(self, waiting: dict[str, deque[T]], most: int) -> list[tuple[str, T]]:
        """Take up to `most` from the heads of the lines, by host; those of a host that is full stay where they are."""
        entered: list[tuple[str, T]] = []
        for host in [name for name in waiting if name not in self._closed]:
            line = waiting[host]
            while line and len(entered) < most and self._closed.isdisjoint((host, _ALL)):
                entered.append((host, line.popleft()))
                self._enter(_ALL, self._total)
                self._enter(host, self._first)
            if not line:
                del waiting[host]
        return entered

    def leave(self, host: str) -> None:
        """One order of the host has been answered, or was never sent."""
        self._leave(_ALL, self._total)
        self._leave(host, self._per_host)

    async def reopened(self) -> None:
        """Until something that was full has room again; for those whom `enter` gave nothing."""
        await self._reopened.wait()

    def _enter(self, name: str, window: int) -> None:
        host = self._hosts.setdefault(name, _Host(window))
        host.inside += 1
        if host.inside >= host.window:
            host.since = self._clock()
            self._closed.add(name)

    def _leave(self, name: str, most: int) -> None:
        host = self._hosts[name]
        host.inside -= 1
        if name in self._closed and host.inside <= host.window // 2:
            self._reopen(name, host, most)
        if host.inside == 0:
            del self._hosts[name]

    def _reopen(self, name: str, host: _Host, most: int) -> None:
        took = self._clock() - (host.since or 0)
        if name != _ALL and took < _FAST_S:
            host.window = min(host.window * 2, most)
        elif name != _ALL and took > _SLOW_S:
            host.window = max(host.window // 2, self._first)
        self._closed.remove(name)
        self._reopened.set()
        self._reopened = asyncio.Event()

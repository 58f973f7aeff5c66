"""How many orders may be on their way at once: in this process, and to one destination."""

import asyncio
from collections import deque
from typing import TypeVar

T = TypeVar("T")
_ALL = ""


class Gate:
    """Orders that are claimed and not yet answered: at most `total` in all and `per_host` for one destination.

    A destination that is full stays closed until a good part of it is free again, so that orders are claimed in
    batches; the others' orders pass it by.
    """

    def __init__(self, *, total: int, per_host: int) -> None:
        self._most = {_ALL: total}
        self._per_host = per_host
        self._inside: dict[str, int] = {}
        self._closed: set[str] = set()
        self._reopened = asyncio.Event()

    def enter(self, waiting: dict[str, deque[T]], most: int) -> list[tuple[str, T]]:
        """Take up to `most` from the heads of the lines, by host; those of a host that is full stay where they are."""
        entered: list[tuple[str, T]] = []
        for host in [name for name in waiting if name not in self._closed]:
            line = waiting[host]
            while line and len(entered) < most and self._closed.isdisjoint((host, _ALL)):
                entered.append((host, line.popleft()))
                self._count(host, 1)
                self._count(_ALL, 1)
            if not line:
                del waiting[host]
        return entered

    def leave(self, host: str) -> None:
        self._count(host, -1)
        self._count(_ALL, -1)

    async def reopened(self) -> None:
        """Until something that was full has room again; for those whom `enter` gave nothing."""
        await self._reopened.wait()

    def _count(self, name: str, change: int) -> None:
        inside = self._inside.get(name, 0) + change
        most = self._most.get(name, self._per_host)
        if inside:
            self._inside[name] = inside
        else:
            self._inside.pop(name, None)
        if inside >= most:
            self._closed.add(name)
        elif name in self._closed and inside <= most // 2:
            self._closed.remove(name)
            self._reopened.set()
            self._reopened = asyncio.Event()

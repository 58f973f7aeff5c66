"""Jobs by destination: one that is slow has its own line, and nobody else stands in it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Job = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Lane:
    waiting: deque[Job] = field(default_factory=deque)
    running: int = 0


class Lanes:
    """Runs jobs, at most `width` at once for one destination; the caller bounds how many wait.

    A task serves its lane until the lane is empty: a task per job, queueing for a connection, costs half as much again
    as the request itself.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, host: str, job: Job) -> None:
        """`job` must not raise: what went wrong is its own result."""
        lane = self._lanes.setdefault(host, _Lane())
        lane.waiting.append(job)
        if lane.running < self._width:
            lane.running += 1
            task = asyncio.create_task(self._serve(host, lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, host: str, lane: _Lane) -> None:
        while lane.waiting:
            await lane.waiting.popleft()()
        lane.running -= 1
        if lane.running == 0:
            del self._lanes[host]

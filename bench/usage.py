"""Memory and CPU time of the stack's processes, read from /proc (Linux); elsewhere the figures are absent."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY_S = 0.1
_WALK_EVERY = 10  # finding descendants costs more than reading them
PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Schedules, pollers and the relay's look at its outbox never quite stop.
_IDLE_CORES = 0.25
_IDLE_OVER_S = 0.5


@dataclass(slots=True)
class Watched:
    """Of each component: peak resident bytes, and CPU seconds from the watch's begin to its end."""

    peak_bytes: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, resident: int) -> None:
        self.peak_bytes[name] = max(resident, self.peak_bytes.get(name, 0))


class Usage:
    """Samples from a thread of its own. `pids` names each component's root process."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._watched: Watched | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="bench-usage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)

    @contextmanager
    def watch(self) -> Iterator[Watched]:
        """The figures are complete when the block has ended; `bench` is the bench's own process."""
        watched, before, own = Watched(), self._cpu(), time.process_time()
        self._watched = watched
        try:
            yield watched
        finally:
            self._watched = None
            after = self._cpu()
            watched.cpu_s = {name: after[name] - before[name] for name in after if name in before}
            watched.cpu_s["bench"] = time.process_time() - own

    async def quiet(self, timeout_s: float = 300) -> None:
        """Return when what the last run left behind (relay, visibility) is done, so that it does not hit the next."""
        async with asyncio.timeout(timeout_s):
            cores = _IDLE_CORES
            while cores >= _IDLE_CORES:
                before, began = self._cpu(), time.monotonic()
                await asyncio.sleep(_IDLE_OVER_S)
                after, elapsed = self._cpu(), time.monotonic() - began
                cores = sum(after[name] - before[name] for name in after if name in before) / elapsed

    def _cpu(self) -> dict[str, float]:
        return {name: sum(cpu_seconds(pid) for pid in tree(root)) for name, root in self._pids().items()}

    def _sample(self) -> None:
        trees: dict[str, list[int]] = {}
        number = 0
        while not self._stop.wait(EVERY_S):
            watched = self._watched
            if watched is None:
                continue
            if number % _WALK_EVERY == 0 or not watched.peak_bytes:
                trees = {name: tree(root) for name, root in self._pids().items()}
            for name, pids in trees.items():
                watched.add(name, resident_bytes(pids))
            number += 1


def tree(root: int, proc: Path = PROC) -> list[int]:
    """The process and its descendants; Postgres has one for each connection."""
    found = [root]
    for pid in found:
        for children in (proc / str(pid)).glob("task/*/children"):
            with suppress(OSError):  # a thread or process that has just ended
                found.extend(int(child) for child in children.read_text().split())
    return found


def resident_bytes(pids: list[int], proc: Path = PROC) -> int:
    """Of a family of processes, counting the pages that they share (Postgres' buffers) once, at the largest's."""
    private, shared = 0, 0
    for pid in pids:
        with suppress(OSError):
            _, resident, common, *_ = (int(n) * _PAGE for n in (proc / str(pid) / "statm").read_text().split())
            private += resident - common
            shared = max(shared, common)
    return private + shared


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """User and system time of the process and of its children that have ended; 0 for one that has ended itself."""
    try:
        after_name = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in after_name[11:15]) / _TICKS

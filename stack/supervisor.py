"""Runs a stack until a signal: starts it, restarts what crashes, records what runs, stops it in order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from stack.embedded import Report, Stack
from stack.errors import StackError
from stack.state import StackState

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY_S = 0.5
_BACKOFF_MAX_S = 30.0
_STABLE_S = 60.0


@dataclass(slots=True)
class _Crashes:
    """Consecutive crashes of one component, and when to try again (monotonic seconds)."""

    count: int = 0
    due: float | None = None
    restarted: float = 0.0


class Supervisor:
    """Owns one stack for the life of a process. Must run on the main thread, which receives the signals."""

    def __init__(self, stack: Stack, report: Report, *, servers_only: bool = False) -> None:
        self._stack = stack
        self._report = report
        self._servers_only = servers_only
        self._crashes: dict[str, _Crashes] = {}
        self._never = threading.Event()

    def run(self, on_ready: Callable[[StackState], None], *, watch: bool = True) -> bool:
        """Start, call `on_ready`, watch until a signal, stop. Returns False when the signal came before all was ready.

        Without `watch` it stops as soon as `on_ready` has returned.
        Raises StackError when something does not start; whatever had started is stopped by then.
        """
        ready = False
        owned = False
        with _signals_interrupt():
            try:
                self._stack.claim()
                owned = True
                self._start()
                on_ready(self._record("ready"))
                ready = True
                if watch:
                    self._watch()
            except KeyboardInterrupt:
                return ready
            finally:
                _ignore_signals()
                if owned:
                    self._record("stopping")
                    self._report("stack", "stopping")
                self._stack.stop()
                if owned:
                    self._stack.layout.state.unlink(missing_ok=True)
        return ready

    def _start(self) -> None:
        self._record("starting")
        self._stack.start_servers()
        self._record("starting")
        self._stack.bootstrap()
        if not self._servers_only:
            self._stack.start_processes()

    def _record(self, phase: str) -> StackState:
        state = self._stack.state().model_copy(update={"phase": phase})
        state.save(self._stack.layout.state)
        return state

    def _watch(self) -> None:
        while not self._never.wait(_LOOK_EVERY_S):
            for name in self._stack.dead():
                self._handle_crash(name, time.monotonic())

    def _handle_crash(self, name: str, now: float) -> None:
        crashes = self._crashes.setdefault(name, _Crashes())
        if crashes.due is None:
            if now - crashes.restarted > _STABLE_S:
                crashes.count = 0
            wait = min(_BACKOFF_MAX_S, 2.0**crashes.count)
            crashes.count += 1
            crashes.due = now + wait
            self._report(name, f"ended; restart {crashes.count} in {wait:.0f} s: {self._stack.hint(name)}")
            self._record("ready")
        elif now >= crashes.due:
            crashes.due, crashes.restarted = None, now
            self._try_restart(name)

    def _try_restart(self, name: str) -> None:
        try:
            # Without waiting: the API, for one, becomes ready only after a server that is next in turn.
            self._stack.restart(name, wait=False)
            self._report(name, "restarted")
        except (StackError, OSError) as error:
            self._report(name, f"cannot restart: {error}")
        self._record("ready")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Within: SIGINT, SIGTERM and SIGHUP (a closed terminal) raise KeyboardInterrupt on the main thread."""
    before = {signum: signal.signal(signum, _interrupt) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)

"""One supervised process: start, wait until ready, stop, kill."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from stack.errors import StackError

_LAUNCH = Path(__file__).with_name("launch.py")
_LOG_LIMIT = 10_000_000
_PROBE_EVERY_S = 0.05
_REAP_S = 10.0


@dataclass(frozen=True, slots=True)
class OsUser:
    """Who a process runs as, when that is not us."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `ready` is a cheap probe, called until it is true; `address` is what people see."""

    name: str
    argv: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    address: str = ""
    user: OsUser | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    ready_timeout_s: float = 60.0
    leftovers: tuple[Path, ...] = ()
    on_ready: Callable[[], None] | None = None


class Process:
    """A running (or stopped) instance of a spec. Not thread-safe: one owner starts and stops it."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.started_at = 0.0
        self.restarts = 0
        self._popen: subprocess.Popen[bytes] | None = None
        self._abandoned = threading.Event()

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Spawn in a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone."""
        spec = self.spec
        _rotate(spec.log)
        user = f"{spec.user.uid}:{spec.user.gid}" if spec.user else "-"
        prefix = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(spec.stop_signal)), user]
        with spec.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*prefix, *spec.argv],
                env=dict(spec.env),
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = time.time()

    def wait_ready(self) -> None:
        """Return once the probe is true. Raises StackError when the process ends first or takes too long."""
        assert self._popen is not None
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while not self.spec.ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._popen.wait(_PROBE_EVERY_S)
                raise StackError(f"{self.spec.name} stopped while starting ({describe_exit(code)}): {self.hint()}")
            if self._abandoned.is_set():
                raise StackError(f"the start of {self.spec.name} was abandoned")
            if time.monotonic() > deadline:
                limit = f"{self.spec.ready_timeout_s:.0f} s"
                raise StackError(f"{self.spec.name} was not ready within {limit}: {self.hint()}")
        if self.spec.on_ready:
            self.spec.on_ready()

    def abandon(self) -> None:
        """Make a `wait_ready` on another thread return soon, with StackError."""
        self._abandoned.set()

    def hint(self) -> str:
        """The log's last line and where the rest is."""
        return f"{last_line(self.spec.log)} (log: {self.spec.log})"

    def ask_to_stop(self) -> None:
        if self.alive:
            self._signal(self.spec.stop_signal)

    def wait_stopped(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill what is left of the process and its group."""
        if self._popen is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when the process is reaped and all that it had started are gone."""
        if self._popen is None:
            return
        family = self._descendants()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(_REAP_S)
        # Postgres' children leave its group, and no new server starts while one of them holds the old one's memory.
        _, left = psutil.wait_procs(family, timeout=_REAP_S)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for path in self.spec.leftovers:
            path.unlink(missing_ok=True)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._popen.pid).children(recursive=True) if self._popen else []
        except psutil.NoSuchProcess:
            return []

    def _signal(self, signum: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(signum)


def describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def last_line(log: Path) -> str:
    """The last non-empty line, at most 300 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8_192))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return "no log"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no output")


def _rotate(log: Path) -> None:
    """Keep one predecessor, so that logs stay bounded over restarts."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))

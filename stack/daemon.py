"""`vanta up --detach`: the supervisor as a daemon, followed until it is ready."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from stack import control
from stack.environment import process_env
from stack.errors import StackError
from stack.files import Layout
from stack.state import StackState

_POLL_S = 0.1
_START_S = 240
_STOP_S = 60


def start_detached(layout: Layout, options: Sequence[str], say: Callable[[str], None]) -> StackState:
    """Start `vanta up` in a session of its own and pass its lines to `say` until all is ready.

    Raises StackError with the daemon's own error when it ends first.
    """
    layout.prepare()
    log = layout.log("supervisor")
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--data", str(layout.data), *options],
            env=process_env({}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return _follow(daemon, layout, say)
    except BaseException:
        _stop(daemon)
        raise


def _follow(daemon: "subprocess.Popen[bytes]", layout: Layout, say: Callable[[str], None]) -> StackState:
    lines = _lines(layout)
    error = ""
    for _ in range(int(_START_S / _POLL_S)):
        ended = _ended(daemon)
        for line in lines:
            if line is None:
                break
            error = line.removeprefix("error: ") if line.startswith("error: ") else error
            if not line.startswith("error: "):
                say(line)
        if ended:
            raise StackError(error or f"the supervisor ended while starting (log: {layout.log('supervisor')})")
        state = control.running(layout)
        if state and state.phase == "ready":
            return state
    raise StackError(f"not ready after {_START_S} s (log: {layout.log('supervisor')})")


def _ended(daemon: "subprocess.Popen[bytes]") -> bool:
    try:
        daemon.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines(layout: Layout) -> Iterator[str | None]:
    """Whole lines of the log as they come; None for "no more for now"."""
    with layout.log("supervisor").open() as file:
        part = ""
        while True:
            part += file.readline()
            if part.endswith("\n"):
                yield part.rstrip()
                part = ""
            else:
                yield None


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()

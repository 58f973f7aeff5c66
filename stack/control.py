"""Acting on a stack from outside its supervisor, by what the state file recorded."""

import shutil
from collections.abc import Iterable

import psutil

from stack.errors import StackError
from stack.files import Layout
from stack.postgres_home import recorded_elsewhere
from stack.state import Identity, StackState, read_state

# The supervisor gives its processes and then its servers up to 30 s each.
_SUPERVISOR_S = 75
_LEFTOVER_S = 10


def running(layout: Layout) -> StackState | None:
    """The state of a stack whose supervisor lives."""
    state = read_state(layout.state)
    return state if state and state.supervisor and state.supervisor.process() else None


def down(layout: Layout) -> bool:
    """Stop the supervisor and whatever a dead one left; False when nothing ran."""
    state = read_state(layout.state)
    if state is None:
        return False
    supervisor = state.supervisor.process() if state.supervisor else None
    if supervisor:
        _end([supervisor], _SUPERVISOR_S)
    left = end_leftovers(layout)
    layout.state.unlink(missing_ok=True)
    return supervisor is not None or left > 0


def end_leftovers(layout: Layout) -> int:
    """End recorded components that outlived their supervisor; returns how many there were."""
    state = read_state(layout.state)
    processes = _live(c.identity for c in state.components) if state else []
    _end(processes, _LEFTOVER_S)
    return len(processes)


def remove_data(layout: Layout) -> None:
    """Delete everything that the stack wrote, wherever it had to write it."""
    elsewhere = recorded_elsewhere(layout)
    try:
        for folder in (elsewhere, layout.data):
            if folder and folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise StackError(f"cannot remove {error.filename}: {error.strerror}") from error


def _live(identities: Iterable[Identity | None]) -> list[psutil.Process]:
    found = (identity.process() for identity in identities if identity)
    return [process for process in found if process]


def _end(processes: list[psutil.Process], timeout_s: float) -> None:
    for process in processes:
        _send(process, kill=False)
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    for process in alive:
        _send(process, kill=True)
    psutil.wait_procs(alive, timeout=_LEFTOVER_S)


def _send(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise StackError(f"process {process.pid} belongs to another user; stop the stack as that user") from error

"""What runs, on disk: written by the supervisor, read by `vanta status`, `vanta down` and a second `vanta up`."""

from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, Field, ValidationError

from stack.files import write_private

# The kernel reports a start in clock ticks; psutil turns it into a time that may differ by a tick between two calls.
_SAME_S = 1.0


class Identity(BaseModel):
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        try:
            return cls(pid=pid, created=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """The live process, or None when it has ended."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < _SAME_S
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class ComponentState(BaseModel):
    name: str
    identity: Identity | None = None
    address: str = ""
    log: str = ""
    started_at: float = 0.0
    restarts: int = 0


class StackState(BaseModel):
    """`connection` is the document that `vanta up --json` prints; it holds credentials, so the file is private."""

    phase: Literal["starting", "ready", "stopping", "failed"] = "starting"
    supervisor: Identity | None = None
    components: list[ComponentState] = Field(default_factory=list)
    connection: dict[str, object] = Field(default_factory=dict, repr=False)

    def save(self, path: Path) -> None:
        write_private(path, self.model_dump_json(indent=1))


def read_state(path: Path) -> StackState | None:
    """None when there is no state, or it is not readable as one (a version of long ago)."""
    try:
        return StackState.model_validate_json(path.read_text())
    except (FileNotFoundError, ValidationError):
        return None

"""Where things lie under the data directory, and how private files are written."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stack.errors import StackError

ROOT = Path(__file__).resolve().parent.parent
MIN_FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one data directory (absolute)."""

    data: Path

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def state(self) -> Path:
        return self.data / "state.json"

    @property
    def ports(self) -> Path:
        return self.data / "ports.json"

    @property
    def credentials(self) -> Path:
        return self.data / "secrets.json"

    @property
    def env(self) -> Path:
        return self.data / "env"

    @property
    def lock(self) -> Path:
        return self.data / "lock"

    @property
    def postgres_record(self) -> Path:
        """Names the folder of Postgres when it had to lie elsewhere."""
        return self.data / "postgres-home"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Create the folders. Raises StackError when the place is not writable or nearly full."""
        try:
            # Root's Postgres runs as another user, who must be able to pass through to its own folder.
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(0o711 if os.geteuid() == 0 else 0o700)
            for folder in (self.logs, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
            write_private(self.run / "probe", "writable")
        except OSError as error:
            raise StackError(f"cannot write to {self.data}: {error.strerror}") from error
        require_space(self.data)


def require_space(folder: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raise StackError unless the disk under `folder` has room for the servers' files."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StackError(f"only {free >> 20} MiB free under {folder}; the stack needs {needed >> 20} MiB")


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    draft.replace(path)


def acquire_lock(layout: Layout) -> BinaryIO | None:
    """The lock of the data directory, or None when another process holds it. The kernel frees it at exit."""
    file = layout.lock.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file

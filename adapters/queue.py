"""The OS's queue file, and the rejects file beside it."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from domain.errors import VantaError
from domain.queuefile import Entry


class QueueTooLarge(VantaError):
    code = "queue-too-large"


class QueueFile:
    """Reads the queue; never writes to it, as it is the OS's file."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self.rejects = path.with_name(f"{path.stem}.rejects.jsonl")
        self._rejected: set[str] | None = None

    def read(self) -> str | None:
        """The whole text; None where there is no file yet. Raises QueueTooLarge, UnicodeDecodeError."""
        try:
            if self._path.stat().st_size > self._max_bytes:
                raise QueueTooLarge(f"{self._path.name} is larger than {self._max_bytes} bytes; rotate it")
            return self._path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def is_rejected(self, entry: Entry) -> bool:
        """Whether this very text was rejected before; its correction, also under the same id, was not."""
        if self._rejected is None:
            self._rejected = self._load()
        return _mark(entry.key, entry.raw) in self._rejected

    def reject(self, entry: Entry, reason: str) -> bool:
        """Append the entry with its reason; False where an earlier reading has done so."""
        if self.is_rejected(entry):
            return False
        line = json.dumps({"key": entry.key, "reason": reason, "entry": entry.raw, "at": datetime.now(UTC).isoformat()})
        with self.rejects.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        assert self._rejected is not None
        self._rejected.add(_mark(entry.key, entry.raw))
        return True

    def _load(self) -> set[str]:
        try:
            lines = self.rejects.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return set()
        marks = set()
        for line in lines:
            try:
                reject = json.loads(line)
                marks.add(_mark(reject["key"], reject["entry"]))
            except (ValueError, KeyError, TypeError):
                continue  # a line that a crash cut short: its entry is written again
        return marks


def _mark(key: str, raw: str) -> str:
    return hashlib.sha256(f"{key}\n{raw}".encode()).hexdigest()

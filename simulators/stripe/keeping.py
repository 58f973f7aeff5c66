"""The store in a file of its own, and answers that are kept under their Idempotency-Key."""

import hashlib
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localstripe import resources

from simulators.stripe.clock import clock


@dataclass
class Kept:
    """`answers`: by key, the request's fingerprint with what was answered."""

    answers: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)
    folder: Path | None = None

    @staticmethod
    def fingerprint(method: str, path: str, body: bytes) -> str:
        return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).hexdigest()

    @property
    def _file(self) -> Path | None:
        return self.folder / "stripe.pickle" if self.folder else None

    def load(self, folder: Path | None) -> None:
        """What this simulator wrote there itself, in a folder that is its user's own."""
        self.folder = folder
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._file.exists():
            stored: dict[str, Any] = pickle.loads(self._file.read_bytes())  # noqa: S301 - its own, mode 0600
            resources.store.update(stored["store"])
            self.answers, clock.ahead_s = stored["answers"], stored["ahead_s"]

    def save(self) -> None:
        if self._file is None:
            return
        whole = {"store": dict(resources.store), "answers": self.answers, "ahead_s": clock.ahead_s}
        draft = self._file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            pickle.dump(whole, file, protocol=pickle.HIGHEST_PROTOCOL)
        draft.replace(self._file)


kept = Kept()

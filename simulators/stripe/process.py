"""The simulator in a process of its own, for tests: localstripe keeps everything in its modules."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession

_START_S = 30
_STOP_S = 5


class StripeProcess:
    """`async with StripeProcess() as stripe`: `stripe.url` is the base URL; any key beginning with `sk_` is let in."""

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Raises TimeoutError, RuntimeError if it does not start."""
        keep = ["--data", str(self._data)] if self._data else []
        command = (sys.executable, "-m", "simulators.stripe", *keep)
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _START_S)
        if not line:
            raise RuntimeError(f"it ended with {await self._process.wait()}")
        self.url = json.loads(line)["url"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def tell(self, what: str, **told: Any) -> dict[str, Any]:
        """POST /_config/{what}; see `simulators.stripe.control`."""
        async with ClientSession() as http, http.post(f"{self.url}/_config/{what}", json=told) as answer:
            answer.raise_for_status()
            said: dict[str, Any] = await answer.json()
            return said

    async def submit(self, page: str, fields: Mapping[str, str]) -> int:
        """Send a page's form as a person would; the status that comes back, redirects not followed."""
        async with ClientSession() as http, http.post(page, data=fields, allow_redirects=False) as answer:
            return answer.status

"""A client that costs next to nothing: a busy one would be most of what it measures."""

import asyncio
import json
import time
from types import TracebackType
from typing import Any, Self

_LENGTH = b"content-length:"


class Wire:
    """One connection that stays open to 127.0.0.1, one request at a time; answers must have a Content-Length."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, method: str, path: str, body: object = None, key: str = "") -> tuple[float, dict[str, Any]]:
        """Seconds from the first byte sent to the last one read, and the answer. Raises RuntimeError for an error's."""
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self._token}"]
        if raw:
            lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}", f"Idempotency-Key: {key}"]
        request = "\r\n".join([*lines, "", ""]).encode() + raw
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        answer = await self._reader.readexactly(_length(head))
        took = time.perf_counter() - began
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {head.splitlines()[0].decode()} {answer.decode()[:300]}")
        return took, json.loads(answer)


def _length(head: bytes) -> int:
    line = next(line for line in head.lower().splitlines() if line.startswith(_LENGTH))
    return int(line.removeprefix(_LENGTH))

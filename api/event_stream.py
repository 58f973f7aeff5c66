"""Server-sent events: their text, and an answer that lasts (https://html.spec.whatwg.org/multipage/server-sent-events).

Not sse-starlette: importing it replaces uvicorn's signal handler for the whole process and keeps its state in globals,
while ending our streams takes one event that the server sets.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KEEP_ALIVE = b": keep-alive\n\n"
_log = logging.getLogger("vanta.api")


def event(name: str, data: Mapping[str, Any], event_id: int | None = None) -> bytes:
    """One event; JSON has no line breaks of its own, so that its data is one line."""
    identity = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%bevent: %b\ndata: %b\n\n" % (identity, name.encode(), orjson.dumps(data))


def retry(milliseconds: int) -> bytes:
    """How long a client waits before it connects again."""
    return b"retry: %d\n\n" % milliseconds


class EventStream(Response):
    """Sends the chunks as they come, until they end, the client has gone, or takes nothing for `write_timeout_s`."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, chunks: AsyncGenerator[bytes], *, write_timeout_s: float) -> None:
        self._chunks = chunks
        self._write_timeout_s = write_timeout_s
        self.status_code = 200
        self.background = None
        # Proxies are asked to hand on each event as it comes.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        telling = asyncio.ensure_future(self._tell(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            await asyncio.wait({telling, leaving})
            await self._chunks.aclose()
        if not telling.cancelled() and (error := telling.exception()) is not None:
            raise error

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self._chunks:
                async with asyncio.timeout(self._write_timeout_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            # Without the end of the answer the server cuts the connection, and the client knows that there is more.
            _log.info("a client took nothing of its events for %s s", self._write_timeout_s)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

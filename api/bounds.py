"""What a request may be, whatever it asks for: how long its address and its headers, and how long it may take."""

import asyncio
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem

MAX_TARGET_BYTES = 8_192
MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100


class Bounds:
    """Answers 414 and 431, and 504 where no answer has begun after `timeout_s`.

    Once an answer has begun it may last: streams of events do, and a half answer helps nobody.
    """

    def __init__(self, app: ASGIApp, *, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (problem := too_long(scope)) is not None:
            await _answer(problem, scope, receive, send)
        else:
            await self._in_time(scope, receive, send)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def begun(message: Message) -> None:
            # A library may answer a cancellation with an error of its own; what is then made of that is an answer, too.
            if message["type"] == "http.response.start" and not limit.expired():
                limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await self._app(scope, receive, begun)
        except TimeoutError:
            if not limit.expired():
                raise
            await _answer(_timed_out(), scope, receive, send)


def too_long(scope: Scope) -> Problem | None:
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if target > MAX_TARGET_BYTES:
        detail = f"Path and query must be at most {MAX_TARGET_BYTES} bytes."
        return Problem(414, "uri-too-long", detail, headers=_CLOSE)
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    sizes = [len(name) + len(value) for name, value in headers]
    if len(sizes) > MAX_HEADERS or sum(sizes) > MAX_HEADER_BYTES:
        detail = f"Send at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all."
        return Problem(431, "headers-too-large", detail, headers=_CLOSE)
    return None


def _timed_out() -> Problem:
    detail = "No answer in time; whether it was done is not known. Repeat it under the same Idempotency-Key."
    return Problem(504, "timed-out", detail, headers={"Retry-After": "1"})


async def _answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problem.response(str(scope.get("vanta.request_id", "")))(scope, receive, send)


_CLOSE = {"Connection": "close"}

"""Breaks the next requests, or all of them for as long as the server is down."""

import hmac
from collections import deque
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from simulators.btcpay.requests import Refused
from simulators.btcpay.routes import PREFIX

# `lost`: done, and the connection is cut instead of an answer.
Kind = Literal["error", "rate_limited", "drop", "lost"]
_OPEN = frozenset({f"{PREFIX}health"})
_STATUSES = {"error": 503, "rate_limited": 429}


class Gate:
    """Credentials, faults and error bodies of everything under the vendor's prefix. `down` also holds for the pages."""

    def __init__(self, api_key: str) -> None:
        self.down = False
        self.faults: deque[Kind] = deque(maxlen=10_000)
        self.requests = 0
        self._api_key = api_key

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_control"):
            return await handler(request)
        if self.down:
            return web.Response(status=503, text="down")
        if not request.path.startswith(PREFIX):
            return await handler(request)
        self.requests += 1
        fault = self.faults.popleft() if self.faults else None
        if fault in _STATUSES:
            return web.Response(status=_STATUSES[fault], text="try again")
        if fault == "drop":
            return _cut(request)
        response = await self._answer(request, handler)
        return _cut(request) if fault == "lost" else response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authenticate(request)
            return await handler(request)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        wanted = f"token {self._api_key}"
        if request.path not in _OPEN and not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Refused(401, "unauthenticated", "Authentication is required for accessing this endpoint")


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)

"""Around every request: an id, modest security headers, metrics, and a problem document for what nobody caught."""

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PAGES = frozenset({"/docs"})  # for people; it runs scripts of its own
_log = logging.getLogger("vanta.api")


class Edge:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, send).run(self._app, receive)


class _Exchange:
    """One request and what has been answered to it so far."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self._id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self._scope = {**scope, "vanta.request_id": self._id}
        self._send = send
        self._status = 0
        self._started = time.perf_counter()

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await app(self._scope, receive, self._answer)
        except Exception:
            _log.exception("request %s failed", self._id)
            if self._status:
                raise  # half an answer is out: the server must cut the connection
            await errors.internal().response(self._id)(self._scope, receive, self._answer)
        finally:
            self._observe()

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_headers(MutableHeaders(scope=message))
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["X-Request-Id"] = self._id
        headers.update(self._scope.get("vanta.headers", {}))
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        if self._scope["path"] not in _PAGES:
            headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
            headers.setdefault("Cache-Control", "no-store")

    def _observe(self) -> None:
        services = self._scope.get("state", {}).get("services")
        if services is None:
            return
        route: Any = self._scope.get("route")
        template = getattr(route, "path", None) or "unmatched"
        services.metrics.observe(
            self._scope["method"], template, self._status or 500, time.perf_counter() - self._started
        )

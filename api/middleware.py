"""Around every request: its trace, the answer's headers, metrics, a line in the log, and what nobody has caught."""

import logging
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from domain.tracing import CURRENT, accept

_METHODS = frozenset({"GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", "OPTIONS"})
_PAGES = frozenset({"/docs"})  # for people; it runs scripts of its own
_ASKED_OFTEN = frozenset({"/healthz", "/readyz", "/metrics"})
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # CORS is not touched by it: only what asks without is
}
_NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_ONLY_TLS = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
_log = logging.getLogger("vanta.api")
_access = logging.getLogger("vanta.access")


class Edge:
    """`over_tls`: whether browsers are told to come by TLS only."""

    def __init__(self, app: ASGIApp, *, over_tls: bool) -> None:
        self._app = app
        self._fixed = {**_SAFE, **_ONLY_TLS} if over_tls else _SAFE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, send, self._fixed).run(self._app, receive)


class _Exchange:
    """One request and what has been answered to it so far."""

    def __init__(self, scope: Scope, send: Send, fixed: dict[str, str]) -> None:
        given = Headers(scope=scope)
        self._trace = accept(given.get("x-request-id", ""), given.get("traceparent", ""), secrets.token_hex)
        self._scope = {**scope, "vanta.request_id": self._trace.request_id}
        self._method = scope["method"] if scope["method"] in _METHODS else "other"
        self._send = send
        self._fixed = fixed
        self._status = 0
        self._started = time.perf_counter()

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        token = CURRENT.set(self._trace)
        try:
            await app(self._scope, receive, self._answer)
        except Exception:
            _log.exception("the request failed")
            if self._status:
                raise  # half an answer is out: the server must cut the connection
            await errors.internal().response(self._trace.request_id)(self._scope, receive, self._answer)
        finally:
            self._observe()
            CURRENT.reset(token)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_headers(MutableHeaders(scope=message))
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["X-Request-Id"] = self._trace.request_id
        headers.update(self._fixed)
        headers.update(self._scope.get("vanta.headers", {}))
        if self._scope["path"] not in _PAGES:
            headers["Content-Security-Policy"] = _NOTHING_RUNS
            headers.setdefault("Cache-Control", "no-store")

    def _observe(self) -> None:
        """By the route's template: an id in a path would multiply the series, and a query may hold anything."""
        seconds = time.perf_counter() - self._started
        route: Any = self._scope.get("route")
        template = getattr(route, "path", None) or "unmatched"
        status = self._status or 500
        services = self._scope.get("state", {}).get("services")
        if services is not None:
            services.metrics.observe(self._method, template, status, seconds)
        _access.log(
            logging.DEBUG if template in _ASKED_OFTEN else logging.INFO,
            "request",
            extra={
                "method": self._method,
                "route": template,
                "status": status,
                "ms": round(seconds * 1_000, 1),
                "tenant_id": self._scope.get("vanta.tenant_id"),
            },
        )

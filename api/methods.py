"""HEAD and OPTIONS, which every resource answers, and the methods that one has."""

from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRIED = ("GET", "POST", "PUT", "PATCH", "DELETE")


def allowed(scope: Scope) -> list[str]:
    """The methods of the resource that the request names; empty where there is none. All its routes count, not one."""
    routes = scope["app"].routes
    found = [method for method in _TRIED if any(_matches(route, {**scope, "method": method}) for route in routes)]
    if "GET" in found:
        found.insert(1, "HEAD")
    return [*found, "OPTIONS"] if found else []


def _matches(route: object, scope: Scope) -> bool:
    match, _ = route.matches(scope)  # type: ignore[attr-defined]  # every route of Starlette has it
    return match is Match.FULL


class Methods:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["type"] == "http" else None
        if method == "HEAD":
            scope["method"] = "GET"
            await self._app(scope, receive, _without_body(send))
        elif method == "OPTIONS" and (methods := allowed(scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(methods)})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    over = False

    async def head(message: Message) -> None:
        nonlocal over
        if message["type"] == "http.response.start":
            await send(message)
        elif not over:
            over = True  # at once: a stream of events would never end
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return head

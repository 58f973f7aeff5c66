"""The vendor's account events: a session over HTTP, a socket that takes its id, order events and heartbeats.

A token has one session at a time: a new one ends the connection of the last. A session of a token covers all of its
accounts. What the vendor says to a wrong session id is unknown; here the socket is closed.
"""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from simulators.market.exchange import Exchange
from simulators.market.feed import Subscription
from simulators.market.gate import ACCOUNT
from simulators.tradier.render import answer, event_json

_SESSION_LASTS_S = 300
_MAX_FRAME_BYTES = 65_536


@dataclass(eq=False, slots=True)
class _Session:
    """`token` is the access token that it was opened with; `ends` on the venue's clock, unless it is connected."""

    token: str
    ends: float
    subscriptions: list[Subscription] = field(default_factory=list)


class StreamRoutes:
    def __init__(self, exchange: Exchange, heartbeat_s: float) -> None:
        self._exchange = exchange
        self._heartbeat_s = heartbeat_s
        self._sessions: dict[str, _Session] = {}

    def table(self) -> list[web.RouteDef]:
        return [web.post("/v1/accounts/events/session", self._open), web.get("/v1/accounts/events", self._listen)]

    async def _open(self, request: web.Request) -> web.Response:
        token = request[ACCOUNT].secret
        for known in [i for i, s in self._sessions.items() if s.token == token]:
            for subscription in self._sessions.pop(known).subscriptions:
                subscription.end()
        session_id = secrets.token_hex(14)
        self._sessions[session_id] = _Session(token, self._exchange.clock() + _SESSION_LASTS_S)
        url = "https://stream.tradier.com/v1/accounts/events"
        return answer(request, {"stream": {"url": url, "sessionid": session_id}})

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=_MAX_FRAME_BYTES)
        await socket.prepare(request)
        told = await self._subscribed(socket)
        session = self._sessions.get(str(told.get("sessionid")))
        if told.get("events") == ["order"] and session is not None and self._exchange.clock() < session.ends:
            await self._tell(socket, session, told.get("excludeAccounts"))
        await socket.close()
        return socket

    async def _subscribed(self, socket: web.WebSocketResponse) -> dict[str, object]:
        frame = await socket.receive()
        try:
            told = json.loads(frame.data)
        except (TypeError, ValueError):
            told = None
        return told if isinstance(told, dict) else {}

    async def _tell(self, socket: web.WebSocketResponse, session: _Session, excluded: object) -> None:
        """Until either side ends it."""
        without = set(excluded) if isinstance(excluded, list) else set()
        accounts = [a for a in self._exchange.accounts.values() if a.secret == session.token]
        with ExitStack() as heard:
            session.subscriptions = [
                heard.enter_context(self._exchange.listen(account))
                for account in accounts
                if account.key_id not in without
            ]
            await _until_first(
                self._beat(socket), _silence(socket), *(_events(socket, one) for one in session.subscriptions)
            )

    async def _beat(self, socket: web.WebSocketResponse) -> None:
        while True:
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
            await socket.send_json({"event": "heartbeat", "status": "active", "timestamp": now})
            await asyncio.sleep(self._heartbeat_s)


async def _events(socket: web.WebSocketResponse, subscription: Subscription) -> None:
    async for event in subscription:
        await socket.send_json(event_json(event.order, event.account, event.at_ns))


async def _silence(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass  # a new subscription on an old connection is not simulated


async def _until_first(*parts: Coroutine[object, object, None]) -> None:
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""The vendor's `/stream`: `trade_updates` in binary frames, as paper accounts get them.

One socket per key, as the vendor wants it; what it answers to a second one is not documented, here it is an error.
"""

import asyncio
import hmac
import json
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from simulators.alpaca.render import order_json
from simulators.market.exchange import Exchange
from simulators.market.feed import OrderEvent, Subscription
from simulators.market.ledger import Account
from simulators.market.orders import State
from simulators.market.text import decimal_text, timestamp

_GREETING_S = 10
_EVENTS = {
    State.ACCEPTED: "pending_new",
    State.NEW: "new",
    State.PARTIALLY_FILLED: "partial_fill",
    State.FILLED: "fill",
    State.PENDING_CANCEL: "pending_cancel",
    State.CANCELED: "canceled",
    State.EXPIRED: "expired",
    State.REJECTED: "rejected",
}


class StreamRoutes:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._connected: set[str] = set()

    def table(self) -> list[web.RouteDef]:
        return [web.get("/stream", self._stream)]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        account = await self._greeted(socket)
        if account is None:
            await socket.close()
            return socket
        if account.key_id in self._connected:
            await _say(socket, "error", {"code": 406, "error_message": "connection limit exceeded"})
            await socket.close()
            return socket
        self._connected.add(account.key_id)
        try:
            with self._exchange.listen(account) as subscription:
                await _say(socket, "listening", {"streams": ["trade_updates"]})
                await _until_either_ends(socket, subscription)
        finally:
            self._connected.discard(account.key_id)
        return socket

    async def _greeted(self, socket: web.WebSocketResponse) -> Account | None:
        """The account once it was authenticated and listens; None where it does not come to that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GREETING_S):
                account = self._account(await _hear(socket))
                status = "unauthorized" if account is None else "authorized"
                await _say(socket, "authorization", {"status": status, "action": "authenticate"})
                while account is not None and (heard := await _hear(socket)) is not None:
                    wanted = heard.get("data")
                    if isinstance(wanted, dict) and "trade_updates" in wanted.get("streams", []):
                        return account
        return None

    def _account(self, heard: dict[str, Any] | None) -> Account | None:
        """`auth`, or the older `authenticate`, which the vendor's SDK sends."""
        said = heard or {}
        inner = said.get("data") if isinstance(said.get("data"), dict) else {}
        key, secret = (inner.get("key_id"), inner.get("secret_key")) if inner else (said.get("key"), said.get("secret"))
        account = self._exchange.accounts.get(str(key))
        if account is None or account.revoked or not hmac.compare_digest(account.secret.encode(), str(secret).encode()):
            return None
        return account


async def _until_either_ends(socket: web.WebSocketResponse, subscription: Subscription) -> None:
    """Events go out until the venue ends the connection or the client does; what the client says is not heard."""
    telling = asyncio.ensure_future(_tell(socket, subscription))
    try:
        async for _ in socket:
            pass
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


async def _tell(socket: web.WebSocketResponse, subscription: Subscription) -> None:
    with suppress(ConnectionError):
        async for event in subscription:
            await _say(socket, "trade_updates", _event_json(event))
        await socket.close()


def _event_json(event: OrderEvent) -> dict[str, object]:
    said: dict[str, object] = {"event": _EVENTS[event.state], "timestamp": timestamp(event.at_ns)}
    if event.execution is not None:
        said |= {
            "execution_id": event.execution.id,
            "price": decimal_text(event.execution.price),
            "qty": decimal_text(event.execution.qty),
        }
    return said | {"order": order_json(event.order)}


async def _hear(socket: web.WebSocketResponse) -> dict[str, Any] | None:
    """None at the end, and for what is no JSON object."""
    message = await socket.receive()
    if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
        return None
    try:
        said = json.loads(message.data)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


async def _say(socket: web.WebSocketResponse, stream: str, data: dict[str, object]) -> None:
    await socket.send_bytes(json.dumps({"stream": stream, "data": data}).encode())

"""Alpaca's `trade_updates`: one websocket per key, on which every change of an order of the account is told.

Paper accounts get binary frames and live ones text; both hold the same JSON.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp

from adapters.brokers.alpaca_http import broken, check_printable
from adapters.brokers.alpaca_wire import NO_ANSWER, UNREADABLE, json_value, read_order
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder

STREAM = "trade_updates"
ENDED = "stream_ended"
_MAX_FRAME_BYTES = 1_000_000
_FRAMES = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY})


class AlpacaStreams:
    """Holds the websockets that are open; `close()` it. `timeout_ms` bounds connecting and each step of the greeting.

    A session of its own: a stream lives for days, which a session that bounds whole requests would end.
    """

    def __init__(self, base_url: Callable[[BrokerCredentials], str], *, timeout_ms: int, ping_s: float) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_ms / 1_000
        self._ping_s = ping_s
        self._open: set[tuple[str, str]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def reports(self, credentials: BrokerCredentials) -> AsyncGenerator[VenueOrder | None, None]:
        """As `domain.ports.Streaming.reports`."""
        check_printable(credentials)
        base_url = self._base_url(credentials)
        socket_of = (base_url, credentials.key_id)
        if socket_of in self._open:  # the vendor would close the first one
            raise VenueUnavailable("stream_taken", f"{credentials.ref}: a stream is open for this key already")
        self._open.add(socket_of)
        try:
            async with await self._connect(base_url, credentials) as socket:
                await self._greet(socket, credentials)
                yield None
                while True:
                    order = _report(await _next(socket))
                    if order is not None:
                        yield order
        finally:
            self._open.discard(socket_of)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _connect(self, base_url: str, credentials: BrokerCredentials) -> aiohttp.ClientWebSocketResponse:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._session.ws_connect(
                    f"{base_url}/stream", heartbeat=self._ping_s, max_msg_size=_MAX_FRAME_BYTES
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake_error(error, credentials) from None
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(broken(error).code, type(error).__name__) from None

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse, credentials: BrokerCredentials) -> None:
        """After it nothing is missed. Raises VenueRefused for a wrong key, VenueUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await _say(socket, {"action": "auth", "key": credentials.key_id, "secret": credentials.secret})
                if (await _answer(socket, "authorization")).get("status") != "authorized":
                    raise VenueRefused("bad_credentials", f"{credentials.ref}: the stream is not authorized")
                await _say(socket, {"action": "listen", "data": {"streams": [STREAM]}})
                streams = (await _answer(socket, "listening")).get("streams")
        except TimeoutError:
            raise VenueUnavailable(NO_ANSWER.code, "the stream's greeting took too long") from None
        if not isinstance(streams, list) or STREAM not in streams:  # what is not offered is left out of the answer
            raise VenueUnavailable(UNREADABLE.code, f"the venue does not offer {STREAM}")


def _handshake_error(error: aiohttp.WSServerHandshakeError, credentials: BrokerCredentials) -> VenueError:
    detail = f"{credentials.ref}: HTTP {error.status} to the websocket's handshake"
    if error.status in {401, 403}:  # the key is told by a message only: a 403 is somebody's in between
        return VenueRefused("bad_credentials" if error.status == 401 else "forbidden", detail)
    return VenueUnavailable("rate_limited" if error.status == 429 else "venue_error", detail)


async def _say(socket: aiohttp.ClientWebSocketResponse, said: dict[str, Any]) -> None:
    try:
        await socket.send_str(json.dumps(said))
    except (aiohttp.ClientError, OSError) as error:
        raise VenueUnavailable(ENDED, type(error).__name__) from None


async def _answer(socket: aiohttp.ClientWebSocketResponse, stream: str) -> dict[str, Any]:
    """The next message of a stream; others in between are not waited for."""
    while True:
        frame = await _next(socket)
        if frame.get("stream") == stream:
            return _data(frame)


async def _next(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next frame. Raises VenueUnavailable when the connection ends, or for what is no JSON object."""
    message = await socket.receive()
    if message.type not in _FRAMES:
        raise VenueUnavailable(ENDED, f"closed with {socket.close_code}")
    frame = json_value(message.data if isinstance(message.data, bytes) else str(message.data).encode())
    if not isinstance(frame, dict):
        raise VenueUnavailable(UNREADABLE.code, "a frame that is no JSON object")
    if frame.get("stream") == "error":  # such as a second connection under the same key
        data = _data(frame)
        raise VenueUnavailable(ENDED, f"{data.get('code')}: {data.get('error_message')}")
    return frame


def _report(frame: dict[str, Any]) -> VenueOrder | None:
    """None for a frame of something else; an event's order is as it stands after the event."""
    if frame.get("stream") != STREAM:
        return None
    order = _data(frame).get("order")
    report = read_order(order) if isinstance(order, dict) else None
    if report is None:
        raise VenueUnavailable(UNREADABLE.code, f"a frame of {STREAM} without a readable order")
    return report


def _data(frame: dict[str, Any]) -> dict[str, Any]:
    data = frame.get("data")
    return data if isinstance(data, dict) else {}

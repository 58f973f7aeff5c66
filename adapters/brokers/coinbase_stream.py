"""Coinbase's `user` channel: an account's orders as they change, over one websocket per account.

The vendor's snapshot tells all open orders (in batches of 50), its updates those that changed; both are cumulative, so
that a message twice or a snapshot late does no harm. Heartbeats come every second, whatever the orders do.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from adapters.brokers.coinbase_auth import stream_token
from adapters.brokers.coinbase_wire import json_value, read_update
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder

SILENCE_S = 10.0
_CHANNELS = ("heartbeats", "user")


class Feed:
    """What one connection's messages report. No I/O.

    `sequence_num` is taken to count all messages of a connection, as clients in use do; the vendor's page does not say.
    Any step but the next one ends the connection: what is lost then is found by looking it up.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self.is_open = False  # the venue has confirmed that it sends the account's orders

    def read(self, raw: str | bytes) -> list[VenueOrder | None]:
        """None: from now on nothing is missed. Raises VenueUnavailable or VenueRefused."""
        message = json_value(raw)
        if not isinstance(message, dict):
            raise VenueUnavailable("unreadable_answer", "a message of the stream is no JSON object")
        if message.get("type") == "error":
            raise _refused(str(message.get("message")))
        self._count(message.get("sequence_num"))
        events = [e for e in message.get("events") or [] if isinstance(e, dict)]
        reports: list[VenueOrder | None] = []
        confirmed = message.get("channel") == "subscriptions" and any("user" in _channels(e) for e in events)
        if (confirmed or message.get("channel") == "user") and not self.is_open:
            self.is_open = True
            reports.append(None)
        if message.get("channel") == "user":
            reports += [_order(item) for event in events for item in event.get("orders") or []]
        return reports

    def _count(self, number: object) -> None:
        if not isinstance(number, int):
            raise VenueUnavailable("unreadable_answer", "a message of the stream has no sequence_num")
        if self._last is not None and number != self._last + 1:
            raise VenueUnavailable("stream_gap", f"message {number} of the stream came after {self._last}")
        self._last = number


class CoinbaseStream:
    """Holds a session of its own: sockets that stay open must take no connection from orders. `close()` it."""

    def __init__(self, urls: dict[str, str], silence_s: float = SILENCE_S) -> None:
        self._urls = {name: url for name, url in urls.items() if url}
        self._silence_s = silence_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def reports(self, credentials: BrokerCredentials) -> AsyncGenerator[VenueOrder | None, None]:
        """See `domain.ports.Streaming`."""
        url = self._urls.get(credentials.environment)
        if url is None:
            raise VenueRefused("bad_environment", f"{credentials.ref}: no address is set for this environment's stream")
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        try:
            async with asyncio.timeout(self._silence_s):
                socket = await self._session.ws_connect(url, autoping=True)
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake(error) from None
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise VenueUnavailable("connect_failed", type(error).__name__) from None
        async with socket:
            await self._subscribe(socket, credentials)
            async for report in self._reading(socket):
                yield report

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse, credentials: BrokerCredentials) -> None:
        for channel in _CHANNELS:
            message = {"type": "subscribe", "channel": channel, "jwt": stream_token(credentials)}
            try:
                await socket.send_str(json.dumps(message))
            except (aiohttp.ClientError, OSError) as error:
                raise VenueUnavailable("stream_ended", type(error).__name__) from None

    async def _reading(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[VenueOrder | None, None]:
        feed, clock = Feed(), asyncio.get_running_loop().time
        begun = clock()
        while True:
            for report in feed.read(await self._next(socket)):
                yield report
            if not feed.is_open and clock() - begun > self._silence_s:
                raise VenueUnavailable("stream_silent", "the venue does not confirm that it sends the orders")

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> str | bytes:
        try:
            async with asyncio.timeout(self._silence_s):
                message = await socket.receive()
        except TimeoutError:
            raise VenueUnavailable("stream_silent", f"nothing came for {self._silence_s:g} s") from None
        if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            raise VenueUnavailable("stream_ended", f"the venue ended the stream (code {socket.close_code})")
        data: str | bytes = message.data
        return data


def _order(item: Any) -> VenueOrder:
    order = read_update(item) if isinstance(item, dict) else None
    if order is None:
        raise VenueUnavailable("unreadable_answer", "an order of the stream cannot be read")
    return order


def _channels(event: dict[str, Any]) -> dict[str, Any]:
    found = event.get("subscriptions")
    return found if isinstance(found, dict) else {}


def _refused(words: str) -> VenueError:
    """The vendor has no code for it."""
    if "auth" in words.lower() or "jwt" in words.lower():
        return VenueRefused("bad_credentials", words)
    return VenueUnavailable("stream_error", words)


def _handshake(error: aiohttp.WSServerHandshakeError) -> VenueError:
    if error.status in {401, 403}:
        return VenueRefused("bad_credentials", f"HTTP {error.status} to the stream")
    return VenueUnavailable("rate_limited" if error.status == 429 else "venue_error", f"HTTP {error.status}")

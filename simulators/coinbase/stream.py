"""The vendor's websocket: heartbeats, and an account's orders as they change, counted by `sequence_num`."""

import asyncio
import json
import time
from contextlib import suppress

from aiohttp import WSMsgType, web

from simulators.coinbase.render import update_json
from simulators.coinbase.tokens import of_subscription
from simulators.market.exchange import Exchange
from simulators.market.feed import Subscription
from simulators.market.ledger import Account
from simulators.market.refusals import Refusal
from simulators.market.text import timestamp

_BATCH = 50
_HEARTBEAT_S = 1.0
_SUBSCRIBE_WITHIN_S = 5.0


class StreamRoutes:
    """On a host of its own at the vendor's; here at the root."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def table(self) -> list[web.RouteDef]:
        return [web.get("/", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        if not socket.can_prepare(request):
            return web.json_response({"message": "a websocket is served here"}, status=426)
        await socket.prepare(request)
        connection = _Connection(self._exchange, socket)
        try:
            await connection.run()
        finally:
            await connection.close()
        return socket


class _Connection:
    def __init__(self, exchange: Exchange, socket: web.WebSocketResponse) -> None:
        self._exchange = exchange
        self._socket = socket
        self._channels: dict[str, list[str]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sequence = -1
        self._dropped = exchange.feed.dropped

    async def run(self) -> None:
        """Until the client goes, is refused, or the venue ends the stream."""
        timeout: float | None = _SUBSCRIBE_WITHIN_S
        while True:
            try:
                message = await self._socket.receive(timeout)
            except TimeoutError:
                return
            if message.type is not WSMsgType.TEXT or not await self._hear(message.data):
                return
            timeout = None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(ConnectionError):
            await self._socket.close()

    async def _hear(self, raw: str) -> bool:
        """Whether the connection may go on."""
        try:
            said = json.loads(raw)
            channel = said["channel"] if said["type"] == "subscribe" else ""
        except (ValueError, KeyError, TypeError):
            channel = ""
        if channel == "heartbeats":
            self._channels[channel] = ["heartbeats"]
            self._tasks.append(asyncio.create_task(self._beat()))
        elif channel == "user":
            try:
                account = of_subscription(self._exchange, said.get("jwt"))
                subscription = self._exchange.listen(account)
            except (Refusal, ValueError):
                await self._socket.send_json({"type": "error", "message": "authentication failure"})
                return False
            self._channels[channel] = [account.id]
            self._tasks.append(asyncio.create_task(self._tell(account, subscription)))
        else:
            await self._socket.send_json({"type": "error", "message": "failure to subscribe"})
            return True
        await self._send("subscriptions", {"subscriptions": self._channels})
        return True

    async def _tell(self, account: Account, subscription: Subscription) -> None:
        with subscription:
            opened = [update_json(o) for o in self._exchange.orders_of(account) if o.is_open]
            for begin in range(0, max(len(opened), 1), _BATCH):
                await self._send("user", {"type": "snapshot", "orders": opened[begin : begin + _BATCH]})
            async for event in subscription:
                await self._send("user", {"type": "update", "orders": [update_json(event.order)]})
        await self._socket.close()

    async def _beat(self) -> None:
        counter = 0
        while True:
            counter += 1
            await self._send("heartbeats", {"current_time": timestamp(time.time_ns()), "heartbeat_counter": counter})
            await asyncio.sleep(_HEARTBEAT_S)

    async def _send(self, channel: str, event: dict[str, object]) -> None:
        """What was told to be lost leaves a hole in the count, as a lost frame does."""
        lost, self._dropped = self._exchange.feed.dropped - self._dropped, self._exchange.feed.dropped
        self._sequence += 1 + lost
        message = {
            "channel": channel,
            "client_id": "",
            "timestamp": timestamp(time.time_ns()),
            "sequence_num": self._sequence,
            "events": [event],
        }
        with suppress(ConnectionError):
            await self._socket.send_json(message)

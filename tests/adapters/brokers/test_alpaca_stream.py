"""Alpaca's `trade_updates` against a websocket that says what the vendor's documents say, and what they do not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from adapters.brokers.alpaca import AlpacaBroker
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder, VenueStatus
from tests.adapters.brokers.canned import fixture
from tests.adapters.brokers.openapi import Description, needs_reference

CREDENTIALS = BrokerCredentials("cred-1", "AK1", "secret")
UPDATE = fixture("stream_partial_fill")


@dataclass
class Socket:
    """Greets as the vendor does, then sends `frames` and closes, or stays; `heard` is what it was told."""

    broker: AlpacaBroker = field(init=False)
    authorization: dict[str, Any] = field(default_factory=lambda: fixture("stream_authorized"))
    listening: dict[str, Any] = field(default_factory=lambda: fixture("stream_listening"))
    frames: list[str | bytes] = field(default_factory=list)
    status: int = 101
    stays: bool = False
    pongs: bool = True
    quiet: asyncio.Event | None = None  # nothing is sent after the greeting until it is set
    heard: list[dict[str, Any]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(autoping=self.pongs)
        await socket.prepare(request)
        for answer in (self.authorization, self.listening):
            if not await self._hears(socket):
                return socket
            await socket.send_bytes(json.dumps(answer).encode())
        while self.quiet is not None and not self.quiet.is_set():
            await self._pass(socket, self.quiet)
        for frame in self.frames:
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        while self.stays and (await socket.receive()).type not in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}:
            pass
        self.left.set()
        return socket

    async def _pass(self, socket: web.WebSocketResponse, until: asyncio.Event) -> None:
        """Answer pings until then: they are answered while something is awaited from the other end."""
        hearing, waiting = asyncio.ensure_future(socket.receive()), asyncio.ensure_future(until.wait())
        await asyncio.wait({hearing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        waiting.cancel()

    async def _hears(self, socket: web.WebSocketResponse) -> bool:
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            return False
        self.heard.append(json.loads(message.data))
        return True


@pytest.fixture
async def socket() -> AsyncIterator[Socket]:
    server = Socket()
    app = web.Application()
    app.router.add_get("/stream", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.broker = AlpacaBroker(live_url=url, paper_url=url, data_url=url, timeout_ms=500, ping_s=0.2)
    try:
        yield server
    finally:
        await server.broker.close()
        await runner.cleanup()


async def hear(socket: Socket, credentials: BrokerCredentials = CREDENTIALS) -> tuple[list[VenueOrder | None], str]:
    """What came, and the code of what ended it."""
    reports: list[VenueOrder | None] = []
    async with aclosing(socket.broker.reports(credentials)) as stream:
        try:
            async for report in stream:
                reports.append(report)  # noqa: PERF401 - what came before the end is kept
        except VenueUnavailable as ended:
            return reports, ended.code
    raise AssertionError("a stream ended without saying why")


def update(**order: Any) -> dict[str, Any]:
    return UPDATE | {"data": UPDATE["data"] | {"order": UPDATE["data"]["order"] | order}}


async def test_binary_and_text_frames_report_orders_as_they_stand_after_a_first_none(socket: Socket):
    filled = update(status="filled", filled_qty="10", filled_avg_price="185.25")
    socket.frames = [json.dumps(UPDATE).encode(), json.dumps(filled)]
    reports, code = await hear(socket)
    assert (reports[0], code) == (None, "stream_ended")
    partly, whole = reports[1:]
    assert partly is not None
    assert whole is not None
    assert (partly.client_order_id, partly.status) == ("FO-fixture-1", VenueStatus.PARTIALLY_FILLED)
    assert (partly.filled_qty, partly.avg_price) == (Decimal("3.5"), Decimal("185.253333"))
    assert (whole.status, whole.filled_qty) == (VenueStatus.FILLED, Decimal(10))


async def test_the_greeting_is_as_the_vendor_describes_it(socket: Socket):
    await hear(socket)
    assert socket.heard == [
        {"action": "auth", "key": "AK1", "secret": "secret"},
        {"action": "listen", "data": {"streams": ["trade_updates"]}},
    ]


@needs_reference
async def test_what_is_said_and_heard_is_as_the_asyncapi_description_has_it(socket: Socket):
    described = Description("alpaca-asyncapi.yml")
    await hear(socket)
    auth, listen = socket.heard
    assert described.value_faults("TradingAuthRequest", auth) == []
    assert described.value_faults("TradingListenRequest", listen) == []
    for name, schema in (
        ("stream_authorized", "TradingAuthorizationResponse"),
        ("stream_unauthorized", "TradingAuthorizationResponse"),
        ("stream_listening", "TradingListeningResponse"),
        ("stream_error", "TradingErrorResponse"),
        ("stream_partial_fill", "TradeUpdate"),
    ):
        faults = described.value_faults(schema, fixture(name))
        # The AsyncAPI description forgets that prices which an order lacks are null; the OpenAPI one does not.
        assert [fault for fault in faults if "None is not of type" not in fault] == []


async def test_frames_of_other_streams_are_ignored(socket: Socket):
    socket.frames = ["{}", '{"stream": "account_updates", "data": 1}', '{"T": "success"}', json.dumps(UPDATE)]
    reports, _ = await hear(socket)
    assert len(reports) == 2


@pytest.mark.parametrize(
    "frame",
    ["", "<html>", "[]", b"\x81\xa1x", '{"stream": "trade_updates"}', json.dumps(update(filled_qty="NaN"))],
)
async def test_a_malformed_frame_ends_the_connection(socket: Socket, frame: str | bytes):
    socket.frames, socket.stays = [frame, json.dumps(UPDATE)], True
    reports, code = await hear(socket)
    assert (reports, code) == ([None], "unreadable_answer")
    await asyncio.wait_for(socket.left.wait(), 5)


async def test_a_wrong_key_is_refused_before_anything_is_promised(socket: Socket):
    socket.authorization = fixture("stream_unauthorized")
    with pytest.raises(VenueRefused) as refused:
        await anext(aiter(socket.broker.reports(CREDENTIALS)))
    assert refused.value.code == "bad_credentials"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, VenueRefused, "bad_credentials"),
        (403, VenueRefused, "forbidden"),
        (429, VenueUnavailable, "rate_limited"),
        (503, VenueUnavailable, "venue_error"),
    ],
)
async def test_a_handshake_that_fails_says_why(socket: Socket, status: int, error: type[Exception], code: str):
    socket.status = status
    with pytest.raises(error) as failed:
        await anext(aiter(socket.broker.reports(CREDENTIALS)))
    assert getattr(failed.value, "code", None) == code


async def test_a_stream_that_is_not_offered_is_unavailable(socket: Socket):
    socket.listening = {"stream": "listening", "data": {"streams": []}}
    assert await hear(socket) == ([], "unreadable_answer")


async def test_an_error_frame_ends_the_connection(socket: Socket):
    socket.frames = [json.dumps(fixture("stream_error"))]
    assert await hear(socket) == ([None], "stream_ended")


async def test_a_greeting_without_an_answer_ends_after_the_time_out(socket: Socket):
    socket.authorization = {"stream": "something else"}
    socket.stays = True
    assert await hear(socket) == ([], "no_answer")


async def test_an_end_that_answers_no_pings_is_taken_for_dead(socket: Socket):
    socket.stays, socket.pongs = True, False
    assert await hear(socket) == ([None], "stream_ended")


async def test_a_quiet_account_keeps_its_stream_for_longer_than_requests_may_take(socket: Socket):
    socket.quiet = asyncio.Event()
    socket.frames = [json.dumps(UPDATE)]
    async with aclosing(socket.broker.reports(CREDENTIALS)) as stream:
        assert await anext(stream) is None
        report = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait([report], timeout=0.8)  # more than the time-out and than several pings
        assert not done
        socket.quiet.set()
        assert await report is not None


async def test_a_second_stream_of_a_key_is_unavailable_and_leaves_the_first_alone(socket: Socket):
    socket.quiet = asyncio.Event()
    socket.frames = [json.dumps(UPDATE)]
    async with aclosing(socket.broker.reports(CREDENTIALS)) as stream:
        assert await anext(stream) is None
        assert await hear(socket) == ([], "stream_taken")
        socket.quiet.set()
        assert await anext(stream) is not None
    socket.heard.clear()
    assert (await hear(socket))[0][0] is None  # and is free again once the first has ended

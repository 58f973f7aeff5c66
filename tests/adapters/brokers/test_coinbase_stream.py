"""Coinbase's `user` channel: what its messages report, and what ends a connection."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import jwt
import pytest
from aiohttp import WSCloseCode, web

from adapters.brokers.coinbase_stream import CoinbaseStream, Feed
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import VenueOrder, VenueStatus
from tests.adapters.brokers.coinbase_canned import CREDENTIALS, KEY_NAME, PUBLIC, fixture

BEGINNING = ["ws_subscriptions", "ws_user_snapshot"]


def raw(name: str, **changes: Any) -> str:
    return json.dumps(fixture(name) | changes)


def test_a_snapshot_and_an_update_tell_how_an_order_stands_by_now():
    feed = Feed()
    assert feed.read(raw("ws_subscriptions")) == [None]
    [opened] = feed.read(raw("ws_user_snapshot"))
    assert feed.read(raw("ws_heartbeat")) == []
    [filling] = feed.read(raw("ws_user_update"))
    assert opened is not None
    assert filling is not None
    assert (opened.ref, opened.client_order_id, opened.status) == (filling.ref, "FO-fixture-1", VenueStatus.WORKING)
    assert (filling.status, filling.filled_qty) == (VenueStatus.PARTIALLY_FILLED, Decimal("0.005"))
    assert filling.avg_price == Decimal("60990.5")


def test_orders_that_come_before_the_confirmation_open_the_stream_as_well():
    first, order = Feed().read(raw("ws_user_snapshot"))
    assert first is None
    assert order is not None


def test_a_confirmation_of_other_channels_opens_nothing():
    feed = Feed()
    assert feed.read(raw("ws_subscriptions", events=[{"subscriptions": {"heartbeats": ["heartbeats"]}}])) == []
    assert not feed.is_open


@pytest.mark.parametrize("number", [3, 0, 1])
def test_a_step_that_is_not_the_next_ends_the_connection(number: int):
    feed = Feed()
    feed.read(raw("ws_subscriptions"))
    feed.read(raw("ws_user_snapshot"))
    with pytest.raises(VenueUnavailable) as unavailable:
        feed.read(raw("ws_heartbeat", sequence_num=number))
    assert unavailable.value.code == "stream_gap"


@pytest.mark.parametrize(
    "message",
    ["<html>", "[]", raw("ws_heartbeat", sequence_num="7"), raw("ws_user_update", events=[{"orders": [{"a": 1}]}])],
)
def test_what_cannot_be_read_ends_the_connection(message: str):
    with pytest.raises(VenueUnavailable):
        Feed().read(message)


def test_a_refused_key_is_refused_and_any_other_error_is_tried_again():
    with pytest.raises(VenueRefused):
        Feed().read(raw("ws_error"))
    with pytest.raises(VenueUnavailable):
        Feed().read(raw("ws_error", message="rate limit exceeded"))


@asynccontextmanager
async def serving(
    messages: Sequence[str], *, then: str = "close", refuse: int = 0
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Two subscriptions are taken before the messages are sent; what they were is in the list."""
    heard: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if refuse:
            return web.Response(status=refuse)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard.extend([json.loads((await socket.receive()).data) for _ in range(2)])
        for message in messages:
            await socket.send_str(message)
        if then == "close":
            await socket.close(code=WSCloseCode.GOING_AWAY)
        else:
            await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/", heard
    finally:
        await runner.cleanup()


async def listened(url: str, silence_s: float = 5) -> tuple[list[VenueOrder | None], Exception]:
    """What was reported until the connection ended, and how it ended."""
    stream, reports = CoinbaseStream({"paper": url}, silence_s), []
    try:
        async with aclosing(stream.reports(CREDENTIALS)) as reading:
            async for report in reading:
                reports.append(report)  # noqa: PERF401 - what came before the end must be kept
    except (VenueUnavailable, VenueRefused) as ended:
        return reports, ended
    finally:
        await stream.close()
    raise AssertionError("a stream never ends by itself")


async def test_both_channels_are_subscribed_with_tokens_of_their_own():
    async with serving([raw(name) for name in BEGINNING]) as (url, heard):
        reports, ended = await listened(url)
    assert len(reports) == 2
    assert getattr(ended, "code", "") == "stream_ended"
    assert [(m["type"], m["channel"]) for m in heard] == [("subscribe", "heartbeats"), ("subscribe", "user")]
    claims = [jwt.decode(m["jwt"], PUBLIC, algorithms=["ES256"]) for m in heard]
    assert [(c["sub"], "uri" in c) for c in claims] == [(KEY_NAME, False)] * 2


@pytest.mark.parametrize("begun", [BEGINNING, []])
async def test_a_silent_stream_is_given_up(begun: list[str]):
    async with serving([raw(name) for name in begun], then="stay") as (url, _):
        reports, ended = await listened(url, silence_s=0.2)
    assert len(reports) == len(begun)
    assert getattr(ended, "code", "") == "stream_silent"


@pytest.mark.parametrize(("status", "error"), [(401, VenueRefused), (403, VenueRefused), (503, VenueUnavailable)])
async def test_a_refused_connection_is_told_from_one_that_failed(status: int, error: type[Exception]):
    async with serving([], refuse=status) as (url, _):
        _, ended = await listened(url)
    assert type(ended) is error


async def test_a_venue_that_is_down_is_tried_again():
    _, ended = await listened("ws://127.0.0.1:9/")
    assert getattr(ended, "code", "") == "connect_failed"


async def test_an_environment_without_an_address_is_refused():
    stream = CoinbaseStream({"live": "", "paper": "ws://127.0.0.1:9/"})
    with pytest.raises(VenueRefused):
        await anext(stream.reports(replace(CREDENTIALS, environment="live")))

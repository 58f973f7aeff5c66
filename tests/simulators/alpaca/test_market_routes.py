"""The vendor's assets, quotes, activities and websocket."""

import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.adapters.brokers.openapi import Description, needs_reference
from tests.simulators.alpaca.client import Client

AUTH = {"action": "auth", "key": "AK1", "secret": "s1"}
SDK_AUTH = {"action": "authenticate", "data": {"key_id": "AK1", "secret_key": "s1"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
FILLS = "/v2/account/activities/FILL?direction=asc"


async def test_a_pair_has_steps_and_a_minimum_and_a_share_of_a_company_has_none(client: Client):
    client.simulator.set_instrument("BTC/USD", Decimal(27_000), qty_step="0.0001", min_qty="0.0002", price_step="1")
    _, pair = await client.call("GET", "/v2/assets/BTC%2FUSD")
    assert (pair["class"], pair["symbol"]) == ("crypto", "BTC/USD")
    steps = ("min_order_size", "min_trade_increment", "price_increment")
    assert [pair[name] for name in steps] == ["0.0002", "0.0001", "1"]
    _, share = await client.call("GET", "/v2/assets/AAPL")
    assert (share["class"], share["fractionable"], [share[name] for name in steps]) == ("us_equity", True, [None] * 3)


async def test_quotes_stand_at_the_price_on_both_sides(client: Client):
    _, body = await client.call("GET", "/v2/stocks/quotes/latest?symbols=AAPL,NOSUCH")
    assert list(body["quotes"]) == ["AAPL"]
    assert (body["quotes"]["AAPL"]["bp"], body["quotes"]["AAPL"]["ap"]) == (100, 100)
    assert (await client.call("GET", "/v2/stocks/quotes/latest?symbols=AAPL,no"))[0] == 400


async def test_an_order_under_a_minimum_is_refused_in_the_vendors_words(client: Client):
    client.simulator.set_instrument("AAPL", Decimal(100), min_notional=1_000)
    status, body = await client.order("FO-1")
    assert (status, body["code"]) == (403, 40310000)
    assert body["message"].startswith("cost basis must be >= minimal amount of order")


async def test_fills_are_paged_in_order_and_a_token_goes_on_after_it(client: Client):
    for number in range(3):
        await client.order(f"FO-{number}", qty="1")
    _, all_of_them = await client.call("GET", FILLS)
    assert [(fill["qty"], fill["price"], fill["type"]) for fill in all_of_them] == [("1", "100", "fill")] * 3
    _, first = await client.call("GET", f"{FILLS}&page_size=2")
    _, rest = await client.call("GET", f"{FILLS}&page_size=2&page_token={first[-1]['id']}")
    assert first + rest == all_of_them
    _, later = await client.call("GET", f"{FILLS}&after={all_of_them[1]['transaction_time']}")
    assert len(later) < 3
    _, latest = await client.call("GET", "/v2/account/activities/FILL?page_size=1")
    assert latest == [all_of_them[-1]]
    assert (await client.call("GET", f"{FILLS}&page_size=101"))[0] == 422


async def greeted(socket: aiohttp.ClientWebSocketResponse, auth: dict[str, Any] = AUTH) -> list[dict[str, Any]]:
    await socket.send_json(auth)
    first = await said(socket)
    await socket.send_json(LISTEN)
    return [first, await said(socket)]


async def said(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Of the next frame, which is binary as on paper."""
    parsed: dict[str, Any] = json.loads(await socket.receive_bytes(timeout=10))
    return parsed


@pytest.mark.parametrize("auth", [AUTH, SDK_AUTH])
async def test_the_stream_greets_and_tells_of_an_orders_whole_life(client: Client, auth: dict[str, Any]):
    async with client.session.ws_connect(client.simulator.url + "/stream") as socket:
        authorized, listening = await greeted(socket, auth)
        assert authorized["data"] == {"status": "authorized", "action": "authenticate"}
        assert listening == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
        await client.order("FO-1")
        events = [await said(socket) for _ in range(3)]
        assert [event["data"]["event"] for event in events] == ["pending_new", "new", "fill"]
        assert events[-1]["data"]["order"]["filled_qty"] == events[-1]["data"]["qty"] == "5"


@needs_reference
async def test_the_streams_frames_are_as_the_vendor_describes_them(client: Client):
    described = Description("alpaca-asyncapi.yml")
    async with client.session.ws_connect(client.simulator.url + "/stream") as socket:
        authorized, listening = await greeted(socket)
        assert described.value_faults("TradingAuthorizationResponse", authorized) == []
        assert described.value_faults("TradingListeningResponse", listening) == []
        await client.order("FO-1")
        for _ in range(3):
            faults = described.value_faults("TradeUpdate", await said(socket))
            assert [fault for fault in faults if "None is not of type" not in fault] == []


async def test_a_wrong_key_is_unauthorized_and_the_socket_closed(client: Client):
    async with client.session.ws_connect(client.simulator.url + "/stream") as socket:
        await socket.send_json(AUTH | {"secret": "no"})
        assert (await said(socket))["data"]["status"] == "unauthorized"
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE


async def test_a_second_socket_of_a_key_is_an_error_and_the_first_one_stays(client: Client):
    url = client.simulator.url + "/stream"
    async with client.session.ws_connect(url) as first:
        await greeted(first)
        async with client.session.ws_connect(url) as second:
            _, refused = await greeted(second)
            assert refused["stream"] == "error"
        await client.order("FO-1")
        assert (await said(first))["stream"] == "trade_updates"

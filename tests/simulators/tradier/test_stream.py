"""Account events over the simulated venue's socket."""

import json
from typing import Any

import aiohttp
import pytest

from simulators.tradier import TradierSimulator
from tests.simulators.tradier.client import TOKEN, Client

_SOCKET, _SESSION = "/v1/accounts/events", "/v1/accounts/events/session"


async def _session(client: Client) -> str:
    status, body, _ = await client.call("POST", _SESSION, data={})
    assert status == 200
    return str(body["stream"]["sessionid"])


async def _open(client: Client, session_id: str, **more: Any) -> aiohttp.ClientWebSocketResponse:
    socket = await client.http.ws_connect(client.simulator.url + _SOCKET)
    await socket.send_json({"events": ["order"], "sessionid": session_id, "excludeAccounts": [], **more})
    return socket


async def _next(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next event of an order."""
    while True:
        told: dict[str, Any] = json.loads((await socket.receive(timeout=5)).data)
        if told["event"] == "order":
            return told


async def test_a_subscription_hears_a_heartbeat_and_then_each_change_of_an_order(client: Client):
    socket = await _open(client, await _session(client))
    assert (await socket.receive_json(timeout=5))["event"] == "heartbeat"
    await client.order("FO-1")
    events = [await _next(socket) for _ in range(3)]
    assert [event["status"] for event in events] == ["pending", "open", "filled"]
    last = events[-1]
    assert (last["exec_quantity"], last["avg_fill_price"], last["remaining_quantity"]) == (5, 100, 0)
    assert (last["account"], last["tag"]) == ("VA1", "FO-1")
    await socket.close()


async def test_a_new_session_ends_the_last_ones_connection(client: Client):
    first = await _open(client, await _session(client))
    assert (await first.receive_json(timeout=5))["event"] == "heartbeat"
    await _session(client)
    while (frame := await first.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert frame.type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("more", [{"sessionid": "wrong"}, {"events": ["fill"]}])
async def test_a_wrong_subscription_is_closed(client: Client, more: dict[str, Any]):
    socket = await _open(client, await _session(client), **more)
    assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE


async def test_a_session_that_nobody_connected_for_five_minutes_is_over():
    now = 1_000.0
    async with TradierSimulator(clock=lambda: now) as simulator, aiohttp.ClientSession() as http:
        simulator.add_account("VA1", TOKEN)
        client = Client(simulator, http)
        session_id = await _session(client)
        now += 300
        socket = await _open(client, session_id)
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE


async def test_excluded_accounts_are_not_heard(client: Client):
    socket = await _open(client, await _session(client), excludeAccounts=["VA1"])
    await socket.receive_json(timeout=5)
    await client.order("FO-1")
    told = [json.loads((await socket.receive(timeout=5)).data)["event"] for _ in range(3)]
    assert told == ["heartbeat"] * 3
    await socket.close()

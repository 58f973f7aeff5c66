"""The stage: the control endpoints, the choice of behaviours, and the process."""

import asyncio
import json
import sys
from decimal import Decimal

import aiohttp
import pytest

from simulators.alpaca import AlpacaSimulator, Behaviour, Fault, FaultKind
from tests.simulators.alpaca.client import KEYS, MARKET, Client

BUSY = {"fault": {"kind": "error", "status": 503}}


async def test_everything_can_be_set_and_read_over_http(client: Client):
    other = {"APCA-API-KEY-ID": "AK2", "APCA-API-SECRET-KEY": "s2"}
    setup = [
        ("/_control/instruments", [{"symbol": "XYZ", "price": "12.5"}]),
        ("/_control/accounts", {"key_id": "AK2", "secret": "s2", "cash": "1000", "positions": {"XYZ": "3"}}),
        ("/_control/behaviours", {"account": "AK2", "count": 1, "behaviour": BUSY}),
        ("/_control/read-faults", {"fault": {"kind": "error"}}),
    ]
    for path, body in setup:
        assert (await client.call("POST", path, body))[0] == 204
    order = MARKET | {"symbol": "XYZ", "client_order_id": "FO-1"}
    assert (await client.call("POST", "/v2/orders", order, other))[0] == 503
    assert (await client.call("POST", "/v2/orders", order, other))[0] == 200
    assert (await client.call("GET", "/v2/positions/XYZ", headers=other))[0] == 503
    assert (await client.call("GET", "/v2/positions/XYZ", headers=other))[1]["qty"] == "8"
    _, counted = await client.call("GET", "/_control/orders?client_order_id=FO-1")
    assert counted["total"] == 1
    assert counted["orders"][0]["account"] == "AK2"
    assert (counted["orders"][0]["submissions"], counted["orders"][0]["booked"]) == (2, 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("accounts", {"key_id": "AK2"}),
        ("accounts", {"key_id": "AK2", "secret": "s", "positions": {"NOSUCH": "1"}}),
        ("instruments", {"symbol": "XYZ", "price": "0"}),
        ("behaviours", {"account": "nobody", "behaviour": {}}),
        ("behaviours", {"behaviour": {"life": {"ending": "sideways"}}}),
        ("read-faults", {"fault": {"kind": "error"}, "surplus": 1}),
        ("trades", {"account": "nobody", "symbol": "AAPL", "side": "buy", "qty": "1"}),
        ("trades", {"account": "AK1", "symbol": "AAPL", "side": "sell", "qty": "1000000"}),
    ],
)
async def test_nonsense_is_refused_with_a_reason(client: Client, path: str, body: object):
    status, answer = await client.call("POST", f"/_control/{path}", body)
    assert status == 400
    assert answer["message"]


async def test_the_next_behaviour_beats_the_accounts_which_beats_the_symbols(client: Client):
    def busy(status: int) -> Behaviour:
        return Behaviour(fault=Fault(kind=FaultKind.ERROR, status=status))

    client.simulator.script(busy(501), symbol="AAPL")
    assert (await client.order("FO-1"))[0] == 501
    client.simulator.script(busy(502), account="AK1")
    assert (await client.order("FO-2"))[0] == 502
    client.simulator.script(busy(503), count=1)
    assert (await client.order("FO-3"))[0] == 503
    assert (await client.order("FO-4"))[0] == 502


async def test_a_fault_hits_the_first_submissions_of_each_id_and_then_lets_go(client: Client):
    client.simulator.script(Behaviour(fault=Fault(kind=FaultKind.RATE_LIMITED, times=2)), account="AK1")
    for client_order_id in ("FO-1", "FO-2"):
        statuses = [(await client.order(client_order_id, qty="1"))[0] for _ in range(4)]
        assert statuses == [429, 429, 200, 422]


async def _arrived(session: aiohttp.ClientSession, simulator: AlpacaSimulator, client_order_id: str) -> bool:
    async with session.get(f"{simulator.url}/_control/orders?client_order_id={client_order_id}") as response:
        return bool((await response.json())["total"])


async def test_closing_lets_go_of_hanging_requests_and_books_nothing_late():
    async with aiohttp.ClientSession() as session, AlpacaSimulator() as simulator:
        simulator.add_account("AK1", "s1")
        for kind in (FaultKind.HANG, FaultKind.SLOW):
            simulator.script(Behaviour(fault=Fault(kind=kind, delay_ms=60_000)), count=1)
        sent = [
            asyncio.ensure_future(
                session.post(f"{simulator.url}/v2/orders", json=MARKET | {"client_order_id": name}, headers=KEYS)
            )
            for name in ("FO-1", "FO-2")
        ]
        async with asyncio.timeout(60):
            for name in ("FO-1", "FO-2"):
                while not await _arrived(session, simulator, name):
                    pass
            await simulator.close()
            answers = await asyncio.gather(*sent, return_exceptions=True)
    assert isinstance(answers[0], aiohttp.ClientError)
    assert [row["booked"] for row in simulator.orders()] == [0, 0]
    for answer in answers:
        if isinstance(answer, aiohttp.ClientResponse):
            assert answer.status == 503
            answer.release()


async def test_the_process_prints_its_url_and_ends_on_sigterm():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.alpaca", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            url = json.loads(await process.stdout.readline())["url"]
            async with aiohttp.ClientSession() as session, session.get(url + "/_control/health") as response:
                assert response.status == 200
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_trade_by_hand_fills_at_once_and_is_an_order_among_the_others(client: Client):
    before = Decimal((await client.call("GET", "/v2/positions/AAPL"))[1]["qty"])
    trade = {"account": "AK1", "symbol": "AAPL", "side": "sell", "qty": "3"}
    assert (await client.call("POST", "/_control/trades", trade))[0] == 204
    assert Decimal((await client.call("GET", "/v2/positions/AAPL"))[1]["qty"]) == before - 3
    _, orders = await client.call("GET", "/v2/orders?status=all")
    assert [(o["side"], o["qty"], o["status"]) for o in orders] == [("sell", "3", "filled")]
    _, none = await client.call("GET", f"/v2/orders?status=all&after={orders[0]['submitted_at']}")
    assert none == []
    assert (await client.call("GET", "/v2/orders?status=all&after=yesterday"))[0] == 422

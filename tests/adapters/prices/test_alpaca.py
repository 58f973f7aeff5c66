"""Last trades from the simulator, and from a server that misbehaves as told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import SecretStr

from adapters.prices.alpaca import SYMBOLS_AT_ONCE, AlpacaPrices
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from simulators.alpaca import AlpacaSimulator

D = Decimal


@asynccontextmanager
async def source(url: str, secret: str = "s1", feed: str | None = None) -> AsyncIterator[AlpacaPrices]:
    prices = AlpacaPrices(url=url, key_id=SecretStr("AK1"), secret=SecretStr(secret), feed=feed, timeout_ms=500)
    yield prices
    await prices.close()


@pytest.fixture
async def simulator() -> AsyncIterator[AlpacaSimulator]:
    async with AlpacaSimulator() as running:
        running.add_account("AK1", "s1")
        yield running


async def test_last_trades_come_with_their_own_time(simulator: AlpacaSimulator):
    traded_at = datetime(2026, 1, 30, 20, 59, 58, 123_456, tzinfo=UTC)
    simulator.set_asset("AAPL", D("185.25"), traded_at=traded_at)
    simulator.set_asset("BRK.B", D("0.0001"), traded_at=traded_at)
    simulator.set_asset("BTC/USD", D("64123.456"), traded_at=traded_at)
    async with source(simulator.url) as prices:
        found = await prices.latest(["AAPL", "BRK.B", "BTC-USD", "NOSUCH"])
    assert {symbol: q.price for symbol, q in found.items()} == {
        "AAPL": D("185.25"), "BRK.B": D("0.0001"), "BTC-USD": D("64123.456"),
    }  # fmt: skip
    assert {(q.asof, q.source) for q in found.values()} == {(traded_at, "alpaca")}


async def test_a_symbol_that_the_vendor_does_not_take_spoils_only_itself():
    asked: list[str] = []

    async def trades(request: web.Request) -> web.Response:
        symbols = request.query["symbols"].split(",")
        asked.append(request.query["symbols"])
        if "ODD" in symbols:
            return web.json_response({"message": "invalid symbol: ODD"}, status=400)
        return web.json_response({"trades": {s: {"p": 1.5, "t": "2026-01-30T20:59:58.123456789Z"} for s in symbols}})

    async with answering(trades) as url, source(url, feed="iex") as prices:
        found = await prices.latest(["A", "B", "ODD", "C", "D"])
    assert sorted(found) == ["A", "B", "C", "D"]
    assert asked[0] == "A,B,C,D,ODD"


async def test_many_symbols_are_asked_for_in_parts():
    parts: list[int] = []

    async def trades(request: web.Request) -> web.Response:
        symbols = request.query["symbols"].split(",")
        parts.append(len(symbols))
        return web.json_response({"trades": {s: {"p": 2, "t": "2026-01-30T20:59:58Z"} for s in symbols}})

    symbols = [f"{a}{b}" for a in "ABCDEFGHIJKLMNOPQRST" for b in "ABCDEFGHIJKLMNOPQRSTU"]
    async with answering(trades) as url, source(url) as prices:
        assert len(await prices.latest(symbols)) == 420
    assert parts == [SYMBOLS_AT_ONCE, SYMBOLS_AT_ONCE, 20]


async def test_what_cannot_be_the_vendors_symbol_is_not_asked_for(simulator: AlpacaSimulator):
    async with source(simulator.url) as prices:
        assert await prices.latest(["WAVEQ1", "TOOLONGX", "EUR/USD", "ETH-EUR"]) == {}


@pytest.mark.parametrize(
    "trade",
    [
        {"p": 0, "t": "2026-01-30T20:59:58Z"},
        {"p": -1, "t": "2026-01-30T20:59:58Z"},
        {"p": "1", "t": "2026-01-30T20:59:58Z"},
        {"p": 1, "t": "2026-01-30T20:59:58"},
        {"p": 1, "t": "yesterday"},
        {"p": True, "t": "2026-01-30T20:59:58Z"},
        {"t": "2026-01-30T20:59:58Z"},
        None,
    ],
)
async def test_a_trade_that_cannot_be_trusted_is_left_out(trade: object):
    async def trades(_request: web.Request) -> web.Response:
        return web.json_response({"trades": {"A": trade, "B": {"p": 1, "t": "2026-01-30T20:59:58Z"}, "NOTASKED": {}}})

    async with answering(trades) as url, source(url) as prices:
        assert list(await prices.latest(["A", "B"])) == ["B"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, VenueRefused),
        (403, VenueRefused),
        (429, VenueUnavailable),
        (500, VenueUnavailable),
        (302, VenueUnavailable),
    ],
)
async def test_a_failure_says_whether_asking_again_is_right(status: int, kind: type[VenueError]):
    async def trades(_request: web.Request) -> web.Response:
        return web.json_response({"message": "no"}, status=status)

    async with answering(trades) as url, source(url) as prices:
        with pytest.raises(kind, match=f"HTTP {status}"):
            await prices.latest(["AAPL"])


async def test_a_wrong_secret_is_refused_and_not_told(simulator: AlpacaSimulator):
    async with source(simulator.url, secret="wrong-secret") as prices:
        with pytest.raises(VenueRefused) as refused:
            await prices.latest(["AAPL"])
    assert "wrong-secret" not in str(refused.value)


async def test_nobody_there_is_unavailable(simulator: AlpacaSimulator):
    url = simulator.url
    await simulator.close()
    async with source(url) as prices:
        with pytest.raises(VenueUnavailable):
            await prices.latest(["AAPL"])


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/v2/stocks/trades/latest", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

"""The vendor's market data: last trades and quotes, both sides of which stand at the asset's price."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from simulators.market.exchange import Exchange
from simulators.market.instruments import Instrument

_STOCK = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3})?")
_PAIR = re.compile(r"[A-Z0-9]{1,10}/[A-Z]{3,5}")

_Render = Callable[[Instrument], dict[str, object]]


class MarketDataRoutes:
    """On the vendor's `data` host; here beside the others. Symbols that are well formed and unknown are left out."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/stocks/trades/latest", self._stocks),
            web.get("/v1beta3/crypto/us/latest/trades", self._crypto),
            web.get("/v2/stocks/quotes/latest", self._stock_quotes),
            web.get("/v1beta3/crypto/us/latest/quotes", self._crypto_quotes),
        ]

    async def _stocks(self, request: web.Request) -> web.Response:
        return self._answer(request, _STOCK, "trades", _trade_json)

    async def _crypto(self, request: web.Request) -> web.Response:
        return self._answer(request, _PAIR, "trades", _trade_json)

    async def _stock_quotes(self, request: web.Request) -> web.Response:
        return self._answer(request, _STOCK, "quotes", _quote_json)

    async def _crypto_quotes(self, request: web.Request) -> web.Response:
        return self._answer(request, _PAIR, "quotes", _quote_json)

    def _answer(self, request: web.Request, form: re.Pattern[str], name: str, render: _Render) -> web.Response:
        symbols = [s for s in request.query.get("symbols", "").split(",") if s]
        if not symbols:
            return web.json_response({"message": "symbols is required"}, status=400)
        wrong = next((s for s in symbols if form.fullmatch(s) is None), None)
        if wrong is not None:  # one is enough to fail the request
            return web.json_response({"message": f"invalid symbol: {wrong}"}, status=400)
        known = self._exchange.instruments
        return web.json_response({name: {s: render(known[s]) for s in symbols if s in known}})


def _trade_json(asset: Instrument) -> dict[str, object]:
    return {
        "t": _time(asset),
        "p": float(asset.price),  # the vendor's prices are JSON numbers
        "s": 100,
        "x": "V",
        "c": ["@"],
        "i": 1,
        "z": "C",
    }


def _quote_json(asset: Instrument) -> dict[str, object]:
    price = float(asset.price)
    return {"t": _time(asset), "bp": price, "bs": 1, "bx": "V", "ap": price, "as": 1, "ax": "V", "c": ["R"], "z": "C"}


def _time(asset: Instrument) -> str:
    """The vendor's nanoseconds."""
    moment = asset.traded_at or datetime.now(UTC)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"

"""The vendor's market data: the last trade of each symbol, at the asset's price."""

import re
from datetime import UTC, datetime

from aiohttp import web

from simulators.market.exchange import Exchange
from simulators.market.instruments import Instrument

_STOCK = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3})?")
_PAIR = re.compile(r"[A-Z0-9]{1,10}/[A-Z]{3,5}")


class MarketDataRoutes:
    """On the vendor's `data` host; here beside the others. Symbols that are well formed and unknown are left out."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/stocks/trades/latest", self._stocks),
            web.get("/v1beta3/crypto/us/latest/trades", self._crypto),
        ]

    async def _stocks(self, request: web.Request) -> web.Response:
        return self._answer(request, _STOCK)

    async def _crypto(self, request: web.Request) -> web.Response:
        return self._answer(request, _PAIR)

    def _answer(self, request: web.Request, form: re.Pattern[str]) -> web.Response:
        symbols = [s for s in request.query.get("symbols", "").split(",") if s]
        if not symbols:
            return web.json_response({"message": "symbols is required"}, status=400)
        wrong = next((s for s in symbols if form.fullmatch(s) is None), None)
        if wrong is not None:  # one is enough to fail the request
            return web.json_response({"message": f"invalid symbol: {wrong}"}, status=400)
        known = self._exchange.instruments
        return web.json_response({"trades": {s: _trade_json(known[s]) for s in symbols if s in known}})


def _trade_json(asset: Instrument) -> dict[str, object]:
    moment = asset.traded_at or datetime.now(UTC)
    return {
        # The vendor's nanoseconds; its prices are JSON numbers.
        "t": f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z",
        "p": float(asset.price),
        "s": 100,
        "x": "V",
        "c": ["@"],
        "i": 1,
        "z": "C",
    }

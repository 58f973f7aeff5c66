"""The vendor's quotes and its look-up of symbols, at the one price that each share has."""

from aiohttp import web

from simulators.market.exchange import Exchange
from simulators.tradier.errors import invalid
from simulators.tradier.render import answer, quote_json, wrapped


class MarketDataRoutes:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def table(self) -> list[web.RouteDef]:
        return [web.get("/v1/markets/quotes", self._quotes), web.get("/v1/markets/lookup", self._look_up)]

    async def _quotes(self, request: web.Request) -> web.Response:
        symbols = [symbol for symbol in request.query.get("symbols", "").split(",") if symbol]
        if not symbols:
            raise invalid("symbols is required")
        known = self._exchange.instruments
        found = [quote_json(known[symbol]) for symbol in symbols if symbol in known]
        told = wrapped("quotes", "quote", found)["quotes"] if found else {}
        unmatched = [symbol for symbol in symbols if symbol not in known]
        missing = wrapped("unmatched_symbols", "symbol", unmatched) if unmatched else {}
        return answer(request, {"quotes": {**(told if isinstance(told, dict) else {}), **missing}})

    async def _look_up(self, request: web.Request) -> web.Response:
        begins = request.query.get("q", "").upper()
        found = [
            {"symbol": symbol, "exchange": "Q", "type": "stock", "description": f"{symbol} (simulated)"}
            for symbol in self._exchange.instruments
            if symbol.startswith(begins)
        ]
        return answer(request, wrapped("securities", "security", found))

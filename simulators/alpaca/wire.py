"""Alpaca's credentials, request budget and error bodies; the other files have its paths."""

import hmac
import time

from aiohttp import web

from simulators.alpaca.activities import ActivityRoutes
from simulators.alpaca.errors import refusal_json, status_of
from simulators.alpaca.market_data import MarketDataRoutes
from simulators.alpaca.routes import VendorRoutes
from simulators.alpaca.stream import StreamRoutes
from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.ledger import Account
from simulators.market.refusals import Reason, Refusal
from simulators.market.wire import Budget, Spent


class AlpacaWire:
    """`rate_limit` is requests per minute and account."""

    def __init__(self, exchange: Exchange, desk: Desk, rate_limit: int) -> None:
        self._exchange = exchange
        self._budget = Budget("requests", rate_limit)
        self._routes = VendorRoutes(exchange, desk)
        self._others = (MarketDataRoutes(exchange), ActivityRoutes(exchange), StreamRoutes(exchange))

    def table(self) -> list[web.RouteDef]:
        return [*self._routes.table(), *(route for routes in self._others for route in routes.table())]

    def owns(self, request: web.Request) -> bool:
        return request.path.startswith(("/v2/", "/v1beta3/"))

    def is_submission(self, request: web.Request) -> bool:
        return request.method == "POST" and request.path == "/v2/orders"

    def authenticate(self, request: web.Request) -> Account:
        account = self._exchange.accounts.get(request.headers.get("APCA-API-KEY-ID", ""))
        secret = request.headers.get("APCA-API-SECRET-KEY", "")
        if account is None or not hmac.compare_digest(account.secret.encode(), secret.encode()):
            raise Refusal(Reason.UNAUTHORIZED, "unauthorized.")
        return account

    def budget(self, request: web.Request) -> Budget:  # noqa: ARG002 (one for everything)
        return self._budget

    def budget_headers(self, spent: Spent) -> dict[str, str]:
        return {
            "X-Ratelimit-Limit": str(spent.budget.limit),
            "X-Ratelimit-Remaining": str(spent.remaining),
            "X-Ratelimit-Reset": str(int(time.time() + spent.resets_in_s) + 1),
        }

    def refuse(self, refusal: Refusal) -> web.Response:
        return web.json_response(refusal_json(refusal), status=status_of(refusal))

    def no_such_path(self) -> web.Response:
        return web.json_response({"message": "endpoint not found."}, status=404)

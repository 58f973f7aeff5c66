"""Coinbase's credentials, request budget and error bodies; its paths are `routes`, `conversions` and `stream`."""

import math

from aiohttp import web

from simulators.coinbase.conversions import Conversions
from simulators.coinbase.errors import refusal_json, status_of
from simulators.coinbase.routes import PREFIX, VendorRoutes
from simulators.coinbase.stream import StreamRoutes
from simulators.coinbase.tokens import of_request
from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.ledger import Account
from simulators.market.refusals import Refusal
from simulators.market.wire import Budget, Spent


class CoinbaseWire:
    """`rate_limit` is requests per second and account."""

    def __init__(self, exchange: Exchange, desk: Desk, rate_limit: int) -> None:
        self._exchange = exchange
        self._budget = Budget("private", rate_limit, window_s=1)
        self._routes = VendorRoutes(exchange, desk)
        self.conversions = Conversions(exchange)
        self._stream = StreamRoutes(exchange)

    def table(self) -> list[web.RouteDef]:
        return [*self._routes.table(), *self.conversions.table(), *self._stream.table()]

    def owns(self, request: web.Request) -> bool:
        return request.path.startswith(f"{PREFIX}/")

    def is_submission(self, request: web.Request) -> bool:
        return request.method == "POST" and request.path == f"{PREFIX}/orders"

    def authenticate(self, request: web.Request) -> Account:
        return of_request(self._exchange, request)

    def budget(self, request: web.Request) -> Budget:  # noqa: ARG002 (one for everything)
        return self._budget

    def budget_headers(self, spent: Spent) -> dict[str, str]:
        """Names from the vendor's SDK; that the reset is in seconds from now is not confirmed by a document."""
        return {
            "x-ratelimit-limit": str(spent.budget.limit),
            "x-ratelimit-remaining": str(spent.remaining),
            "x-ratelimit-reset": str(math.ceil(spent.resets_in_s)),
        }

    def refuse(self, refusal: Refusal) -> web.Response:
        return web.json_response(refusal_json(refusal), status=status_of(refusal))

    def no_such_path(self) -> web.Response:
        return web.Response(text="404 page not found", status=404)

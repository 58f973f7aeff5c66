"""Tradier's access tokens, request budgets and error bodies; its paths are `routes` and beside."""

import hmac
import time

from aiohttp import web

from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.ledger import Account
from simulators.market.refusals import Reason, Refusal
from simulators.market.wire import Budget, Spent
from simulators.tradier.errors import refuse
from simulators.tradier.market_data import MarketDataRoutes
from simulators.tradier.oauth import OAuthRoutes
from simulators.tradier.routes import AccountRoutes
from simulators.tradier.stream import StreamRoutes

_STREAM = "/v1/accounts/events"


class TradierWire:
    """`rate_limit` is requests per minute and account that place or cancel orders; twice as many for the rest."""

    def __init__(
        self, exchange: Exchange, desk: Desk, oauth: OAuthRoutes, *, rate_limit: int, heartbeat_s: float
    ) -> None:
        self._exchange = exchange
        self._trading = Budget("trading", rate_limit)
        self._reading = Budget("reading", 2 * rate_limit)
        # The stream's path comes first: `{account}` would match it too.
        self._parts = (
            StreamRoutes(exchange, heartbeat_s), AccountRoutes(exchange, desk), MarketDataRoutes(exchange), oauth,
        )  # fmt: skip

    def table(self) -> list[web.RouteDef]:
        return [route for part in self._parts for route in part.table()]

    def owns(self, request: web.Request) -> bool:
        """A socket names its session in its first frame, and the exchange of tokens has credentials of its own."""
        return request.path.startswith("/v1/") and request.path != _STREAM and "/oauth/" not in request.path

    def is_submission(self, request: web.Request) -> bool:
        return request.method == "POST" and request.path.endswith("/orders")

    def authenticate(self, request: web.Request) -> Account:
        """The account of the path by its token; elsewhere the first that has it."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        named = request.match_info.get("account")
        accounts = self._exchange.accounts
        asked = accounts.values() if named is None else [accounts[named]] if named in accounts else []
        found = next((a for a in asked if hmac.compare_digest(a.secret.encode(), token)), None)
        if found is None:
            raise Refusal(Reason.UNAUTHORIZED, "unauthorized")
        return found

    def budget(self, request: web.Request) -> Budget:
        return self._reading if request.method == "GET" or request.path.startswith(_STREAM) else self._trading

    def budget_headers(self, spent: Spent) -> dict[str, str]:
        """The end of the window is in milliseconds."""
        return {
            "X-Ratelimit-Allowed": str(spent.budget.limit),
            "X-Ratelimit-Used": str(spent.usage.requests),
            "X-Ratelimit-Available": str(spent.remaining),
            "X-Ratelimit-Expiry": str(int((time.time() + spent.resets_in_s) * 1_000)),
        }

    def refuse(self, refusal: Refusal) -> web.Response:
        return refuse(refusal)

    def no_such_path(self) -> web.Response:
        return web.Response(status=404, text="Not Found")

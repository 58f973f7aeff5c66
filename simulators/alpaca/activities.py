"""The vendor's account activities, of which there are executions only."""

from aiohttp import web

from simulators.alpaca.errors import invalid
from simulators.alpaca.render import fill_json
from simulators.alpaca.routes import asked_time
from simulators.market.exchange import Exchange
from simulators.market.gate import ACCOUNT
from simulators.market.orders import Execution

_MAX_SIZE = 100


class ActivityRoutes:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def table(self) -> list[web.RouteDef]:
        return [web.get("/v2/account/activities/FILL", self._fills)]

    async def _fills(self, request: web.Request) -> web.Response:
        """`page_token` is the id of the last activity that is known already."""
        size = request.query.get("page_size", str(_MAX_SIZE))
        if not size.isdecimal() or not 1 <= int(size) <= _MAX_SIZE:
            raise invalid(f"page_size must be between 1 and {_MAX_SIZE}")
        after, until = asked_time(request, "after"), asked_time(request, "until")
        found = [
            (execution.at_ns, execution.id, fill_json(order, execution))
            for order in self._exchange.orders_of(request[ACCOUNT])
            for execution in order.executions
            if (after is None or _seconds(execution) > after.timestamp())
            and (until is None or _seconds(execution) < until.timestamp())
        ]
        found.sort(key=lambda item: item[:2], reverse=request.query.get("direction", "desc") == "desc")
        fills = [fill for _, _, fill in found]
        token = request.query.get("page_token")
        known = next((number for number, fill in enumerate(fills, 1) if fill["id"] == token), 0)
        return web.json_response(fills[known : known + int(size)])


def _seconds(execution: Execution) -> float:
    return execution.at_ns / 1_000_000_000

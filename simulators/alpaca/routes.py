"""The vendor's `/v2` routes: parse, one call, render."""

from datetime import datetime

from aiohttp import web

from simulators.alpaca.errors import invalid
from simulators.alpaca.render import account_json, asset_json, order_json, position_json
from simulators.alpaca.requests import parse_order, read_fields
from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.gate import ACCOUNT
from simulators.market.orders import Order
from simulators.market.refusals import Reason, Refusal

_DEFAULT_LIMIT, _MAX_LIMIT = 50, 500


class VendorRoutes:
    def __init__(self, exchange: Exchange, desk: Desk) -> None:
        self._exchange = exchange
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/account", self._account),
            web.post("/v2/orders", self._submit),
            web.get("/v2/orders", self._orders),
            web.get("/v2/orders:by_client_order_id", self._order_by_client_id),
            web.get("/v2/orders/{order_id}", self._order),
            web.delete("/v2/orders/{order_id}", self._cancel),
            web.get("/v2/positions", self._positions),
            web.get("/v2/positions/{symbol}", self._position),
            web.get("/v2/assets/{symbol}", self._asset),
        ]

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        fields = read_fields(await request.read())
        return await self._desk.submit(
            request,
            fields.get("client_order_id"),
            fields.get("symbol"),
            lambda: parse_order(fields, self._exchange.instruments),
            lambda order: web.json_response(order_json(order)),
        )

    async def _account(self, request: web.Request) -> web.Response:
        self._exchange.settle(request[ACCOUNT])
        return web.json_response(account_json(request[ACCOUNT], self._exchange.instruments))

    async def _orders(self, request: web.Request) -> web.Response:
        query = request.query
        limit = query.get("limit", str(_DEFAULT_LIMIT))
        if not limit.isdecimal() or not 1 <= int(limit) <= _MAX_LIMIT:
            raise invalid(f"limit must be between 1 and {_MAX_LIMIT}")
        orders = [o for o in self._exchange.orders_of(request[ACCOUNT]) if _is_wanted(o, request)]
        if query.get("direction", "desc") == "desc":
            orders.reverse()
        return web.json_response([order_json(o) for o in orders[: int(limit)]])

    async def _order_by_client_id(self, request: web.Request) -> web.Response:
        client_id = request.query.get("client_order_id", "")
        return web.json_response(order_json(self._exchange.find_by_client_id(request[ACCOUNT], client_id)))

    async def _order(self, request: web.Request) -> web.Response:
        order = self._exchange.find(request[ACCOUNT], request.match_info["order_id"])
        return web.json_response(order_json(order))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._exchange.cancel(request[ACCOUNT], request.match_info["order_id"])
        return web.Response(status=204)

    async def _positions(self, request: web.Request) -> web.Response:
        account, known = request[ACCOUNT], self._exchange.instruments
        self._exchange.settle(account)
        return web.json_response([position_json(account, s, p, known) for s, p in account.positions.items()])

    async def _position(self, request: web.Request) -> web.Response:
        account, symbol = request[ACCOUNT], request.match_info["symbol"]
        self._exchange.settle(account)
        if symbol not in account.positions:
            raise Refusal(Reason.NOT_FOUND, "position does not exist")
        held = account.positions[symbol]
        return web.json_response(position_json(account, symbol, held, self._exchange.instruments))

    async def _asset(self, request: web.Request) -> web.Response:
        symbol = request.match_info["symbol"]
        if symbol not in self._exchange.instruments:
            raise Refusal(Reason.NOT_FOUND, f"asset not found for {symbol}")
        return web.json_response(asset_json(self._exchange.instruments[symbol]))


def _is_wanted(order: Order, request: web.Request) -> bool:
    status = request.query.get("status", "open")
    if status not in {"open", "closed", "all"}:
        raise invalid("invalid status")
    symbols = {s for s in request.query.get("symbols", "").split(",") if s}
    if symbols and order.request.symbol not in symbols:
        return False
    after, until = asked_time(request, "after"), asked_time(request, "until")
    submitted = order.created_at
    if (after is not None and submitted <= after) or (until is not None and submitted >= until):
        return False
    return status == "all" or order.is_open == (status == "open")


def asked_time(request: web.Request, name: str) -> datetime | None:
    """A moment in the query, if there is one. Raises Refusal."""
    given = request.query.get(name)
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid(f"invalid {name}")
    return moment

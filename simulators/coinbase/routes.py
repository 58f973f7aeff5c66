"""The vendor's routes below `/api/v3/brokerage`: parse, one call, render."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from aiohttp import web

from simulators.coinbase.errors import order_refusal_json
from simulators.coinbase.render import (
    STATES,
    accounts_json,
    book_json,
    created_json,
    fill_json,
    order_json,
    product_json,
)
from simulators.coinbase.requests import parse_order, read_fields
from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.gate import ACCOUNT
from simulators.market.orders import Order
from simulators.market.refusals import Reason, Refusal

PREFIX = "/api/v3/brokerage"
_DEFAULT_LIMIT, _MAX_LIMIT = 49, 250
_T = TypeVar("_T")


class VendorRoutes:
    def __init__(self, exchange: Exchange, desk: Desk) -> None:
        self._exchange = exchange
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        return [
            web.get(f"{PREFIX}/accounts", self._accounts),
            web.post(f"{PREFIX}/orders", self._submit),
            web.post(f"{PREFIX}/orders/batch_cancel", self._cancel),
            web.get(f"{PREFIX}/orders/historical/batch", self._orders),
            web.get(f"{PREFIX}/orders/historical/fills", self._fills),
            web.get(f"{PREFIX}/orders/historical/{{order_id}}", self._order),
            web.get(f"{PREFIX}/products", self._products),
            web.get(f"{PREFIX}/products/{{product_id}}", self._product),
            web.get(f"{PREFIX}/best_bid_ask", self._books),
        ]

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        fields = read_fields(await request.read())
        try:
            return await self._desk.submit(
                request,
                fields.get("client_order_id"),
                fields.get("product_id"),
                lambda: parse_order(fields),
                lambda order: web.json_response(created_json(order)),
            )
        except Refusal as refusal:
            return web.json_response(order_refusal_json(refusal, fields.get("order_configuration")))

    async def _cancel(self, request: web.Request) -> web.Response:
        given = read_fields(await request.read()).get("order_ids")
        if not isinstance(given, list) or not given:
            raise Refusal(Reason.INVALID, "order_ids is required")
        return web.json_response({"results": [self._cancelled(request, str(order_id)) for order_id in given]})

    def _cancelled(self, request: web.Request, order_id: str) -> dict[str, object]:
        reason = "UNKNOWN_CANCEL_FAILURE_REASON"
        try:
            self._exchange.cancel(request[ACCOUNT], order_id)
        except Refusal:
            reason = "UNKNOWN_CANCEL_ORDER"
        return {"success": reason == "UNKNOWN_CANCEL_FAILURE_REASON", "failure_reason": reason, "order_id": order_id}

    async def _orders(self, request: web.Request) -> web.Response:
        orders = [o for o in reversed(self._exchange.orders_of(request[ACCOUNT])) if _is_wanted(o, request)]
        page, cursor = _page(orders, request)
        rows = [order_json(order) for order in page]
        return web.json_response({"orders": rows, "sequence": "0", "has_next": bool(cursor), "cursor": cursor})

    async def _order(self, request: web.Request) -> web.Response:
        order = self._exchange.find(request[ACCOUNT], request.match_info["order_id"])
        return web.json_response({"order": order_json(order)})

    async def _fills(self, request: web.Request) -> web.Response:
        since, wanted = _time(request, "start_sequence_timestamp"), set(request.query.getall("order_ids", []))
        orders = self._exchange.orders_of(request[ACCOUNT])
        fills = [(o, e) for o in orders if not wanted or o.id in wanted for e in o.executions]
        late = [(o, e) for o, e in fills if since is None or e.at_ns >= int(since.timestamp() * 1_000_000) * 1_000]
        late.sort(key=lambda fill: fill[1].at_ns, reverse=True)
        page, cursor = _page(late, request)
        return web.json_response({"fills": [fill_json(o, e) for o, e in page], "cursor": cursor})

    async def _accounts(self, request: web.Request) -> web.Response:
        self._exchange.settle(request[ACCOUNT])
        rows = list(accounts_json(request[ACCOUNT], self._exchange.instruments))
        page, cursor = _page(rows, request)
        body = {"accounts": page, "has_next": bool(cursor), "cursor": cursor, "size": len(page)}
        return web.json_response(body)

    async def _products(self, request: web.Request) -> web.Response:
        wanted = set(request.query.getall("product_ids", []))
        found = [i for i in self._exchange.instruments.values() if not wanted or i.symbol in wanted]
        return web.json_response({"products": [product_json(i) for i in found], "num_products": len(found)})

    async def _product(self, request: web.Request) -> web.Response:
        return web.json_response(product_json(self._exchange.instrument(request.match_info["product_id"])))

    async def _books(self, request: web.Request) -> web.Response:
        """Of a product that is not there, none: whether the vendor refuses the whole request instead is unproven."""
        wanted, known = request.query.getall("product_ids", []), self._exchange.instruments
        books = [book_json(known[symbol], time.time_ns()) for symbol in wanted or known if symbol in known]
        return web.json_response({"pricebooks": books})


def _is_wanted(order: Order, request: web.Request) -> bool:
    products, states = request.query.getall("product_ids", []), request.query.getall("order_status", [])
    begin, end = _time(request, "start_date"), _time(request, "end_date")
    return (
        (not products or order.request.symbol in products)
        and (not states or STATES[order.status] in states)
        and (begin is None or order.created_at >= begin)
        and (end is None or order.created_at < end)
    )


def _page(items: Sequence[_T], request: web.Request) -> tuple[Sequence[_T], str]:
    """What is asked for and the cursor of what follows, empty at the end."""
    limit = _whole(request, "limit", _DEFAULT_LIMIT, lambda n: 1 <= n <= _MAX_LIMIT)
    begin = _whole(request, "cursor", 0, lambda _: True)
    after = begin + limit
    return items[begin:after], str(after) if after < len(items) else ""


def _whole(request: web.Request, name: str, default: int, fits: Callable[[int], bool]) -> int:
    given = request.query.get(name) or str(default)
    if not given.isdecimal() or not fits(int(given)):
        raise Refusal(Reason.INVALID, f"invalid {name}")
    return int(given)


def _time(request: web.Request, name: str) -> datetime | None:
    given = request.query.get(name)
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(Reason.INVALID, f"invalid {name}")
    return moment

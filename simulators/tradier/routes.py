"""The vendor's account routes: parse, one call, render."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from aiohttp import web

from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.gate import ACCOUNT
from simulators.market.orders import Order, OrderRequest
from simulators.market.refusals import Reason, Refusal
from simulators.tradier.errors import invalid
from simulators.tradier.render import answer, balances_json, order_json, position_json, wrapped
from simulators.tradier.requests import parse_order

_DEFAULT_LIMIT = 25
_REACH = timedelta(days=31)


class AccountRoutes:
    def __init__(self, exchange: Exchange, desk: Desk) -> None:
        self._exchange = exchange
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        path = "/v1/accounts/{account}"
        return [
            web.post(f"{path}/orders", self._submit),
            web.get(f"{path}/orders", self._orders),
            web.get(f"{path}/orders/{{order_id}}", self._order),
            web.delete(f"{path}/orders/{{order_id}}", self._cancel),
            web.get(f"{path}/positions", self._positions),
            web.get(f"{path}/balances", self._balances),
        ]

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        form: Mapping[str, str] = {
            name: value for name, value in (await request.post()).items() if isinstance(value, str)
        }

        def parse() -> OrderRequest:
            self._exchange.settle(request[ACCOUNT])
            return parse_order(form, request[ACCOUNT], self._exchange.instruments)

        def render(order: Order) -> web.Response:
            # Of a submission only the id is told, unless the order is already over.
            told = {"id": int(order.id), "status": "ok", "partner_id": "simulated"}
            return answer(request, {"order": told if order.is_open else order_json(order, tags=True)})

        return await self._desk.submit(request, form.get("tag"), form.get("symbol"), parse, render)

    async def _orders(self, request: web.Request) -> web.Response:
        """Those of today and what is open; `filter=all`: a month, or from `start` on."""
        page, limit = _count(request, "page", 1), _count(request, "limit", _DEFAULT_LIMIT)
        wanted = [o for o in self._exchange.orders_of(request[ACCOUNT]) if _is_wanted(o, request)]
        shown = wanted[(page - 1) * limit : page * limit]
        return answer(request, wrapped("orders", "order", [order_json(o, tags=_tags(request)) for o in shown]))

    async def _order(self, request: web.Request) -> web.Response:
        return answer(request, {"order": order_json(self._find(request), tags=_tags(request))})

    async def _cancel(self, request: web.Request) -> web.Response:
        order = self._exchange.cancel(request[ACCOUNT], self._find(request).id)
        return answer(request, {"order": {"id": int(order.id), "status": "ok"}})

    async def _positions(self, request: web.Request) -> web.Response:
        account = request[ACCOUNT]
        self._exchange.settle(account)
        held = [position_json(s, p, number) for number, (s, p) in enumerate(account.positions.items(), 1)]
        return answer(request, wrapped("positions", "position", held))

    async def _balances(self, request: web.Request) -> web.Response:
        self._exchange.settle(request[ACCOUNT])
        return answer(request, balances_json(request[ACCOUNT], self._exchange.instruments))

    def _find(self, request: web.Request) -> Order:
        order_id = request.match_info["order_id"]
        if not order_id.isdecimal():
            raise Refusal(Reason.NOT_FOUND, "order not found")
        return self._exchange.find(request[ACCOUNT], order_id)


def _tags(request: web.Request) -> bool:
    return request.query.get("includeTags") == "true"


def _count(request: web.Request, name: str, default: int) -> int:
    given = request.query.get(name, str(default))
    if not given.isdecimal() or not 1 <= int(given) <= 10_000:
        raise invalid(f"{name} is invalid")
    return int(given)


def _is_wanted(order: Order, request: web.Request) -> bool:
    today = datetime.now(UTC).date()
    kind = request.query.get("filter", "intraday")
    if kind not in {"intraday", "all"}:
        raise invalid("filter is invalid")
    if kind == "intraday":
        return order.is_open or order.created_at.date() == today
    return max(_day(request, "start", today - _REACH), today - _REACH) <= order.created_at.date()


def _day(request: web.Request, name: str, default: date) -> date:
    given = request.query.get(name)
    if given is None:
        return default
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise invalid(f"{name} is invalid") from None

"""`/_control`: how a test or a demonstration sets the stage and counts what arrived. Not the vendor's."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from simulators.alpaca.behaviour import Behaviour, Fault
from simulators.alpaca.errors import RefusalError
from simulators.alpaca.exchange import Exchange, Tally
from simulators.alpaca.gate import Gate
from simulators.alpaca.ledger import Account
from simulators.alpaca.render import decimal_text
from simulators.alpaca.requests import Asset, parse_order

_MAX_LISTED = 10_000
_S = TypeVar("_S", bound="_Spec")


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountSpec(_Spec):
    """`positions` maps symbol to quantity held; `behaviour` applies to all orders of the account."""

    key_id: str = Field(min_length=1)
    secret: SecretStr
    cash: Decimal = Decimal(100_000)
    positions: dict[str, Decimal] = Field(default_factory=dict)
    shorting_enabled: bool = False
    trading_blocked: bool = False
    behaviour: Behaviour | None = None


class AssetSpec(_Spec):
    """`price` is that of the last trade too, at `traded_at`; without it, at any time that it is asked for."""

    symbol: str = Field(min_length=1)
    price: Decimal = Field(gt=0)
    fractionable: bool = True
    tradable: bool = True
    traded_at: AwareDatetime | None = None


class BehaviourSpec(_Spec):
    """`count` orders in the future (of `account`, if given); else all of `symbol` or `account`; else every order."""

    behaviour: Behaviour
    account: str | None = None
    symbol: str | None = None
    count: int | None = Field(default=None, ge=1, le=10_000)


class ReadFaultSpec(_Spec):
    """Breaks the next `fault.times` requests other than submissions."""

    fault: Fault


class TradeSpec(_Spec):
    """An order that the account's owner places by hand, not through us; it fills at once at the symbol's price."""

    account: str
    symbol: str
    side: Literal["buy", "sell"]
    qty: Decimal = Field(gt=0)


class Control:
    """The same operations in process (methods) and over HTTP (`table`). All raise ValueError on nonsense."""

    def __init__(self, exchange: Exchange, gate: Gate) -> None:
        self._exchange = exchange
        self._gate = gate

    def add_account(self, spec: AccountSpec) -> None:
        account = Account(
            key_id=spec.key_id,
            secret=spec.secret.get_secret_value(),
            cash=spec.cash,
            shorting_enabled=spec.shorting_enabled,
            trading_blocked=spec.trading_blocked,
            behaviour=spec.behaviour,
        )
        self._exchange.add_account(account, spec.positions)

    def set_asset(self, spec: AssetSpec) -> None:
        self._exchange.set_asset(Asset(spec.symbol, spec.price, spec.fractionable, spec.tradable, spec.traded_at))

    def set_behaviour(self, spec: BehaviourSpec) -> None:
        exchange = self._exchange
        if spec.account is not None and spec.account not in exchange.accounts:
            raise ValueError(f"no account {spec.account!r}")
        if spec.count is not None:
            exchange.next_behaviours.extend([(spec.account, spec.behaviour)] * spec.count)
        elif spec.account is not None:
            exchange.accounts[spec.account].behaviour = spec.behaviour
        elif spec.symbol is not None:
            if spec.symbol not in exchange.assets:
                raise ValueError(f"no asset {spec.symbol!r}")
            exchange.symbol_behaviours[spec.symbol] = spec.behaviour
        else:
            exchange.default_behaviour = spec.behaviour

    def fail_reads(self, spec: ReadFaultSpec) -> None:
        self._gate.read_faults.extend([spec.fault] * spec.fault.times)

    def trade(self, spec: TradeSpec) -> str:
        """The id of the order that it leaves behind."""
        exchange = self._exchange
        if spec.account not in exchange.accounts:
            raise ValueError(f"no account {spec.account!r}")
        fields: dict[str, object] = {"symbol": spec.symbol, "side": spec.side, "qty": spec.qty}
        fields |= {"type": "market", "time_in_force": "day"}
        try:
            request = parse_order(fields, exchange.assets)
            order = exchange.submit(exchange.accounts[spec.account], request, Tally(Behaviour()))
        except RefusalError as refusal:
            raise ValueError(str(refusal)) from refusal
        exchange.settle(exchange.accounts[spec.account])
        return order.id

    def orders(self, client_order_id: str | None = None) -> list[dict[str, object]]:
        """One row per (account, client order id): how often it was sent, refused as a duplicate, and booked."""
        return [
            {
                "account": key_id,
                "client_order_id": client_id,
                "submissions": tally.submissions,
                "duplicates": tally.duplicates,
                "booked": len(booked),
                "statuses": [order.status for order in booked],
                "histories": [order.history for order in booked],
                "filled_qty": [decimal_text(order.filled_qty) for order in booked],
            }
            for key_id, client_id, tally, booked in self._exchange.tallies()
            if client_order_id in {None, client_id}
        ]

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/health", self._health),
            web.get("/_control/orders", self._list_orders),
            web.post("/_control/accounts", _setter(AccountSpec, self.add_account)),
            web.post("/_control/assets", _setter(AssetSpec, self.set_asset)),
            web.post("/_control/behaviours", _setter(BehaviourSpec, self.set_behaviour)),
            web.post("/_control/trades", _setter(TradeSpec, self.trade)),
            web.post("/_control/read-faults", _setter(ReadFaultSpec, self.fail_reads)),
        ]

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _list_orders(self, request: web.Request) -> web.Response:
        rows = self.orders(request.query.get("client_order_id"))
        return web.json_response({"orders": rows[-_MAX_LISTED:], "total": len(rows)})


def _setter(kind: type[_S], apply: Callable[[_S], object]) -> Handler:
    """A handler that takes one JSON object or a list of them; 400 with the reason at the first that is wrong."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            given = json.loads(await request.read(), parse_float=Decimal)
            for item in given if isinstance(given, list) else [given]:
                apply(kind.model_validate(item))
        except ValueError as error:
            return web.json_response({"message": str(error)}, status=400)
        return web.Response(status=204)

    return handler

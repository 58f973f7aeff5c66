"""`/_control`: how a test or a demonstration sets the stage and counts what arrived. Not the vendors'."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from simulators.market.behaviour import Behaviour, Fault
from simulators.market.exchange import Exchange, Tally
from simulators.market.gate import Gate, Outage
from simulators.market.instruments import Instrument
from simulators.market.ledger import Account
from simulators.market.orders import OrderRequest
from simulators.market.refusals import Refusal
from simulators.market.text import decimal_text

_MAX_LISTED = 10_000
_S = TypeVar("_S", bound="_Spec")


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountSpec(_Spec):
    """`cash` is the USD wallet, `wallets` are the others; `positions` maps what is held to its quantity.

    `behaviour` applies to all orders of the account.
    """

    key_id: str = Field(min_length=1)
    secret: SecretStr
    cash: Decimal = Decimal(100_000)
    wallets: dict[str, Decimal] = Field(default_factory=dict)
    positions: dict[str, Decimal] = Field(default_factory=dict)
    shorting_enabled: bool = False
    trading_blocked: bool = False
    behaviour: Behaviour | None = None


class InstrumentSpec(_Spec):
    """What is not given stays as it is; of a new symbol, as the venue's other instruments have it."""

    symbol: str = Field(min_length=1)
    price: Decimal = Field(gt=0)
    base: str = ""
    quote_currency: str = "USD"
    qty_step: Decimal | None = Field(default=None, gt=0)
    price_step: Decimal | None = Field(default=None, gt=0)
    min_qty: Decimal | None = None
    min_notional: Decimal | None = None
    tradable: bool = True
    halted: bool = False
    cancel_only: bool = False
    limit_only: bool = False
    post_only: bool = False
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


class StreamFaultSpec(_Spec):
    """Of one account's streams, or of all: the next `drop` events are lost; `close` ends the connections there are."""

    account: str | None = None
    drop: int = Field(default=0, ge=0, le=10_000)
    close: bool = False


class OutageSpec(_Spec):
    """From now on for `seconds` the venue answers nothing but 503, or drops every connection; streams end at once."""

    seconds: float = Field(ge=0, le=86_400)
    how: Literal["unavailable", "drop"] = "unavailable"


class RevocationSpec(_Spec):
    """The account's key is refused from now on, or taken again."""

    account: str
    revoked: bool = True


class Control:
    """The same operations in process (methods) and over HTTP (`table`). All raise ValueError on nonsense.

    `template` is what a new instrument is like where its spec says nothing.
    """

    def __init__(self, exchange: Exchange, gate: Gate, template: Instrument) -> None:
        self._exchange = exchange
        self._gate = gate
        self._template = template
        self._trades = 0

    def add_account(self, spec: AccountSpec) -> None:
        account = Account(
            key_id=spec.key_id,
            secret=spec.secret.get_secret_value(),
            wallets={"USD": spec.cash, **spec.wallets},
            shorting_enabled=spec.shorting_enabled,
            trading_blocked=spec.trading_blocked,
            behaviour=spec.behaviour,
        )
        self._exchange.add_account(account, spec.positions)

    def set_instrument(self, spec: InstrumentSpec) -> None:
        known = self._exchange.instruments.get(spec.symbol, self._template)
        self._exchange.set_instrument(replace(known, **spec.model_dump(exclude_unset=True)))

    def set_behaviour(self, spec: BehaviourSpec) -> None:
        exchange = self._exchange
        if spec.account is not None:
            self._account(spec.account)
        if spec.count is not None:
            exchange.next_behaviours.extend([(spec.account, spec.behaviour)] * spec.count)
        elif spec.account is not None:
            exchange.accounts[spec.account].behaviour = spec.behaviour
        elif spec.symbol is not None:
            if spec.symbol not in exchange.instruments:
                raise ValueError(f"no instrument {spec.symbol!r}")
            exchange.symbol_behaviours[spec.symbol] = spec.behaviour
        else:
            exchange.default_behaviour = spec.behaviour

    def fail_reads(self, spec: ReadFaultSpec) -> None:
        self._gate.read_faults.extend([spec.fault] * spec.fault.times)

    def stop_failing(self) -> None:
        self._gate.read_faults.clear()

    def fail_streams(self, spec: StreamFaultSpec) -> None:
        if spec.account is not None:
            self._account(spec.account)
        if spec.drop:
            self._exchange.feed.drop(spec.drop, spec.account)
        if spec.close:
            self._exchange.feed.close(spec.account)

    def go_down(self, spec: OutageSpec) -> None:
        self._gate.outage = Outage(self._exchange.clock() + spec.seconds, spec.how)
        self._exchange.feed.close()

    def revoke(self, spec: RevocationSpec) -> None:
        account = self._account(spec.account)
        account.revoked = spec.revoked
        if spec.revoked:
            self._exchange.feed.close(account.key_id)

    def trade(self, spec: TradeSpec) -> str:
        """The id of the order that it leaves behind."""
        account = self._account(spec.account)
        self._trades += 1
        request = OrderRequest(f"by-hand-{self._trades}", spec.symbol, spec.side, "market", "day", spec.qty)
        try:
            order = self._exchange.submit(account, request, Tally(Behaviour()))
        except Refusal as refusal:
            raise ValueError(refusal.message) from refusal
        self._exchange.settle(account)
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
                "statuses": [order.status.value for order in booked],
                "histories": [[state.value for state in order.history] for order in booked],
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
            web.post("/_control/instruments", _setter(InstrumentSpec, self.set_instrument)),
            web.post("/_control/behaviours", _setter(BehaviourSpec, self.set_behaviour)),
            web.post("/_control/trades", _setter(TradeSpec, self.trade)),
            web.post("/_control/read-faults", _setter(ReadFaultSpec, self.fail_reads)),
            web.post("/_control/stream-faults", _setter(StreamFaultSpec, self.fail_streams)),
            web.post("/_control/outages", _setter(OutageSpec, self.go_down)),
            web.post("/_control/revocations", _setter(RevocationSpec, self.revoke)),
        ]

    def _account(self, key_id: str) -> Account:
        if key_id not in self._exchange.accounts:
            raise ValueError(f"no account {key_id!r}")
        return self._exchange.accounts[key_id]

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

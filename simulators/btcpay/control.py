"""`/_control`: the payer, the chain and the clock, for a test or a demonstration. Not the vendor's."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field

from simulators.btcpay.faults import Kind

if TYPE_CHECKING:
    from simulators.btcpay.server import BtcpayServer


_S = TypeVar("_S", bound="_Spec")


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PaySpec(_Spec):
    """`amount` in bitcoin, or else `part` of what is due in all."""

    invoice: str
    amount: Decimal | None = Field(default=None, gt=0)
    part: Decimal = Field(default=Decimal(1), gt=0)
    rbf: bool = False


class MineSpec(_Spec):
    blocks: int = Field(default=1, ge=1, le=10_000)


class ReplaceSpec(_Spec):
    """`amount`: of the replacement, where it pays the same invoice."""

    payment: str
    amount: Decimal | None = Field(default=None, gt=0)


class ReorganiseSpec(_Spec):
    payment: str
    returns: bool = False


class ExpireSpec(_Spec):
    invoice: str


class ClaimSpec(_Spec):
    pull_payment: str


class AdvanceSpec(_Spec):
    seconds: float = Field(gt=0)


class OutageSpec(_Spec):
    on: bool


class FaultSpec(_Spec):
    kind: Kind
    times: int = Field(default=1, ge=1, le=10_000)


class RateSpec(_Spec):
    rate: Decimal = Field(gt=0)


def table(server: "BtcpayServer") -> list[web.RouteDef]:
    """The server's methods of the same names over HTTP; they answer 400 with the reason where it cannot be."""

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def invoices(_request: web.Request) -> web.Response:
        found = server.book.invoices.values()
        rows = [{"id": i.id, "orderId": i.order_id, "status": i.status, "additionalStatus": i.why} for i in found]
        return web.json_response({"invoices": rows, "pull_payments": list(server.book.pulls)})

    def pay(spec: PaySpec) -> str:
        return server.pay(spec.invoice, spec.amount, part=spec.part, rbf=spec.rbf)

    return [
        web.get("/_control/health", health),
        web.get("/_control/invoices", invoices),
        web.post("/_control/payments", _handler(PaySpec, pay)),
        web.post("/_control/blocks", _handler(MineSpec, lambda spec: server.mine(spec.blocks))),
        web.post("/_control/replacements", _handler(ReplaceSpec, lambda s: server.replace(s.payment, s.amount))),
        web.post(
            "/_control/reorganisations",
            _handler(ReorganiseSpec, lambda s: server.reorganise(s.payment, returns=s.returns)),
        ),
        web.post("/_control/expirations", _handler(ExpireSpec, lambda spec: server.expire(spec.invoice))),
        web.post("/_control/claims", _handler(ClaimSpec, lambda spec: server.claim(spec.pull_payment))),
        web.post("/_control/clock", _handler(AdvanceSpec, lambda s: server.advance(timedelta(seconds=s.seconds)))),
        web.post("/_control/outages", _handler(OutageSpec, lambda spec: server.outage(on=spec.on))),
        web.post("/_control/faults", _handler(FaultSpec, lambda spec: server.fail(spec.kind, spec.times))),
        web.post("/_control/rates", _handler(RateSpec, lambda spec: server.set_rate(spec.rate))),
    ]


def _handler(kind: type[_S], apply: Callable[[_S], Any]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            made = apply(kind.model_validate(json.loads(await request.read() or b"{}", parse_float=Decimal)))
        except ValueError as error:
            return web.json_response({"message": str(error)}, status=400)
        return web.json_response({"id": made})

    return handler

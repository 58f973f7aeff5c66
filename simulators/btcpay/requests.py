"""Reads what a client sends, as strictly as the vendor's description is."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Any, Literal, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from simulators.btcpay.state import METHOD, Invoice, Speed, Status, new_address, new_id

Amount = Annotated[Decimal, Field(gt=0, max_digits=20)]
_MAX_MINUTES = 1_000_000
_B = TypeVar("_B", bound=BaseModel)


class Refused(Exception):
    """An answer other than 2xx: the vendor's `{code, message}`, or a list of `{path, message}`."""

    def __init__(self, status: int, code: str, message: str, *, faults: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Any = faults if faults is not None else {"code": code, "message": message}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Checkout(_Body):
    speed_policy: Speed | None = None
    payment_methods: list[str] | None = None
    default_payment_method: str | None = None
    lazy_payment_methods: bool | None = None
    expiration_minutes: float | None = Field(default=None, gt=0, le=_MAX_MINUTES)
    monitoring_minutes: float | None = Field(default=None, gt=0, le=_MAX_MINUTES)
    payment_tolerance: float | None = Field(default=None, ge=0, le=100)
    redirect_url: str | None = Field(default=None, alias="redirectURL")
    redirect_automatically: bool | None = None
    default_language: str | None = None

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if self.payment_methods is not None and METHOD not in self.payment_methods:
            raise ValueError(f"the store has no payment method but {METHOD}")
        return self


class NewInvoice(_Body):
    """`receipt` and `additional_search_terms` are taken and of no effect."""

    amount: Amount
    currency: str = "USD"
    metadata: dict[str, Any] = Field(default_factory=dict)
    checkout: Checkout = Field(default_factory=Checkout)
    receipt: dict[str, Any] | None = None
    additional_search_terms: list[str] | None = None

    def invoice(self, store_id: str, rate: Decimal, speed: Speed, now: datetime) -> Invoice:
        wanted = self.checkout
        expires_at = now + timedelta(minutes=wanted.expiration_minutes or 15)
        given = wanted.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"speed_policy", "payment_methods"}
        )
        return Invoice(
            id=new_id(),
            store_id=store_id,
            amount=self.amount,
            currency=self.currency,
            rate=rate,
            speed=wanted.speed_policy or speed,
            destination=new_address(),
            created_at=now,
            expires_at=expires_at,
            watched_until=expires_at + timedelta(minutes=wanted.monitoring_minutes or 1_440),
            tolerance=Decimal(str(wanted.payment_tolerance or 0)),
            metadata=self.metadata,
            checkout=given,
        )


class UpdatedInvoice(_Body):
    metadata: dict[str, Any]


class Mark(_Body):
    status: Literal[Status.SETTLED, Status.INVALID]


class NewRefund(_Body):
    refund_variant: Literal["RateThen", "CurrentRate", "OverpaidAmount", "Fiat", "Custom"]
    name: str | None = None
    description: str = ""
    payout_methods: list[str] | None = None
    subtract_percentage: Annotated[Decimal, Field(ge=0, le=100)] = Decimal(0)
    custom_amount: Amount | None = None
    custom_currency: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.refund_variant == "Custom" and (self.custom_amount is None or not self.custom_currency):
            raise ValueError("Custom needs customAmount and customCurrency")
        return self

    def money(self, invoice: Invoice, rate: Decimal) -> tuple[Decimal, str]:
        """Amount and currency of the pull payment; nothing, where nothing is to be given back."""
        bitcoin = {
            "RateThen": invoice.paid,
            "CurrentRate": invoice.paid_amount / rate,
            "OverpaidAmount": max(invoice.paid - invoice.due, Decimal(0)),
        }
        if self.refund_variant == "Custom":
            assert self.custom_amount is not None
            amount, currency = self.custom_amount, str(self.custom_currency)
        elif self.refund_variant == "Fiat":
            amount, currency = invoice.paid_amount, invoice.currency
        else:
            amount, currency = bitcoin[self.refund_variant], "BTC"
        step = Decimal("0.00000001") if currency == "BTC" else Decimal("0.01")
        return (amount * (100 - self.subtract_percentage) / 100).quantize(step, rounding=ROUND_DOWN), currency


async def read(request: web.Request, kind: type[_B]) -> _B:
    """Raises Refused."""
    try:
        given = json.loads(await request.read() or b"{}", parse_float=Decimal)
        return kind.model_validate(given)
    except ValidationError as error:
        faults = [{"path": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()]
        raise Refused(400, "", "", faults=faults) from error
    except ValueError as error:
        raise Refused(400, "invalid-json", "the body is no JSON object") from error


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """Of a parameter that is a number of at least 0. Raises Refused."""
    given = query.get(name) or str(default)
    if not given.isdecimal():
        raise Refused(400, "", "", faults=[{"path": name, "message": "not a number of at least 0"}])
    return int(given)

"""Invoices and refunds on the wire. Money is given twice: as a decimal string, and in minor units (US cents)."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, Request
from domain import billing
from domain.amounts import shown

_REASON = 500


class Refund(Answer):
    refund_id: str = Field(examples=["RF-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    invoice_id: str = Field(examples=["IN-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    amount: str = Field(examples=["49.00"])
    amount_minor: int = Field(examples=[4900])
    currency: str = Field(examples=["usd"])
    status: billing.RefundStatus = Field(
        description="claimable: the payer says where to at claim_url, and the operator of the server releases it.",
        examples=["succeeded"],
    )
    reason: str = Field(examples=["paid twice"])
    actor: str
    claim_url: str | None = Field(
        description="Of bitcoin: for the payer only, whoever has it can claim.",
        examples=["https://btcpay.example/pull-payments/3Q"],
    )
    created_at: datetime | None

    @classmethod
    def of(cls, refund: billing.Refund, currency: str) -> "Refund":
        told = {name: getattr(refund, name) for name in _REFUND_FIELDS}
        return cls(**told, amount=shown(refund.amount_minor), currency=currency)


_REFUND_FIELDS = ("refund_id", "invoice_id", "amount_minor", "status", "reason", "actor", "claim_url", "created_at")


class Invoice(Answer):
    invoice_id: str = Field(examples=["IN-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    subscription_id: str = Field(examples=["SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4"])
    provider: billing.Provider = Field(examples=["stripe"])
    kind: billing.InvoiceKind = Field(
        description="period, upgrade, or other: made by hand at the payment system.", examples=["period"]
    )
    status: billing.InvoiceStatus = Field(
        description="processing: paid, and not yet to the policy that counts; invalid: what was paid is gone again.",
        examples=["paid"],
    )
    detail: str | None = Field(description="The payment system's further word.", examples=["PaidLate"])
    plan_id: str | None = Field(examples=["core"])
    plan_version: int | None = Field(examples=[1])
    currency: str = Field(examples=["usd"])
    amount: str = Field(examples=["49.00"])
    amount_minor: int = Field(examples=[4900])
    paid: str = Field(description="What has been received and counts, refunds not taken off.", examples=["49.00"])
    paid_minor: int = Field(examples=[4900])
    refunded: str = Field(examples=["0.00"])
    refunded_minor: int = Field(examples=[0])
    period_start: datetime | None
    period_end: datetime | None
    url: str | None = Field(
        description="Where it is paid or looked at.", examples=["https://invoice.stripe.com/i/acct_1/test_2"]
    )
    pdf_url: str | None = Field(examples=["https://pay.stripe.com/invoice/acct_1/test_2/pdf"])
    due_at: datetime | None
    created_at: datetime | None
    paid_at: datetime | None

    @classmethod
    def of(cls, invoice: billing.Invoice) -> "Invoice":
        return cls(**_told(invoice))


class InvoiceDetail(Invoice):
    refundable: str = Field(description="What can still be given back.", examples=["49.00"])
    refundable_minor: int = Field(examples=[4900])
    refunds: list[Refund] = Field(description="The oldest first.")

    @classmethod
    def whole(cls, invoice: billing.Invoice, refunds: Iterable[billing.Refund], left: int) -> "InvoiceDetail":
        """`left`: what can still be given back, in minor units."""
        shown_refunds = [Refund.of(refund, invoice.currency) for refund in refunds]
        return cls(**_told(invoice), refundable=shown(left), refundable_minor=left, refunds=shown_refunds)


def _told(invoice: billing.Invoice) -> dict[str, object]:
    money = {name: shown(getattr(invoice, f"{name}_minor")) for name in ("amount", "paid", "refunded")}
    names = Invoice.model_fields.keys() - money.keys()
    return {**{name: getattr(invoice, name) for name in names}, **money}


class RefundBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "25.00", "reason": "paid twice"}]})

    amount: Annotated[
        Decimal | None,
        Field(
            gt=0,
            max_digits=12,
            decimal_places=2,
            description="A decimal string of at most two decimals; none: all that is left to give back.",
            examples=["25.00"],
        ),
    ] = None
    reason: str = Field(min_length=1, max_length=_REASON, pattern=r"\S", description="Why; audited.")

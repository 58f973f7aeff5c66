"""Invoices and refunds."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from api import subscribing
from api.body import documents, json_body
from api.deps import BillingManager, BillingReader, IdempotencyKey, ServicesDep
from api.paging import Page, SinceQuery, page
from api.schemas.common import WRITES, problems
from api.schemas.invoices import Invoice, InvoiceDetail, Refund, RefundBody
from domain.amounts import minor_of

router = APIRouter(prefix="/v1/invoices", tags=["subscription"])
InvoiceId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["IN-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
]


@router.get("", operation_id="list_invoices", responses=problems())
async def list_invoices(
    caller: BillingReader, services: ServicesDep, query: Annotated[SinceQuery, Query()]
) -> Page[Invoice]:
    """The tenant's invoices, of all its subscriptions, newest first."""
    found = await services.billing.store.invoices(caller.tenant_id, query.part())
    return page(
        found,
        query.limit,
        Invoice.of,
        lambda one: (one.created_at.isoformat() if one.created_at else "", one.invoice_id),
    )


@router.get("/{invoice_id}", operation_id="get_invoice", responses=problems(404))
async def get_invoice(caller: BillingReader, services: ServicesDep, invoice_id: InvoiceId) -> InvoiceDetail:
    """One invoice with its refunds, and what can still be given back."""
    store = services.billing.store
    invoice = await store.invoice(caller.tenant_id, invoice_id)
    refunds = tuple(await store.refunds(caller.tenant_id, invoice_id))
    return InvoiceDetail.whole(invoice, refunds, subscribing.left_of(invoice, refunds))


@router.post(
    "/{invoice_id}/refund",
    operation_id="refund_invoice",
    status_code=201,
    responses=problems(404, 409, *WRITES),
    openapi_extra=documents(RefundBody),
)
async def refund_invoice(
    caller: BillingManager,
    services: ServicesDep,
    invoice_id: InvoiceId,
    key: IdempotencyKey,
    body: Annotated[RefundBody, Depends(json_body(RefundBody))],
) -> Refund:
    """Give back what was paid, all of it or a part; never more than is left. A repeat under the key gives back once.

    By card it goes back to the card. In bitcoin the payer says at `claim_url` where to.
    """
    amount = None if body.amount is None else minor_of("amount", body.amount)
    invoice, made = await subscribing.refund(services, caller, key, invoice_id, amount, body.reason)
    return Refund.of(made, invoice.currency)

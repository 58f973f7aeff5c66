"""The rows of a subscription: to and from domain values, and written one by one with their audit events."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

import models
from adapters.store.entities import emit
from domain.billing import (
    Entry,
    EntryKind,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.errors import InvalidInput

_T = TypeVar("_T")


def of_subscription(held: Subscription) -> dict[str, Any]:
    """As columns."""
    return {**asdict(held), "tenant_id": UUID(held.tenant_id), "reminded": list(held.reminded)}


def to_subscription(row: models.Subscription) -> Subscription:
    given = _given(row, Subscription)
    given |= {"tenant_id": str(row.tenant_id), "reminded": tuple(row.reminded)}
    return Subscription(**{**given, "provider": Provider(row.provider), "status": SubscriptionState(row.status)})


def to_invoice(row: models.BillingInvoice) -> Invoice:
    words = {"provider": Provider(row.provider), "kind": InvoiceKind(row.kind), "status": InvoiceStatus(row.status)}
    return Invoice(**{**_given(row, Invoice), **words})


def to_refund(row: models.BillingRefund) -> Refund:
    return Refund(**{**_given(row, Refund), "status": RefundStatus(row.status)})


def _to_entry(row: models.BillingEntry) -> Entry:
    return Entry(**{**_given(row, Entry), "kind": EntryKind(row.kind)})


def _given(row: SQLModel, kind: type[Any]) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(kind)}


def update(row: models.Subscription, held: Subscription, entitlements: dict[str, Any], now: datetime) -> None:
    for name, value in of_subscription(held).items():
        setattr(row, name, value)
    row.entitlements, row.updated_at = entitlements, now


async def parts(
    session: AsyncSession, subscription_id: str
) -> tuple[tuple[Invoice, ...], tuple[Entry, ...], tuple[Refund, ...]]:
    """Invoices, lines and refunds of a subscription, the oldest first."""
    invoice, entry, refund = models.BillingInvoice, models.BillingEntry, models.BillingRefund
    invoices = select(invoice).where(invoice.subscription_id == subscription_id)
    entries = select(entry).where(entry.subscription_id == subscription_id)
    of_it = select(invoice.invoice_id).where(invoice.subscription_id == subscription_id)
    refunds = select(refund).where(col(refund.invoice_id).in_(of_it))
    found = (
        (await session.exec(invoices.order_by(col(invoice.created_at), col(invoice.invoice_id)))).all(),
        (await session.exec(entries.order_by(col(entry.at), col(entry.entry_id)))).all(),
        (await session.exec(refunds.order_by(col(refund.created_at), col(refund.refund_id)))).all(),
    )
    return (
        tuple(to_invoice(row) for row in found[0]),
        tuple(_to_entry(row) for row in found[1]),
        tuple(to_refund(row) for row in found[2]),
    )


def changed(stored: Iterable[_T], given: Iterable[_T]) -> Sequence[_T]:
    """Those of `given` that are not among `stored` as they are."""
    known = list(stored)
    return [each for each in given if each not in known]


async def put_invoice(session: AsyncSession, held: Subscription, invoice: Invoice, now: datetime, actor: str) -> None:
    """Raises InvalidInput where its id is another subscription's."""
    model = models.BillingInvoice
    given = {**asdict(invoice), "tenant_id": UUID(held.tenant_id), "created_at": invoice.created_at or now}
    made = insert(model).values(given)
    keys = ("invoice_id", "tenant_id", "subscription_id", "created_at")
    put = made.on_conflict_do_update(
        index_elements=["invoice_id"],
        set_={name: made.excluded[name] for name in given if name not in keys},
        where=(col(model.tenant_id) == UUID(held.tenant_id)) & (col(model.subscription_id) == held.subscription_id),
    )
    if await session.scalar(put.returning(col(model.invoice_id))) is None:
        raise InvalidInput("invoice_id", f"{invoice.invoice_id} is another subscription's")
    await _tell(session, held, f"invoice_{invoice.status}", actor, asdict(invoice))


async def put_entry(session: AsyncSession, held: Subscription, entry: Entry, actor: str) -> None:
    """Once per id: the second is no other."""
    model = models.BillingEntry
    given = {**asdict(entry), "tenant_id": UUID(held.tenant_id), "subscription_id": held.subscription_id}
    made = insert(model).values(given).on_conflict_do_nothing().returning(col(model.entry_id))
    if await session.scalar(made) is not None:
        await _tell(session, held, f"entry_{entry.kind}", actor, asdict(entry))


async def put_refund(session: AsyncSession, held: Subscription, refund: Refund, now: datetime, actor: str) -> None:
    model = models.BillingRefund
    tenant = UUID(held.tenant_id)
    given = {**asdict(refund), "tenant_id": tenant, "created_at": refund.created_at or now, "updated_at": now}
    made = insert(model).values(given)
    put = made.on_conflict_do_update(
        index_elements=["refund_id"],
        set_={name: made.excluded[name] for name in ("status", "provider_ref", "claim_url", "updated_at")},
        where=(col(model.tenant_id) == tenant) & (col(model.invoice_id) == refund.invoice_id),
    )
    if await session.scalar(put.returning(col(model.refund_id))) is None:
        raise InvalidInput("refund_id", f"{refund.refund_id} is another invoice's")
    # Whoever has the address of a pull payment may claim it.
    told = {name: value for name, value in asdict(refund).items() if name != "claim_url"}
    await _tell(session, held, f"refund_{refund.status}", actor, told)


async def tell(session: AsyncSession, held: Subscription, action: str, actor: str, more: dict[str, Any]) -> None:
    """An event with the subscription as it stands after it."""
    shown = {name: value for name, value in asdict(held).items() if name != "tenant_id"}
    await _tell(session, held, action, actor, {**shown, **more})


async def _tell(session: AsyncSession, held: Subscription, action: str, actor: str, payload: dict[str, Any]) -> None:
    await emit(session, held.tenant_id, "subscription", held.subscription_id, action, actor, payload)

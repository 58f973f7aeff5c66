"""What is billed and paid, what payment systems have told, and what a tenant has besides its plan."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from models.columns import Owned, identity, json, timestamp

_TENANT = "tenants.tenant_id"
_LEFT = "state = 'pending' OR state = 'orphaned'"
_SUBSCRIPTION = "subscriptions.subscription_id"


def minor() -> Any:
    """Integer minor units (US cents)."""
    return Field(default=0, sa_type=BigInteger, nullable=False, sa_column_kwargs={"server_default": "0"})


class BillingInvoice(Owned, table=True):
    """Its id tells what it is for (`domain.ids.invoice_id`), so that nothing is invoiced twice."""

    __tablename__ = "invoices"
    __table_args__ = (UniqueConstraint("provider", "provider_ref", name="uq_invoices_provider_ref"),)

    invoice_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    subscription_id: str = Field(foreign_key=_SUBSCRIPTION, index=True)
    provider: str
    provider_ref: str | None = None
    kind: str
    number: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    plan_id: str | None = None
    plan_version: int | None = None
    status: str
    detail: str | None = None
    currency: str = Field(default="usd", sa_column_kwargs={"server_default": "usd"})
    amount_minor: int = minor()
    paid_minor: int = minor()
    refunded_minor: int = minor()
    period_start: datetime | None = timestamp(nullable=True)
    period_end: datetime | None = timestamp(nullable=True)
    url: str | None = None
    pdf_url: str | None = None
    due_at: datetime | None = timestamp(nullable=True)
    created_at: datetime = timestamp(now=True)
    paid_at: datetime | None = timestamp(nullable=True)


class BillingEntry(Owned, table=True):
    """A line of a subscription's account: written once, never changed."""

    __tablename__ = "billing_entries"

    subscription_id: str = Field(primary_key=True, foreign_key=_SUBSCRIPTION)
    entry_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    kind: str
    amount_minor: int = minor()
    invoice_id: str | None = Field(default=None, foreign_key="invoices.invoice_id")
    detail: dict[str, Any] = json()
    at: datetime = timestamp()


class BillingRefund(Owned, table=True):
    __tablename__ = "refunds"

    refund_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    invoice_id: str = Field(foreign_key="invoices.invoice_id", index=True)
    amount_minor: int = minor()
    status: str
    reason: str
    actor: str
    provider_ref: str | None = None
    claim_url: str | None = None
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class EntitlementOverride(Owned, table=True):
    """What an operator has granted or taken beside the plan; `ended_at` ends it, and a new row takes its place."""

    __tablename__ = "entitlement_overrides"
    __table_args__ = (
        Index(
            "uq_entitlement_overrides_one", "tenant_id", "name", unique=True, postgresql_where=text("ended_at IS NULL")
        ),
    )

    override_id: int | None = identity()
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    name: str
    value: dict[str, Any] = json()
    reason: str
    actor: str
    created_at: datetime = timestamp(now=True)
    expires_at: datetime | None = timestamp(nullable=True)
    ended_at: datetime | None = timestamp(nullable=True)


class BillingDifference(Owned, table=True):
    """Where a payment system and we disagree; one row as long as it lasts."""

    __tablename__ = "billing_differences"

    difference_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    subscription_id: str = Field(foreign_key=_SUBSCRIPTION)
    provider: str
    kind: str
    ref: str
    ours: dict[str, Any] = json()
    theirs: dict[str, Any] = json()
    found_at: datetime = timestamp(now=True)
    seen_at: datetime = timestamp(now=True)
    resolved_at: datetime | None = timestamp(nullable=True)


class PaymentEvent(SQLModel, table=True):
    """The inbox: that a payment system has said something, of which object. Whose it is, is found out afterwards.

    No tenant's, as nobody knows whose when it comes. It holds ids only, and nothing of what the event says.
    """

    __tablename__ = "payment_events"
    __table_args__ = (
        Index("ix_payment_events_pending", "next_try_at", postgresql_where=text("state = 'pending'")),
        Index("ix_payment_events_left", "provider", "state", postgresql_where=text(_LEFT)),
    )

    provider: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    type: str
    object_ref: str | None = None
    subject_ref: str | None = None
    state: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    note: str | None = None
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    said_at: datetime | None = timestamp(nullable=True)
    received_at: datetime = timestamp(now=True)
    next_try_at: datetime = timestamp(now=True)
    done_at: datetime | None = timestamp(nullable=True)

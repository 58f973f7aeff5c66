"""What happened on the way out: attempts, fills, dead letters."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlmodel import Field

from models.columns import Owned, identity, json, numeric, timestamp


class Attempt(Owned, table=True):
    """One send. A row without `outcome` is a send that nobody has seen the end of."""

    __tablename__ = "attempts"

    fo_id: str = Field(foreign_key="follower_orders.fo_id", primary_key=True)
    attempt_no: int = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    via: str
    started_at: datetime = timestamp(now=True)
    ended_at: datetime | None = timestamp(nullable=True)
    outcome: str | None = None
    code: str | None = None
    http_status: int | None = None
    detail: str | None = None


class ReceivedConfirmation(Owned, table=True):
    """A follower's signed callback that was acted on; `digest` is SHA-256 of its body. A repeat does not act again."""

    __tablename__ = "confirmations"

    fo_id: str = Field(foreign_key="follower_orders.fo_id", primary_key=True)
    confirmation_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    digest: str
    received_at: datetime = timestamp(now=True)


class Fill(Owned, table=True):
    """`fill_id` is a business key (order and cumulative quantity, or the receiver's id): a repeat is no second fill."""

    __tablename__ = "fills"

    fill_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    fo_id: str = Field(foreign_key="follower_orders.fo_id", index=True)
    follower_id: str
    symbol: str
    side: str
    qty: Decimal = numeric()
    price: Decimal | None = numeric(nullable=True)
    source: str
    ts: datetime = timestamp(now=True)


class DeadLetter(Owned, table=True):
    __tablename__ = "dead_letters"

    dead_letter_id: int | None = identity()
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    fo_id: str = Field(foreign_key="follower_orders.fo_id", index=True)
    mo_id: str
    follower_id: str
    reason: str
    context: dict[str, Any] = json()
    created_at: datetime = timestamp(now=True)
    redriven_at: datetime | None = timestamp(nullable=True)
    redriven_by: str | None = None
    purged_at: datetime | None = timestamp(nullable=True)
    purged_by: str | None = None
    purge_reason: str | None = None

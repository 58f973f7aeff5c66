"""Customer organisations, their members and what they subscribe to."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field

from models.columns import Owned, json, text_list, timestamp


class Tenant(Owned, table=True):
    __tablename__ = "tenants"

    tenant_id: UUID = Field(primary_key=True)
    name: str
    created_at: datetime = timestamp(now=True)
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    halt: str | None = None


class User(Owned, table=True):
    __tablename__ = "users"

    user_id: UUID = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    email: str
    role: str
    oidc_sub: str | None = None
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    created_at: datetime = timestamp(now=True)


class Subscription(Owned, table=True):
    """One that is not over at a time. What its fields mean: `domain.billing.Subscription`."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index(
            "uq_subscriptions_live",
            "tenant_id",
            unique=True,
            postgresql_where=text("status NOT IN ('canceled', 'incomplete_expired')"),
        ),
        Index(
            "uq_subscriptions_provider_ref",
            "provider",
            "provider_ref",
            unique=True,
            postgresql_where=text("provider_ref IS NOT NULL"),
        ),
    )

    subscription_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    plan_id: str
    status: str
    entitlements: dict[str, Any] = json()
    renewal_at: datetime | None = timestamp(nullable=True)
    plan_version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    provider: str = Field(default="stripe", sa_column_kwargs={"server_default": "stripe"})
    customer_ref: str | None = Field(default=None, index=True)
    provider_ref: str | None = None
    anchor_at: datetime | None = timestamp(nullable=True)
    period_start: datetime | None = timestamp(nullable=True)
    paid_through: datetime | None = timestamp(nullable=True)
    trial_end: datetime | None = timestamp(nullable=True)
    past_due_since: datetime | None = timestamp(nullable=True)
    grace_until: datetime | None = timestamp(nullable=True)
    close_only: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    cancel_at: datetime | None = timestamp(nullable=True)
    ended_at: datetime | None = timestamp(nullable=True)
    paused_at: datetime | None = timestamp(nullable=True)
    resume_at: datetime | None = timestamp(nullable=True)
    scheduled_plan_id: str | None = None
    scheduled_plan_version: int | None = None
    reminded: list[str] = text_list()
    coupon: str | None = None
    version: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)

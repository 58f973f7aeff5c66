"""Customer organisations, their members and what they subscribe to."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Field

from models.columns import Owned, json, timestamp


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
    __tablename__ = "subscriptions"

    subscription_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    plan_id: str
    status: str
    entitlements: dict[str, Any] = json()
    renewal_at: datetime | None = timestamp(nullable=True)

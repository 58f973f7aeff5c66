"""Secrets at rest, and what makes repeats harmless."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Field

from models.columns import Owned, json, timestamp


class WebhookKey(Owned, table=True):
    """A follower's signing key, sealed under master key `key_id`; a rotated one signs until `expires_at`."""

    __tablename__ = "webhook_keys"

    key_ref: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    key_id: str
    sealed: bytes
    created_at: datetime = timestamp(now=True)
    expires_at: datetime | None = timestamp(nullable=True)


class Credential(Owned, table=True):
    """A follower's broker credential, sealed under master key `key_id`; `version` counts its values.

    `status_at` is when its status began. `refreshes`: the sealed value holds a refresh token. `line` is equal for equal
    keys; None: sealed before that was kept.
    """

    __tablename__ = "credentials"

    cred_ref: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    venue: str
    environment: str
    key_id: str
    sealed: bytes
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    status_at: datetime = timestamp(now=True)
    broken_reason: str | None = None
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    expires_at: datetime | None = timestamp(nullable=True)
    refreshes: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    line: str | None = None
    created_at: datetime = timestamp(now=True)


class IdempotencyKey(Owned, table=True):
    """The answer to a request that changed something, kept so that its repeat gets the same one."""

    __tablename__ = "idempotency_keys"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    status: int
    response: dict[str, Any] = json()
    created_at: datetime = timestamp(now=True)


class IdempotencyAnswer(Owned, table=True):
    """A request that moves money, while Redis is away: under way without `status`, until `expires_at` in any case."""

    __tablename__ = "idempotency_answers"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", primary_key=True)
    caller: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    token: str
    status: int | None = None
    body: bytes | None = None
    content_type: str | None = None
    location: str | None = None
    expires_at: datetime = timestamp(index=True)


class IngestedEntry(Owned, table=True):
    """An entry of autotrade_queue.json that has become an order, or was refused by admission."""

    __tablename__ = "ingested_entries"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", primary_key=True)
    entry_key: str = Field(primary_key=True)
    mo_id: str
    outcome: str
    created_at: datetime = timestamp(now=True)

"""Vaults, their followers, what they hold, and what can be traded."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, Index, SQLModel

from models.columns import Owned, json, numeric, text_list, timestamp


class Vault(Owned, table=True):
    """`nav_told_usd` is the NAV of its last audit event; `nav_fault` says why no NAV can be told at present."""

    __tablename__ = "vaults"
    __table_args__ = (Index("ix_vaults_public", "vault_id", postgresql_where=text("public")),)

    vault_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    label: str
    rails: list[str] = text_list()
    personas: list[str] = text_list()
    risk_profile: dict[str, Any] = json()
    public: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    status: str = Field(default="open", sa_column_kwargs={"server_default": "open"})
    maintenance: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    halt: str | None = None
    nav_usd: Decimal | None = numeric(nullable=True)
    nav_asof: datetime | None = timestamp(nullable=True)
    cash_usd: Decimal | None = numeric(nullable=True)
    nav_told_usd: Decimal | None = numeric(nullable=True)
    nav_fault: str | None = None
    created_at: datetime = timestamp(now=True)


class Follower(Owned, table=True):
    __tablename__ = "followers"
    __table_args__ = (
        Index("ix_followers_vault", "tenant_id", "vault_id", "follower_id"),
        Index("ix_followers_subscriber", "subscriber_tenant_id", "created_at", "follower_id"),
    )

    follower_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    subscriber_tenant_id: UUID
    vault_id: str = Field(foreign_key="vaults.vault_id")
    mode: str
    scale: Decimal = numeric(default="1")
    max_pos_usd: Decimal | None = numeric(nullable=True)
    kill_switch: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    fractional: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    persona: str | None = None
    webhook: dict[str, Any] | None = Field(default=None, sa_type=JSONB, nullable=True)
    bridged_brokers: dict[str, Any] | None = Field(default=None, sa_type=JSONB, nullable=True)
    endpoint_disabled_at: datetime | None = timestamp(nullable=True)
    endpoint_disabled_reason: str | None = None
    endpoint_enabled_at: datetime | None = timestamp(nullable=True)
    endpoint_test_until: datetime | None = timestamp(nullable=True)
    consecutive_failures: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    allow_short: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    halt: str | None = None
    maintenance: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    reconcile_policy: str = Field(default="observe", sa_column_kwargs={"server_default": "observe"})
    funds_usd: Decimal | None = numeric(nullable=True)
    funds_asof: datetime | None = timestamp(nullable=True)
    created_at: datetime = timestamp(now=True)


class Position(Owned, table=True):
    """What a vault or a follower holds; `holder_id` is the vault's or follower's id; `qty` is signed."""

    __tablename__ = "positions"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", primary_key=True)
    holder_id: str = Field(primary_key=True)
    symbol: str = Field(primary_key=True)
    qty: Decimal = numeric()
    avg_price: Decimal | None = numeric(nullable=True)
    updated_at: datetime = timestamp(now=True)


class Instrument(SQLModel, table=True):
    """A tradable symbol. Shared by all tenants.

    `calendar` names the exchange whose sessions it keeps; None or `24/7`: it trades at all times. `flags` are what its
    venue says that it takes (domain.venues.Flag).
    """

    __tablename__ = "instruments"

    symbol: str = Field(primary_key=True)
    venue: str
    rail: str
    qty_step: Decimal = numeric(default="1")
    fine_step: Decimal = numeric(default="0.000000001")
    min_qty: Decimal = numeric(default="0")
    min_notional: Decimal = numeric(default="0")
    tradable: bool = Field(default=True, sa_column_kwargs={"server_default": "true"})
    calendar: str | None = None
    flags: list[str] = text_list()


class Price(SQLModel, table=True):
    """The last known price of a symbol in USD. Shared by all tenants."""

    __tablename__ = "prices"

    symbol: str = Field(foreign_key="instruments.symbol", primary_key=True)
    price: Decimal = numeric()
    asof: datetime = timestamp()
    source: str

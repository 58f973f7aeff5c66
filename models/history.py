"""What was true when: earlier versions of rows, prices, marks of NAV, and what reconciliation found."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, func
from sqlmodel import Field, Index, SQLModel

from models.columns import Owned, identity, json, numeric, timestamp


class RowHistory(Owned, table=True):
    """A vault, a follower or a vault's position as it was from `valid_from` on; written by triggers, so that nothing

    forgets to. A position's id is `vault_id/symbol`.
    """

    __tablename__ = "row_history"
    __table_args__ = (Index("ix_row_history_asof", "entity", "entity_id", "valid_from"),)

    history_id: int | None = identity()
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    entity: str
    entity_id: str
    body: dict[str, Any] = json()
    valid_from: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.clock_timestamp()},
        nullable=False,
    )  # fmt: skip


class PriceHistory(SQLModel, table=True):
    """Every price that was recorded, by when it was. Shared by all tenants."""

    __tablename__ = "price_history"

    symbol: str = Field(primary_key=True)
    recorded_at: datetime = Field(
        sa_type=DateTime(timezone=True), primary_key=True, sa_column_kwargs={"server_default": func.now()}
    )
    price: Decimal = numeric()
    asof: datetime = timestamp()
    source: str


class NavMark(Owned, table=True):
    """The NAV of a vault at `asof`: cash and positions at the prices of that time, in USD."""

    __tablename__ = "nav_marks"

    holder_id: str = Field(primary_key=True)
    asof: datetime = Field(sa_type=DateTime(timezone=True), primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    nav_usd: Decimal = numeric()
    cash_usd: Decimal = numeric()
    positions: dict[str, Any] = json()


class Reconciliation(Owned, table=True):
    """One comparison of a vault's followers with their brokers or receivers. `state`: running, done or failed."""

    __tablename__ = "reconciliations"
    __table_args__ = (Index("ix_reconciliations_page", "tenant_id", "started_at", "run_id"),)

    run_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    vault_id: str
    started_at: datetime = timestamp(now=True)
    ended_at: datetime | None = timestamp(nullable=True)
    state: str
    followers: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    drifts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    summary: dict[str, Any] = json()


class Drift(Owned, table=True):
    """A follower's position that is not what it should be, with its cause and what was done about it."""

    __tablename__ = "drifts"
    __table_args__ = (Index("ix_drifts_follower", "tenant_id", "follower_id", "created_at"),)

    run_id: str = Field(foreign_key="reconciliations.run_id", primary_key=True)
    follower_id: str = Field(primary_key=True)
    symbol: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    vault_id: str
    expected_qty: Decimal = numeric()
    booked_qty: Decimal = numeric()
    actual_qty: Decimal | None = numeric(nullable=True)
    drift_bps: Decimal | None = numeric(nullable=True)
    cause: str
    evidence: dict[str, Any] = json()
    action: str | None = None
    created_at: datetime = timestamp(now=True)

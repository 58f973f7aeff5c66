"""What the mirroring rules keep: overlays, kills, rounding residues, hedges, and what may still leave for an order."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, text
from sqlmodel import Field, Index, SQLModel

from models.columns import Owned, identity, json, numeric, timestamp


class Overlay(Owned, table=True):
    """A temporary rule for a tenant, a vault or one follower (`domain.overlays`); without `expires_at` until lifted."""

    __tablename__ = "overlays"
    __table_args__ = (
        Index("ix_overlays_active", "vault_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_overlays_page", "tenant_id", "starts_at", "overlay_id"),
    )

    overlay_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    vault_id: str | None = None
    follower_id: str | None = None
    kind: str
    params: dict[str, Any] = json()
    starts_at: datetime = timestamp(now=True)
    expires_at: datetime | None = timestamp(nullable=True)
    ended_at: datetime | None = timestamp(nullable=True)
    end_reason: str | None = None
    ended_by: str | None = None
    actor: str
    reason: str


class PlatformHalt(SQLModel, table=True):
    """A halt of everything. Shared by all tenants."""

    __tablename__ = "platform_halts"

    halt_id: str = Field(primary_key=True)
    level: str
    reason: str
    actor: str
    starts_at: datetime = timestamp(now=True)
    ended_at: datetime | None = timestamp(nullable=True)
    ended_by: str | None = None


class Kill(Owned, table=True):
    """One pull of a kill path; processes that send look here, so that none depends on Redis to hear of it.

    Scope: `tenant_id` alone is a tenant, with a vault or a follower that one; the nil UUID is everything.
    """

    __tablename__ = "kills"
    __table_args__ = (Index("ix_kills_created_at", "created_at"),)

    kill_id: int | None = identity()
    tenant_id: UUID
    vault_id: str | None = None
    follower_id: str | None = None
    level: str
    actor: str
    created_at: datetime = timestamp(now=True)


class Sender(SQLModel, table=True):
    """A process that sends: all kills that were committed before `applied_as_of` it has carried out. Shared."""

    __tablename__ = "senders"

    sender_id: str = Field(primary_key=True)
    applied_as_of: datetime = timestamp()


class Residue(Owned, table=True):
    """What rounding has left unallotted so far, in units; signed like a position."""

    __tablename__ = "residues"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    follower_id: str = Field(primary_key=True)
    symbol: str = Field(primary_key=True)
    qty: Decimal = numeric()
    updated_at: datetime = timestamp(now=True)


class Hedge(Owned, table=True):
    """What of `hedge_symbol` a follower holds against its position in `symbol`; signed units."""

    __tablename__ = "hedges"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    follower_id: str = Field(primary_key=True)
    symbol: str = Field(primary_key=True)
    hedge_symbol: str = Field(primary_key=True)
    qty: Decimal = numeric()
    updated_at: datetime = timestamp(now=True)


class Allotment(Owned, table=True):
    """The router-exit guard's ledger of one page: what expansion allotted, and what has been released to be sent."""

    __tablename__ = "allotments"
    __table_args__ = (
        CheckConstraint(
            "released_orders <= allotted_orders AND released_qty <= allotted_qty", name="ck_allotments_exit"
        ),
    )

    mo_id: str = Field(foreign_key="manager_orders.mo_id", primary_key=True)
    shard: int = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    allotted_orders: int
    allotted_qty: Decimal = numeric()
    released_orders: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    released_qty: Decimal = numeric(default="0")

"""Manager orders, the one snapshot each is expanded from, and the follower orders that come of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import JSON, Column, Field, Index

from models.columns import Owned, json, numeric, text_list, timestamp


class ManagerOrder(Owned, table=True):
    """`kind` is order, flatten or correction; `live` while something of it may still be in flight.

    `waits_until`: when the session opens (or opened) that it waits for in state `received`.
    """

    __tablename__ = "manager_orders"
    __table_args__ = (
        Index("ix_manager_orders_page", "tenant_id", "created_at", "mo_id"),
        Index("ix_manager_orders_vault", "vault_id", "created_at"),
        Index("ix_manager_orders_live", "vault_id", postgresql_where=text("live")),
        Index("ix_manager_orders_only", "only_follower_id", postgresql_where=text("only_follower_id IS NOT NULL")),
    )

    mo_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    vault_id: str = Field(foreign_key="vaults.vault_id")
    symbol: str
    venue: str
    side: str
    qty: Decimal = numeric()
    order_type: str
    limit_price: Decimal | None = numeric(nullable=True)
    tif: str
    meta: dict[str, Any] = json()
    state: str
    reason: str | None = None
    effect: str | None = None
    fingerprint: str
    source: str
    actor: str
    expires_at: datetime | None = timestamp(nullable=True)
    followers: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    shards: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = timestamp(now=True)
    settled_at: datetime | None = timestamp(nullable=True)
    kind: str = Field(default="order", sa_column_kwargs={"server_default": "order"})
    only_follower_id: str | None = None
    live: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    given_back_at: datetime | None = timestamp(nullable=True)
    waits_until: datetime | None = timestamp(nullable=True)


class Snapshot(Owned, table=True):
    """What was true when the order was admitted; written once, never changed. `digest` is SHA-256 of `body`."""

    __tablename__ = "snapshots"

    mo_id: str = Field(foreign_key="manager_orders.mo_id", primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id", index=True)
    taken_at: datetime = timestamp()
    body: dict[str, Any] = json()
    digest: str


class SnapshotPage(Owned, table=True):
    """A page of the vault's followers as frozen in the snapshot: a JSON list of terms, by follower id.

    `routes` are those that the page's first wave has something to send by.
    """

    __tablename__ = "snapshot_pages"

    mo_id: str = Field(foreign_key="manager_orders.mo_id", primary_key=True)
    shard: int = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    routes: list[str] = text_list()
    # Kept as it was written, not as jsonb: it is read whole, and its digest is of these very bytes.
    body: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))


class FollowerOrder(Owned, table=True):
    __tablename__ = "follower_orders"
    __table_args__ = (
        Index("ix_follower_orders_mo", "mo_id", "shard"),
        Index("ix_follower_orders_follower", "tenant_id", "follower_id", "created_at"),
    )

    fo_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    mo_id: str = Field(foreign_key="manager_orders.mo_id")
    follower_id: str = Field(foreign_key="followers.follower_id")
    vault_id: str
    shard: int
    leg: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    symbol: str
    side: str
    qty: Decimal = numeric()
    cap_applied: bool
    state: str
    reason: str | None = None
    route: str
    broker_order_ref: str | None = None
    dispatch_attempts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    last_error: str | None = None
    filled_qty: Decimal = numeric(default="0")
    avg_price: Decimal | None = numeric(nullable=True)
    next_attempt_at: datetime | None = timestamp(nullable=True)
    carry: Decimal = numeric(default="0")
    attempts_base: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    trace: list[dict[str, Any]] = json("[]")
    audit: dict[str, Any] = json()
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)

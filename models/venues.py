"""What trading at venues keeps: order streams, exchange sessions, and the legs of routed orders."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlmodel import Field, Index

from models.columns import Owned, numeric, timestamp


class OrderLeg(Owned, table=True):
    """A leg of a follower order's plan `plan`, numbered from 1; the highest plan is in force.

    `amount` of `source` is given for `expected` of `target`, `least` of which the order needs; `received` and `fee` are
    what the venue said, where it has. A trade's row stays `planned`: its fate is the follower order's own; `received`
    and `fee` of it are known when the order is over.
    """

    __tablename__ = "order_legs"
    __table_args__ = (Index("ix_order_legs_follower", "follower_id"),)

    fo_id: str = Field(foreign_key="follower_orders.fo_id", primary_key=True)
    plan: int = Field(primary_key=True)
    leg_no: int = Field(primary_key=True)
    leg_id: str
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    follower_id: str
    kind: str
    source: str
    target: str
    amount: Decimal = numeric()
    expected: Decimal = numeric()
    least: Decimal = numeric()
    fee: Decimal = numeric()
    received: Decimal | None = numeric(nullable=True)
    ref: str | None = None
    state: str
    reason: str | None = None
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class FollowerBalance(Owned, table=True):
    """What a follower's account could spend of a currency when it was last looked at."""

    __tablename__ = "follower_balances"

    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    follower_id: str = Field(foreign_key="followers.follower_id", primary_key=True)
    currency: str = Field(primary_key=True)
    amount: Decimal = numeric()
    asof: datetime = timestamp(now=True)


class StreamRefusal(Owned, table=True):
    """An account whose venue refuses us its order stream, though not its key, until `resumed_at`.

    `revision` is of that credential.
    """

    __tablename__ = "stream_refusals"

    cred_ref: str = Field(foreign_key="credentials.cred_ref", primary_key=True)
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    revision: int
    code: str
    since: datetime = timestamp(now=True)
    resumed_at: datetime | None = timestamp(nullable=True)

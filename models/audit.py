"""The append-only record of every change, and the outbox that carries it to the event bus."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field, Index, SQLModel

from models.columns import identity, json, timestamp


class AuditEvent(SQLModel, table=True):
    """`mo_id` ties an order's whole tree together; it is null for events outside an order."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_page", "tenant_id", "event_id"),
        Index("ix_audit_events_mo", "mo_id", "event_id"),
    )

    event_id: int | None = identity()
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    entity: str
    entity_id: str
    action: str
    actor: str
    mo_id: str | None = None
    payload: dict[str, Any] = json()
    ts: datetime = timestamp(now=True)


class OutboxEvent(SQLModel, table=True):
    """An event that the bus does not have yet; the relay deletes it once JetStream has acknowledged it."""

    __tablename__ = "outbox"

    outbox_id: int | None = identity()
    tenant_id: UUID = Field(foreign_key="tenants.tenant_id")
    event_id: int = Field(sa_type=BigInteger)
    subject: str
    payload: dict[str, Any] = json()
    created_at: datetime = timestamp(now=True)

"""The append-only record of every change, and the outbox that carries it to the event bus."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, Index

from models.columns import Owned, identity, json, timestamp


class AuditEvent(Owned, table=True):
    """`mo_id` ties an order's whole tree together; it is null for events outside an order.

    `tenant_id` is no foreign key: the rows that events tell of have one, and row-level security checks it here.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_page", "tenant_id", "event_id"),
        Index("ix_audit_events_mo", "mo_id", "event_id"),
    )

    event_id: int | None = identity()
    tenant_id: UUID
    entity: str
    entity_id: str
    action: str
    actor: str
    mo_id: str | None = None
    payload: dict[str, Any] = json()
    ts: datetime = timestamp(now=True)


class OutboxEvent(Owned, table=True):
    """What the bus does not have yet: the audit events of one statement by their ids, or a message that is none.

    The relay deletes it once JetStream has acknowledged all of it.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint(
            "CASE WHEN event_ids IS NULL THEN num_nonnulls(subject, payload) = 2 "
            "ELSE cardinality(event_ids) > 0 AND num_nonnulls(subject, payload) = 0 END",
            name="ck_outbox_one_form",
        ),
    )

    outbox_id: int | None = identity()
    tenant_id: UUID
    event_ids: list[int] | None = Field(default=None, sa_type=ARRAY(BigInteger))
    subject: str | None = None
    payload: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    created_at: datetime = timestamp(now=True)

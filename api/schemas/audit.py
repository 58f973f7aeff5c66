"""Audit events and dead letters on the wire."""

from datetime import datetime
from typing import Any

from api.schemas.common import Answer


class AuditEvent(Answer):
    event_id: int
    entity: str
    entity_id: str
    action: str
    actor: str
    mo_id: str | None = None
    payload: dict[str, Any]
    ts: datetime


class DeadLetter(Answer):
    """`context` is what an operator needs: order, last error, every attempt, the sizing trace."""

    dead_letter_id: int
    fo_id: str
    mo_id: str
    follower_id: str
    reason: str
    context: dict[str, Any]
    created_at: datetime
    redriven_at: datetime | None

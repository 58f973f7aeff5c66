"""Audit events on the wire."""

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

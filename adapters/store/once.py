"""Requests that change something, made safe to repeat: the answer is kept in the transaction that did the work."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import IdempotencyKeyReused
from domain.requests import Once
from models import IdempotencyKey

# Until the first request's transaction ends its row is invisible, so a second one must wait here to meet it.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_AGE = text("SELECT now() - :since")


@dataclass(frozen=True, slots=True)
class Earlier:
    """The answer that the first request got, and how long ago."""

    response: dict[str, Any]
    age: timedelta


async def find_earlier(session: AsyncSession, tenant_id: str, once: Once) -> Earlier | None:
    """None for the first of its kind, which then holds the lock. Raises IdempotencyKeyReused."""
    connection = await session.connection()
    await connection.execute(_LOCK, {"name": f"{tenant_id} {once.route} {once.key}"})
    known = await session.get(IdempotencyKey, (UUID(tenant_id), once.route, once.key))
    if known is None:
        return None
    if known.fingerprint != once.fingerprint:
        raise IdempotencyKeyReused(f"Idempotency-Key was already used on {once.route} with another body")
    return Earlier(known.response, await _age(session, known.created_at))


def keep(session: AsyncSession, tenant_id: str, once: Once, status: int, response: dict[str, Any]) -> None:
    """`response` must hold no secret: it is stored as it is."""
    session.add(
        IdempotencyKey(
            tenant_id=UUID(tenant_id),
            route=once.route,
            key=once.key,
            fingerprint=once.fingerprint,
            status=status,
            response=response,
        )
    )


async def _age(session: AsyncSession, since: datetime) -> timedelta:
    connection = await session.connection()
    age = (await connection.execute(_AGE, {"since": since})).scalar_one()
    assert isinstance(age, timedelta)
    return age

"""Rows of entities that are made once: found or refused, inserted if their id is free, and told to audit and outbox."""

from typing import Any, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.changes import EMIT
from domain.errors import InvalidInput, NotFound

_EMIT = text(
    f"""
    WITH e AS (
      SELECT CAST(:tenant_id AS uuid) AS tenant_id, :entity AS entity, :entity_id AS entity_id, :action AS action,
             :actor AS actor, CAST(NULL AS text) AS mo_id, CAST(:payload AS jsonb) AS payload, 1 AS n
    ), {EMIT}
    SELECT count(*) FROM a
    """
)
_T = TypeVar("_T", bound=SQLModel)


async def require(session: AsyncSession, model: type[_T], entity: str, entity_id: str | UUID) -> _T:
    """Raises NotFound, for another tenant's row as for none."""
    row = await session.get(model, entity_id)
    if row is None:
        raise NotFound(entity, str(entity_id))
    return row


async def insert_new(session: AsyncSession, row: _T, key: str) -> _T:
    """The row as stored, defaults included. Raises InvalidInput where its id, in column `key`, is taken.

    An id may be taken by a tenant whose rows we cannot see, so only the insert itself can tell.
    """
    given = {name: value for name, value in row.model_dump().items() if value is not None}
    model = type(row)
    made: _T | None = await session.scalar(insert(model).values(given).on_conflict_do_nothing().returning(model))
    if made is None:
        raise InvalidInput(key, f"{given[key]} is taken")
    return made


async def emit(
    session: AsyncSession, tenant_id: str, entity: str, entity_id: str, action: str, actor: str, payload: dict[str, Any]
) -> None:
    """One audit event and its outbox row. `payload` must hold no secret."""
    connection = await session.connection()
    await connection.execute(
        _EMIT,
        {
            "tenant_id": tenant_id,
            "entity": entity,
            "entity_id": entity_id,
            "action": action,
            "actor": actor,
            "payload": orjson.dumps(payload, default=str).decode(),
        },
    )

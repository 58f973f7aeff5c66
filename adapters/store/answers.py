"""Answers to requests that move money, kept while Redis cannot: in Postgres, by the tenant's own rows."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import text

from adapters.ending import wanted
from adapters.store.database import Database
from domain.errors import StoreUnavailable
from domain.requests import Answer, Asked

# What has expired counts as if it were not there; the application may not delete it.
_RESERVE = """
    INSERT INTO idempotency_answers AS a (tenant_id, caller, route, key, fingerprint, token, expires_at)
    VALUES (%(tenant_id)s, %(caller)s, %(route)s, %(key)s, %(fingerprint)s, %(token)s, now() + %(lease)s)
    ON CONFLICT (tenant_id, caller, route, key) DO UPDATE SET
      fingerprint = excluded.fingerprint, token = excluded.token, expires_at = excluded.expires_at,
      status = NULL, body = NULL, content_type = NULL, location = NULL
    WHERE a.expires_at <= now()
    RETURNING token
"""
_MINE = "tenant_id = %(tenant_id)s AND caller = %(caller)s AND route = %(route)s AND key = %(key)s"
_FIND: LiteralString = f"SELECT * FROM idempotency_answers WHERE {_MINE}"
_COMPLETE: LiteralString = f"""
    UPDATE idempotency_answers SET status = %(status)s, body = %(body)s, content_type = %(content_type)s,
      location = %(location)s, expires_at = now() + %(kept)s
    WHERE {_MINE} AND token = %(token)s AND status IS NULL
"""
_RELEASE: LiteralString = f"""
    UPDATE idempotency_answers SET expires_at = now() WHERE {_MINE} AND token = %(token)s AND status IS NULL
"""
_SWEEP_EVERY_S = 3_600
_CLOSING_S = 5
_log = logging.getLogger("vanta.idempotency")
_SWEEP = text("SELECT sweep_idempotency_answers() AS gone")


class AnswerStore:
    """Raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, asked: Asked, token: str, lease: timedelta) -> tuple[str, Answer | None] | None:
        """None for the first, which then holds the key; else the fingerprint of the first and its answer, if any."""
        values = {**_names(asked), "fingerprint": asked.fingerprint, "token": token, "lease": lease}
        async with self._database.cursor(asked.tenant_id) as cursor:
            await cursor.execute(_RESERVE, values)
            if await cursor.fetchone() is not None:
                return None
            row = await (await cursor.execute(_FIND, values)).fetchone()
        if row is None:
            return asked.fingerprint, None  # swept in between; its repeat finds the way free
        if row["status"] is None:
            return row["fingerprint"], None
        return row["fingerprint"], Answer(row["status"], row["body"], row["content_type"], row["location"])

    async def complete(self, asked: Asked, token: str, answer: Answer, kept: timedelta) -> None:
        values = {
            **_names(asked),
            "token": token,
            "kept": kept,
            "status": answer.status,
            "body": answer.body,
            "content_type": answer.content_type,
            "location": answer.location,
        }
        async with self._database.cursor(asked.tenant_id) as cursor:
            await cursor.execute(_COMPLETE, values)

    async def release(self, asked: Asked, token: str) -> None:
        async with self._database.cursor(asked.tenant_id) as cursor:
            await cursor.execute(_RELEASE, {**_names(asked), "token": token})

    async def sweep(self) -> int:
        """Delete what has expired, of all tenants; how many rows that were."""
        found = await self._database.change(_SWEEP)
        return int(found["gone"])


@asynccontextmanager
async def swept(store: AnswerStore) -> AsyncIterator[None]:
    """Sweep now and then for as long as this is open."""
    task = asyncio.create_task(_keep_sweeping(store))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=_CLOSING_S)


async def _keep_sweeping(store: AnswerStore) -> None:
    while wanted():
        await asyncio.sleep(_SWEEP_EVERY_S)
        try:
            await store.sweep()
        except StoreUnavailable as error:
            _log.warning("expired answers stay for now: %s", error)


def _names(asked: Asked) -> dict[str, Any]:
    return {
        "tenant_id": UUID(asked.tenant_id),
        "caller": asked.caller,
        "route": asked.route,
        "key": asked.key,
    }

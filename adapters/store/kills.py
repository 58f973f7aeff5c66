"""Kills in Postgres: written with what they enforce, read by every process that sends.

A sender that has carried out all that was committed before some moment says so in its own row, with that moment by the
database's clock; so those who wait need neither Redis nor a clock of their own.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.kill.channel import from_row
from adapters.store.database import Database
from domain.admission import Halt
from domain.kills import EVERYBODY, Kill

_RECORD = text(
    "INSERT INTO kills (tenant_id, vault_id, follower_id, level, actor) "
    "VALUES (:tenant_id, :vault_id, :follower_id, :level, :actor)"
)
_LATEST = """
SELECT kill_id, tenant_id, vault_id, follower_id, level FROM kills
WHERE tenant_id = %(tenant_id)s AND vault_id IS NOT DISTINCT FROM %(vault_id)s
  AND follower_id IS NOT DISTINCT FROM %(follower_id)s ORDER BY kill_id DESC LIMIT 1
"""
_LOOK = "SELECT clock_timestamp() AS seen_at"
_RECENT = "SELECT kill_id, tenant_id, vault_id, follower_id, level FROM recent_kills() ORDER BY kill_id"
_SAY = """
INSERT INTO senders (sender_id, applied_as_of) VALUES (%s, %s)
ON CONFLICT (sender_id) DO UPDATE SET applied_as_of = excluded.applied_as_of
"""
# A sender that has been silent for longer than it lets itself send on without a look is over, or has fenced itself.
_SENDERS = """
SELECT sender_id, applied_as_of, clock_timestamp() AS now FROM senders
WHERE applied_as_of > clock_timestamp() - %s * interval '1 second'
"""
_IN_FLIGHT = """
SELECT count(*) AS n FROM follower_orders f JOIN manager_orders m USING (mo_id)
WHERE f.tenant_id = %(tenant_id)s AND m.live AND f.state = 'sent'
  AND (%(vault_id)s::text IS NULL OR f.vault_id = %(vault_id)s)
  AND (%(follower_id)s::text IS NULL OR f.follower_id = %(follower_id)s)
"""


async def record(
    session: AsyncSession, tenant_id: str, *, vault_id: str | None, follower_id: str | None, level: Halt, actor: str
) -> None:
    """In the transaction that makes the guards say no; whoever pulls it then waits for the barrier."""
    if follower_id is not None:
        vault_id = None  # a follower is a scope of its own
    connection = await session.connection()
    values = {"tenant_id": UUID(tenant_id), "vault_id": vault_id, "follower_id": follower_id}
    await connection.execute(_RECORD, {**values, "level": level.value, "actor": actor})


class KillStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, tenant_id: str, vault_id: str | None, follower_id: str | None) -> Kill | None:
        """The scope's newest kill."""
        scope = {"tenant_id": tenant_id, "vault_id": None if follower_id else vault_id, "follower_id": follower_id}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_LATEST, scope)
            row = await cursor.fetchone()
        return None if row is None else from_row(row)

    async def recent(self) -> tuple[datetime, list[Kill]]:
        """A moment, and all kills of the last minute that were committed before it."""
        async with self._database.cursor(EVERYBODY) as cursor:
            await cursor.execute(_LOOK)  # a statement of its own: the next one's snapshot is taken later
            seen = await cursor.fetchone()
            await cursor.execute(_RECENT)
            rows = await cursor.fetchall()
        assert seen is not None
        return seen["seen_at"], [from_row(row) for row in rows]

    async def say(self, sender_id: str, applied_as_of: datetime) -> None:
        async with self._database.cursor(EVERYBODY) as cursor:
            await cursor.execute(_SAY, [sender_id, applied_as_of])

    async def senders(self, within_s: float) -> tuple[datetime, dict[str, datetime]]:
        """The time by the database, and the senders that were heard of within so many seconds."""
        async with self._database.cursor(EVERYBODY) as cursor:
            await cursor.execute(_LOOK)
            now = await cursor.fetchone()
            await cursor.execute(_SENDERS, [within_s])
            rows: list[dict[str, Any]] = await cursor.fetchall()
        assert now is not None
        return now["seen_at"], {row["sender_id"]: row["applied_as_of"] for row in rows}

    async def in_flight(self, tenant_id: str, vault_id: str | None, follower_id: str | None) -> int:
        """Orders of the scope that Postgres has as sent and not answered; of a platform's kill, none is counted."""
        scope = {"tenant_id": tenant_id, "vault_id": vault_id, "follower_id": follower_id}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_IN_FLIGHT, scope)
            row = await cursor.fetchone()
        assert row is not None
        return int(row["n"])

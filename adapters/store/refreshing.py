"""Access tokens that are about to expire: taken one at a time across all processes, and the new one put in place.

The lock is a transaction's, held from before the venue is asked until the new token is committed: a refresh token may
be good for one exchange only. The row itself stays free meanwhile, for orders and for its owner's update.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adapters.secretbox import SecretBox
from adapters.store.breaking import mark_broken
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database
from adapters.store.enrolment import sealed_columns
from domain.credentials import Broken, DueCredential, unsealed
from domain.ports import BrokerCredentials

ACTOR = "system:credentials"
_NOBODY = str(UUID(int=0))  # due ones are listed by a function that needs no tenant

_DUE = "SELECT cred_ref, tenant_id::text AS tenant_id FROM expiring_credentials(%s)"
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('refresh ' || %s, 0)) AS mine"
# Read after the lock: another process may have refreshed it a moment ago.
_TAKE = """
SELECT cred_ref, venue, environment, key_id, sealed, version, refreshes, expires_at, expires_at <= now() AS expired
FROM credentials WHERE cred_ref = %s AND is_mine(tenant_id) AND status = 'active' AND expires_at < %s
"""
_RENEW = f"""
WITH u AS (
  UPDATE credentials SET key_id = %(key_id)s, sealed = %(sealed)s, expires_at = %(expires_at)s,
    refreshes = %(refreshes)s, version = version + 1, broken_reason = NULL,
    status_at = CASE WHEN status = 'active' THEN status_at ELSE now() END, status = 'active'
  WHERE cred_ref = %(cred_ref)s AND is_mine(tenant_id) AND version = %(version)s RETURNING *
), e AS (
  SELECT tenant_id, 'credential' AS entity, cred_ref AS entity_id, 'refreshed' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n, jsonb_build_object('follower_id', split_part(cred_ref, '/', 2), 'venue', venue,
      'environment', environment, 'expires_at', expires_at) AS payload
  FROM u
), {EMIT}
SELECT cred_ref FROM u
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A credential that nobody else refreshes while this is held."""

    cursor: Cursor
    due: DueCredential
    venue: str
    environment: str
    key_id: str
    sealed: bytes
    version: int
    refreshes: bool
    expires_at: datetime
    expired: bool


class RefreshStore:
    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def due(self, until: datetime) -> list[DueCredential]:
        """The active credentials of all tenants that expire before an aware time, soonest first."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_DUE, [until])
            return [DueCredential(row["tenant_id"], row["cred_ref"]) for row in await cursor.fetchall()]

    @asynccontextmanager
    async def take(self, due: DueCredential, until: datetime) -> AsyncIterator[Taken | None]:
        """None where another process has it, or it is not due any more. What was put is committed at the end."""
        async with self._database.cursor(due.tenant_id) as cursor:
            await cursor.execute(_LOCK, [due.cred_ref])
            lock = await cursor.fetchone()
            await cursor.execute(_TAKE, [due.cred_ref, until])
            row = await cursor.fetchone()
            if lock is None or not lock["mine"] or row is None:
                yield None
                return
            yield Taken(
                cursor, due, row["venue"], row["environment"], row["key_id"], bytes(row["sealed"]), row["version"],
                row["refreshes"], row["expires_at"], row["expired"],
            )  # fmt: skip

    def open(self, taken: Taken) -> BrokerCredentials:
        """Raises SecretUnavailable."""
        ref = taken.due.cred_ref
        return unsealed(ref, self._box.open(taken.key_id, taken.sealed, aad=ref), taken.environment)

    async def renew(self, taken: Taken, new: BrokerCredentials) -> bool:
        """False where its owner has replaced it meanwhile: his value stands."""
        return await self._renew(taken.cursor, taken, new)

    async def put(self, taken: Taken, new: BrokerCredentials) -> bool:
        """`renew` in a transaction of its own, where the one that it was taken in is lost."""
        async with self._database.cursor(taken.due.tenant_id) as cursor:
            return await self._renew(cursor, taken, new)

    async def _renew(self, cursor: Cursor, taken: Taken, new: BrokerCredentials) -> bool:
        columns = sealed_columns(self._box, new)
        given = {**columns, "cred_ref": taken.due.cred_ref, "version": taken.version, "actor": ACTOR}
        await cursor.execute(_RENEW, given)
        return await cursor.fetchone() is not None

    async def break_(self, taken: Taken, reason: Broken) -> None:
        await mark_broken(taken.cursor, [(taken.due.cred_ref, taken.version, reason)], actor=ACTOR)

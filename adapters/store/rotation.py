"""A webhook's signing keys, one version after another: a new one signs at once, the old ones for a day beside it."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.entities import emit
from adapters.store.once import find_earlier, keep
from adapters.store.registry import SECRET_SHOWN_FOR
from domain.errors import Conflict, NotFound
from domain.requests import Once
from domain.signing import format_secret
from models import Follower, WebhookKey

GRACE = timedelta(hours=24)
# Every key in force signs every delivery, and receivers look at a handful of signatures at most.
MOST_KEYS = 5
_KEY_BYTES = 32
_OK = 200
_EXPIRE = text(
    """
    UPDATE webhook_keys SET expires_at = now() + :grace
    WHERE key_ref = :key_ref AND is_mine(tenant_id) AND version < :version AND expires_at IS NULL RETURNING expires_at
    """
)
_IN_FORCE = text(
    """
    SELECT count(*) FILTER (WHERE expires_at IS NULL OR expires_at > now()) AS keys, max(version) AS newest
    FROM webhook_keys WHERE key_ref = :key_ref AND is_mine(tenant_id)
    """
)


@dataclass(frozen=True, slots=True)
class Rotated:
    """`signing_secret` is None where it is not shown any more; until `old_valid_until` the old key signs as well."""

    follower_id: str
    version: int
    old_valid_until: datetime
    signing_secret: str | None
    replayed: bool


class KeyRotation:
    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def rotate(self, tenant_id: str, follower_id: str, *, actor: str, once: Once) -> Rotated:
        """A new key of 32 random bytes; a repeat shows it again for a day.

        Raises NotFound, Conflict `no-webhook` or `too-many-keys`, IdempotencyKeyReused.
        """
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                version, until = int(earlier.response["version"]), str(earlier.response["old_valid_until"])
                shown = earlier.age <= SECRET_SHOWN_FOR
                secret = await self._open(session, str(earlier.response["key_ref"]), version) if shown else None
                return Rotated(follower_id, version, datetime.fromisoformat(until), secret, replayed=True)
            key_ref = await _key_ref(session, follower_id)
            version, until_, secret = await self._renew(session, tenant_id, key_ref)
            payload = {"key_ref": key_ref, "version": version, "old_valid_until": until_.isoformat()}
            await emit(session, tenant_id, "follower", follower_id, "webhook_secret_rotated", actor, payload)
            keep(session, tenant_id, once, _OK, payload)
            return Rotated(follower_id, version, until_, secret, replayed=False)

    async def _renew(self, session: AsyncSession, tenant_id: str, key_ref: str) -> tuple[int, datetime, str]:
        connection = await session.connection()
        keys, newest = (await connection.execute(_IN_FORCE, {"key_ref": key_ref})).one()
        if keys >= MOST_KEYS:
            raise Conflict(
                "too-many-keys", f"{keys} keys sign already; the oldest of them ends within a day", "follower_id"
            )
        version, key = newest + 1, secrets.token_bytes(_KEY_BYTES)
        key_id, sealed = self._box.seal(key, aad=key_ref)
        made = WebhookKey(key_ref=key_ref, version=version, tenant_id=UUID(tenant_id), key_id=key_id, sealed=sealed)
        session.add(made)
        expired = await connection.execute(_EXPIRE, {"key_ref": key_ref, "version": version, "grace": GRACE})
        until: datetime = expired.scalar_one()
        return version, until, format_secret(key)

    async def _open(self, session: AsyncSession, key_ref: str, version: int) -> str:
        key = await session.get(WebhookKey, (key_ref, version))
        assert key is not None, f"{key_ref} has had a version {version}"
        return format_secret(self._box.open(key.key_id, key.sealed, aad=key_ref))


async def _key_ref(session: AsyncSession, follower_id: str) -> str:
    """Locks the follower, so that of two rotations the second sees what the first has made."""
    row = await session.get(Follower, follower_id, with_for_update=True)
    if row is None:
        raise NotFound("follower", follower_id)
    if row.webhook is None:
        raise Conflict("no-webhook", "the follower has no webhook", "follower_id")
    return str(row.webhook["hmac_key_ref"])

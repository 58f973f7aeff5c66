"""Service accounts: programs of a tenant, each with its scopes and keys of its own. Of a key only its hash is kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.identity.opaque import API_KEY, digest, new_token
from adapters.store.database import Database
from adapters.store.entities import emit, insert_new, require
from adapters.store.once import find_earlier, keep
from domain import ids
from domain.errors import Conflict, InvalidInput, NotFound
from domain.requests import Once
from models import ApiKey, ServiceAccount, Tenant

_CREATED = 201


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    row: ServiceAccount
    replayed: bool


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """`key` is None for a repeat: it is stored nowhere, so nobody can show it again."""

    row: ApiKey
    key: str | None

    @property
    def replayed(self) -> bool:
        return self.key is None


class Accounts:
    """NotFound is raised for another tenant's accounts and keys as for none. Who disables or revokes need not wait:

    keys are looked up at every request.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, tenant_id: str, name: str, scopes: Collection[str], *, actor: str, once: Once
    ) -> CreatedAccount:
        """`scopes` are those of `domain.access.granted`. Raises IdempotencyKeyReused."""
        async with self._database.session(tenant_id) as session:
            if (earlier := await find_earlier(session, tenant_id, once)) is not None:
                return CreatedAccount(await _account(session, earlier.response["account_id"]), replayed=True)
            await require(session, Tenant, "tenant", UUID(tenant_id))
            account_id = ids.service_account_id(tenant_id, once.key)
            new = ServiceAccount(
                account_id=account_id, tenant_id=UUID(tenant_id), name=name, scopes=list(scopes), created_by=actor
            )
            row = await insert_new(session, new, "account_id")
            payload = {"name": name, "scopes": row.scopes}
            await emit(session, tenant_id, "service_account", account_id, "created", actor, payload)
            keep(session, tenant_id, once, _CREATED, {"account_id": account_id})
            return CreatedAccount(row, replayed=False)

    async def page(self, tenant_id: str, *, limit: int, after: str = "") -> Sequence[ServiceAccount]:
        """In the order of their ids, those beyond `after`; with disabled ones."""
        wanted = select(ServiceAccount).where(
            ServiceAccount.tenant_id == UUID(tenant_id), col(ServiceAccount.account_id) > after
        )
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted.order_by(col(ServiceAccount.account_id)).limit(limit))).all()

    async def disable(self, tenant_id: str, account_id: str, *, actor: str) -> ServiceAccount:
        """For good, with all its keys. One that is disabled already is no error and no event."""
        async with self._database.session(tenant_id) as session:
            row = await _account(session, account_id, for_update=True)
            if row.disabled_at is None:
                row.disabled_at = (await session.exec(select(func.now()))).one()
                session.add(row)
                await emit(session, tenant_id, "service_account", account_id, "disabled", actor, {"name": row.name})
            return row

    async def create_key(
        self, tenant_id: str, account_id: str, expires_at: datetime | None, *, actor: str, once: Once
    ) -> CreatedKey:
        """`expires_at` is aware; None: it counts until it is revoked.

        Raises NotFound, Conflict for a disabled account, InvalidInput for a time that is over, IdempotencyKeyReused.
        """
        async with self._database.session(tenant_id) as session:
            if (earlier := await find_earlier(session, tenant_id, once)) is not None:
                return CreatedKey(await _key(session, account_id, earlier.response["key_id"]), None)
            # Locked, so that no key is made while the account is being disabled.
            account = await _account(session, account_id, for_update=True)
            if account.disabled_at is not None:
                raise Conflict("account-disabled", "the account is disabled; create another", "account_id")
            now = (await session.exec(select(func.now()))).one()
            if expires_at is not None and expires_at <= now:
                raise InvalidInput("expires_at", "must be in the future")
            key_id, key = ids.api_key_id(tenant_id, once.key), new_token(API_KEY)
            new = ApiKey(
                key_id=key_id, account_id=account_id, tenant_id=UUID(tenant_id), key_hash=digest(key),
                created_by=actor, expires_at=expires_at,
            )  # fmt: skip
            row = await insert_new(session, new, "key_id")
            payload = {"key_id": key_id, "expires_at": None if expires_at is None else expires_at.isoformat()}
            await emit(session, tenant_id, "service_account", account_id, "key_created", actor, payload)
            keep(session, tenant_id, once, _CREATED, {"key_id": key_id})
            return CreatedKey(row, key)

    async def keys(self, tenant_id: str, account_id: str, *, limit: int, after: str = "") -> Sequence[ApiKey]:
        """In the order of their ids, those beyond `after`; with revoked and expired ones. Raises NotFound."""
        wanted = select(ApiKey).where(ApiKey.account_id == account_id, col(ApiKey.key_id) > after)
        async with self._database.session(tenant_id) as session:
            await _account(session, account_id)
            return (await session.exec(wanted.order_by(col(ApiKey.key_id)).limit(limit))).all()

    async def revoke_key(self, tenant_id: str, account_id: str, key_id: str, *, actor: str) -> ApiKey:
        """One that is revoked already is no error and no event. Raises NotFound for account and key."""
        async with self._database.session(tenant_id) as session:
            await _account(session, account_id)
            row = await _key(session, account_id, key_id)
            if row.revoked_at is None:
                row.revoked_at = (await session.exec(select(func.now()))).one()
                session.add(row)
                payload = {"key_id": key_id}
                await emit(session, tenant_id, "service_account", account_id, "key_revoked", actor, payload)
            return row


async def _account(session: AsyncSession, account_id: str, *, for_update: bool = False) -> ServiceAccount:
    row = await session.get(ServiceAccount, account_id, with_for_update=for_update or None)
    if row is None:
        raise NotFound("service_account", account_id)
    return row


async def _key(session: AsyncSession, account_id: str, key_id: str) -> ApiKey:
    row = await session.get(ApiKey, key_id, with_for_update=True)
    if row is None or row.account_id != account_id:
        raise NotFound("api_key", key_id)
    return row

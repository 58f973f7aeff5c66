"""Vaults, followers, their secrets, and what can be traded: created once, audited, read back."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.secretbox import SecretBox
from adapters.store import kills
from adapters.store.allowances import UNLIMITED, Allowance
from adapters.store.database import Database
from adapters.store.enrolment import (
    changed_settings,
    check_route,
    credential_ref,
    credentials_of,
    exact,
    follower_event,
    follower_row,
    follower_settings,
    sealed_columns,
    settings_changes,
    settings_columns,
    vault_row,
    vault_settings,
)
from adapters.store.entities import emit, insert_new, require
from adapters.store.once import find_earlier, keep
from domain import ids
from domain.admission import Halt
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.errors import InvalidInput, NotFound
from domain.requests import Once
from domain.signing import format_secret
from domain.sizing import Mode, plain
from models import Credential, Follower, Instrument, Position, Price, Tenant, Vault, WebhookKey

# A caller that lost our answer repeats its request within a day; later, the signing secret is no longer shown.
SECRET_SHOWN_FOR = timedelta(hours=24)
_NOBODY = str(UUID(int=0))  # shared tables need a transaction, not a tenant
_KEY_BYTES = 32
_CREATED = 201
_T = TypeVar("_T", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class Created(Generic[_T]):
    """`row` as it was created. `signing_secret` (`whsec_…`) is set for a webhook follower, while it may be shown."""

    row: _T
    replayed: bool
    signing_secret: str | None = None


class Registry:
    """Reads raise NotFound for another tenant's ids as for unknown ones; creations raise InvalidInput and

    IdempotencyKeyReused, and write their audit and outbox events in the same transaction. What the plan does not allow
    raises NotEntitled.
    """

    def __init__(self, database: Database, box: SecretBox, allowance: Allowance = UNLIMITED) -> None:
        self._database = database
        self._box = box
        self._allowance = allowance

    async def ensure_tenant(self, tenant_id: str, name: str, *, actor: str) -> None:
        """Create the tenant unless it is there."""
        async with self._database.session(tenant_id) as session:
            values = {"tenant_id": UUID(tenant_id), "name": name}
            made = insert(Tenant).values(values).on_conflict_do_nothing().returning(col(Tenant.tenant_id))
            if await session.scalar(made) is not None:
                await emit(session, tenant_id, "tenant", tenant_id, "created", actor, {"name": name})

    async def create_vault(self, tenant_id: str, new: NewVault, *, actor: str, once: Once) -> Created[Vault]:
        new.check()
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                return Created(Vault.model_validate(earlier.response), replayed=True)
            await require(session, Tenant, "tenant", UUID(tenant_id))
            await self._allowance.new_vaults(session, tenant_id)
            await self._allowance.personas(session, tenant_id, new.personas)
            vault = await insert_new(session, vault_row(tenant_id, new, once.key), "vault_id")
            payload = vault.model_dump(mode="json", exclude={"tenant_id"})
            await emit(session, tenant_id, "vault", vault.vault_id, "created", actor, payload)
            keep(session, tenant_id, once, _CREATED, vault.model_dump(mode="json"))
            return Created(vault, replayed=False)

    async def set_vault_nav(
        self, tenant_id: str, vault_id: str, nav_usd: Decimal, asof: datetime, *, actor: str
    ) -> Vault:
        """`nav_usd` in USD as of an aware time; what of it is not in positions at their last prices is cash.

        What is so already is no change and no event. Raises NotFound, InvalidInput where a position has no price.
        """
        async with self._database.session(tenant_id) as session:
            vault = await session.get(Vault, vault_id, with_for_update=True)
            if vault is None:
                raise NotFound("vault", vault_id)
            cash = nav_usd - await _in_positions(session, vault_id)
            if (vault.nav_usd, vault.cash_usd, vault.nav_fault) != (nav_usd, cash, None):
                vault.nav_usd, vault.nav_asof, vault.cash_usd = nav_usd, asof, cash
                vault.nav_told_usd, vault.nav_fault = nav_usd, None
                session.add(vault)
                payload = {"nav_usd": plain(nav_usd), "nav_asof": asof.isoformat()}
                await emit(session, tenant_id, "vault", vault_id, "nav_updated", actor, payload)
            return vault

    async def update_vault(self, tenant_id: str, vault_id: str, changes: Mapping[str, Any], *, actor: str) -> Vault:
        """Change some of `VaultSettings`, by name; the others stay. What is so already is no change and no event.

        A risk profile is merged: names that are not given stay, None takes one away. Raises NotFound, InvalidInput.
        """
        async with self._database.session(tenant_id) as session:
            row = await session.get(Vault, vault_id, with_for_update=True)
            if row is None:
                raise NotFound("vault", vault_id)
            before = vault_settings(row)
            after = before.merged(changes)
            after.check()
            after = replace(after, risk_profile=exact(after.risk_profile))
            changed = changed_settings(before, after)
            if changed:
                await self._allowance.personas(session, tenant_id, after.personas, before.personas)
                row.sqlmodel_update({**changed, "personas": list(after.personas)})
                session.add(row)
                payload = {"changes": settings_changes(before, changed)}
                await emit(session, tenant_id, "vault", vault_id, "updated", actor, payload)
            return row

    async def get_vault(self, tenant_id: str, vault_id: str) -> Vault:
        async with self._database.session(tenant_id) as session:
            return await require(session, Vault, "vault", vault_id)

    async def list_vaults(self, tenant_id: str, *, limit: int, after: str = "") -> Sequence[Vault]:
        """In the order of their ids, those beyond `after`."""
        wanted = select(Vault).where(col(Vault.vault_id) > after).order_by(col(Vault.vault_id)).limit(limit)
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted)).all()

    async def create_follower(self, tenant_id: str, new: NewFollower, *, actor: str, once: Once) -> Created[Follower]:
        """A webhook follower gets a signing key of 32 random bytes, a bridged one its credential sealed.

        A repeat shows the signing secret again for SECRET_SHOWN_FOR, opened from where it is sealed: the stored answer
        holds none.
        """
        new.check()
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                row = Follower.model_validate(earlier.response)
                shown = earlier.age <= SECRET_SHOWN_FOR and row.webhook is not None
                secret = await self._first_secret(session, row.follower_id) if shown else None
                return Created(row, replayed=True, signing_secret=secret)
            await require(session, Vault, "vault", new.vault_id)
            await self._allowance.new_follower(session, tenant_id, new)
            follower = await insert_new(session, follower_row(tenant_id, new, once.key), "follower_id")
            secret = self._seal_secrets(session, follower, new)
            payload = follower_event(follower)
            await emit(session, tenant_id, "follower", follower.follower_id, "created", actor, payload)
            keep(session, tenant_id, once, _CREATED, follower.model_dump(mode="json"))
            return Created(follower, replayed=False, signing_secret=secret)

    async def update_follower(
        self, tenant_id: str, follower_id: str, changes: Mapping[str, Any], *, actor: str
    ) -> Follower:
        """Change some of `FollowerSettings`, by name; the others stay. What is so already is no change and no event.

        Raises NotFound, and InvalidInput where the settings would not go together. Who has put the kill switch on must
        wait for the barrier before he says so.
        """
        async with self._database.session(tenant_id) as session:
            row = await session.get(Follower, follower_id, with_for_update=True)
            if row is None:
                raise NotFound("follower", follower_id)
            before = follower_settings(row)
            after = replace(before, **changes)
            after.check()
            check_route(row, after)
            if after.mode is not Mode.SHADOW and row.webhook is None and row.bridged_brokers is None:
                raise InvalidInput("mode", "must stay shadow: the follower has neither a webhook nor a broker account")
            changed = changed_settings(before, after)
            if changed:
                await self._allowance.changed_follower(session, row, before.mode, changed)
                row.sqlmodel_update(settings_columns(row, changed))
                session.add(row)
                payload = {"vault_id": row.vault_id, "changes": settings_changes(before, changed)}
                await emit(session, tenant_id, "follower", follower_id, "updated", actor, payload)
            if changed.get("kill_switch"):
                scope = {"vault_id": row.vault_id, "follower_id": follower_id}
                await kills.record(session, tenant_id, **scope, level=Halt.HALT_ALL, actor=actor)
            return row

    async def get_follower(self, tenant_id: str, follower_id: str) -> Follower:
        async with self._database.session(tenant_id) as session:
            return await require(session, Follower, "follower", follower_id)

    async def list_followers(self, tenant_id: str, vault_id: str, *, limit: int, after: str = "") -> Sequence[Follower]:
        """In the order of their ids, those beyond `after`. Raises NotFound for the vault."""
        mine = Follower.tenant_id == UUID(tenant_id), Follower.vault_id == vault_id
        wanted = select(Follower).where(*mine, col(Follower.follower_id) > after)
        async with self._database.session(tenant_id) as session:
            await require(session, Vault, "vault", vault_id)
            return (await session.exec(wanted.order_by(col(Follower.follower_id)).limit(limit))).all()

    async def upsert_instrument(self, instrument: Instrument) -> None:
        await self._upsert(instrument)

    async def upsert_price(self, price: Price) -> None:
        """The instrument must be there."""
        await self._upsert(price)

    async def get_instrument(self, symbol: str) -> Instrument | None:
        async with self._database.session(_NOBODY) as session:
            return await session.get(Instrument, symbol)

    async def _upsert(self, row: Instrument | Price) -> None:
        async with self._database.session(_NOBODY) as session:
            values = row.model_dump()
            statement = insert(type(row)).values(values)
            connection = await session.connection()
            await connection.execute(statement.on_conflict_do_update(index_elements=["symbol"], set_=values))

    async def _first_secret(self, session: AsyncSession, follower_id: str) -> str:
        key_ref = ids.webhook_key_ref(follower_id)
        key = await session.get(WebhookKey, (key_ref, 1))
        assert key is not None, f"{key_ref} was created with its follower"
        return format_secret(self._box.open(key.key_id, key.sealed, aad=key_ref))

    def _seal_secrets(self, session: AsyncSession, follower: Follower, new: NewFollower) -> str | None:
        for account in {a.venue: a for a in (new.equities, new.crypto) if a is not None}.values():
            session.add(self._credential(follower, account))
        if new.webhook_url is None:
            return None
        key, key_ref = secrets.token_bytes(_KEY_BYTES), ids.webhook_key_ref(follower.follower_id)
        key_id, sealed = self._box.seal(key, aad=key_ref)
        tenant_id = follower.tenant_id
        session.add(WebhookKey(key_ref=key_ref, version=1, tenant_id=tenant_id, key_id=key_id, sealed=sealed))
        return format_secret(key)

    def _credential(self, follower: Follower, account: BrokerAccount) -> Credential:
        cred_ref = credential_ref(follower.follower_id, account.venue)
        return Credential(
            cred_ref=cred_ref,
            tenant_id=follower.tenant_id,
            venue=account.venue,
            environment=account.environment,
            **sealed_columns(self._box, credentials_of(cred_ref, account)),
        )


async def _in_positions(session: AsyncSession, vault_id: str) -> Decimal:
    """What the vault's positions are worth in USD. Raises InvalidInput where one has no price."""
    of_symbol = col(Price.symbol) == col(Position.symbol)
    held = select(Position, Price).outerjoin(Price, of_symbol).where(Position.holder_id == vault_id)
    worth = Decimal(0)
    for position, price in (await session.exec(held.where(col(Position.qty) != 0))).all():
        if price is None:
            raise InvalidInput("nav_usd", f"{position.symbol} is held and has no price; import one first")
        worth += position.qty * price.price
    return worth

"""What new things of a tenant are held to, in the transaction that writes them: Postgres is asked, and no cache.

What is counted is counted under a lock of its tenant's, so that however many are made at once, the count is never
passed. What only takes away is not asked about: nobody is locked out of safety by his plan.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import func, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.allowances import Rights, rights_of
from domain.enrolment import NewFollower
from domain.entitlements import EVERYTHING, Entitlements
from domain.offers import require
from domain.overlays import TTL, OverlayKind
from domain.plans import Catalogue
from domain.terms import Mode
from models import Follower, Vault

# Two statements: the second sees what whoever held the lock before us has committed.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('entitled ' || :what, 0))")
RIGHTS = text("SELECT * FROM tenant_rights(:tenant)")
_FOLLOWERS = text("SELECT followers_of_subscriber(:tenant)")
# From what trades least to what trades most.
_MODES = (Mode.SHADOW, Mode.CAPPED, Mode.PROPORTIONAL)


class Allowance:
    """Every method raises NotEntitled. `without`: what a tenant has that never subscribed."""

    def __init__(self, without: Entitlements, catalogue: Catalogue) -> None:
        self._without = without
        self._catalogue = catalogue

    async def new_vaults(self, session: AsyncSession, tenant_id: str, count: int = 1) -> None:
        """To be asked before they are inserted; holds the count until the end of the transaction."""
        await _lock(session, f"vaults {tenant_id}")
        there = await session.scalar(select(func.count(col(Vault.vault_id))).where(Vault.tenant_id == UUID(tenant_id)))
        rights = await self._rights(session, tenant_id)
        require(self._catalogue, rights, "vaults", (there or 0) + count, grows=True)

    async def personas(
        self, session: AsyncSession, tenant_id: str, after: Collection[str], before: Collection[str] = ()
    ) -> None:
        """Those that a vault gets; those that it has already it keeps."""
        added = [persona for persona in after if persona not in before]
        await self._all(session, tenant_id, [("personas", persona) for persona in added])

    async def new_follower(self, session: AsyncSession, tenant_id: str, new: NewFollower) -> None:
        """To be asked before it is inserted; holds the count of the subscriber's, of all vaults of all tenants."""
        subscriber = new.subscriber_tenant_id or tenant_id
        own = subscriber == tenant_id
        await _lock(session, f"followers {subscriber}")
        connection = await session.connection()
        there = (await connection.execute(_FOLLOWERS, {"tenant": UUID(subscriber)})).scalar_one()
        rights = await self._rights(session, subscriber)
        require(self._catalogue, rights, "followers", there + 1, grows=True, own=own)
        venues = sorted({account.venue for account in (new.equities, new.crypto) if account is not None})
        needs = [("modes", new.mode.value), *(("bridged_brokers", venue) for venue in venues)]
        if new.persona is not None:
            needs.append(("personas", new.persona))
        for name, need in needs:
            require(self._catalogue, rights, name, need, own=own)

    async def changed_follower(self, session: AsyncSession, row: Follower, before: Mode, changed: Any) -> None:
        """`changed` settings by name. A mode that trades less, and leaving a persona, is nobody's business."""
        needs = []
        mode = changed.get("mode")
        if mode is not None and _MODES.index(Mode(mode)) > _MODES.index(before):
            needs.append(("modes", Mode(mode).value))
        if changed.get("persona") is not None:
            needs.append(("personas", changed["persona"]))
        own = row.subscriber_tenant_id == row.tenant_id
        await self._all(session, str(row.subscriber_tenant_id), needs, own=own)

    async def overlay(self, session: AsyncSession, tenant_id: str, kind: OverlayKind, persona: str | None) -> None:
        """Of a flip or a boost; whoever stops something may."""
        if kind not in TTL:
            return
        needs: list[tuple[str, Any]] = [("flip_mode", True)]
        if persona is not None:
            needs.append(("personas", persona))
        await self._all(session, tenant_id, needs)

    async def _all(
        self, session: AsyncSession, tenant_id: str, needs: Collection[tuple[str, Any]], *, own: bool = True
    ) -> None:
        if needs:
            rights = await self._rights(session, tenant_id)
            for name, need in needs:
                require(self._catalogue, rights, name, need, own=own)

    async def _rights(self, session: AsyncSession, tenant_id: str) -> Rights:
        connection = await session.connection()
        row = (await connection.execute(RIGHTS, {"tenant": UUID(tenant_id)})).mappings().one()
        return rights_of(dict(row), self._catalogue, self._without)


UNLIMITED = Allowance(EVERYTHING, Catalogue(0, ()))


async def _lock(session: AsyncSession, what: str) -> None:
    connection = await session.connection()
    await connection.execute(_LOCK, {"what": what})

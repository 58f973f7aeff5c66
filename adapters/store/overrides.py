"""What an operator grants a tenant beside its plan, or takes: one row per entitlement, ended and never rewritten.

Whoever changes one brings what the tenant's subscriptions store in line in the same transaction, and counts their
`version` up: a writer of the subscription that has read the overrides before is then refused, and reads them again.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.ending import wanted
from adapters.store.database import Database
from adapters.store.entities import emit, require
from domain.entitlements import Entitlements, checked, from_stored, granting
from domain.errors import InvalidInput, NotFound, StoreUnavailable
from domain.plans import Catalogue
from models import EntitlementOverride, Subscription, Tenant

_DUE = text("SELECT tenants FROM overrides_due(:now)")
OVERRIDE_SET, OVERRIDE_ENDED = "entitlement_override_set", "entitlement_override_ended"
_LOOK_EVERY_S = 5
_log = logging.getLogger("vanta.entitlements")
_ITSELF = "system:entitlements"


@dataclass(frozen=True, slots=True)
class NewOverride:
    """`value` as `domain.entitlements.checked` takes it; `until` None: until somebody ends it."""

    name: str
    value: Any
    reason: str
    until: datetime | None = None


async def active_overrides(session: AsyncSession, tenant_id: str, now: datetime | None = None) -> dict[str, Any]:
    """By entitlement; `now` is the transaction's time where it is not given."""
    row = EntitlementOverride
    in_time = or_(col(row.expires_at).is_(None), col(row.expires_at) > (func.now() if now is None else now))
    wanted = select(row).where(row.tenant_id == UUID(tenant_id), col(row.ended_at).is_(None), in_time)
    return {found.name: found.value["value"] for found in (await session.exec(wanted)).all()}


class OverrideStore:
    """All are audited as the tenant's, with who did it and why."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    async def set(self, tenant_id: str, new: NewOverride, *, actor: str, now: datetime) -> EntitlementOverride:
        """In the place of one that is there. Raises NotFound for the tenant, and InvalidInput."""
        value = checked(new.name, new.value)
        if not new.reason.strip():
            raise InvalidInput("reason", "must say why")
        if new.until is not None and new.until <= now:
            raise InvalidInput("until", "must lie ahead")
        async with self._database.session(tenant_id) as session:
            rows = await self._held(session, tenant_id)
            before = await self._end(session, tenant_id, new.name, now)
            made = EntitlementOverride(
                tenant_id=UUID(tenant_id), name=new.name, value={"value": value}, reason=new.reason.strip(),
                actor=actor, created_at=now, expires_at=new.until,
            )  # fmt: skip
            session.add(made)
            await session.flush()
            payload = {
                "name": new.name, "value": value, "was": None if before is None else before.value, "until": new.until,
                "reason": made.reason,
            }  # fmt: skip
            await self._rewrite(session, tenant_id, rows, now)
            await emit(session, tenant_id, "tenant", tenant_id, OVERRIDE_SET, actor, payload)
            return made

    async def end(self, tenant_id: str, name: str, *, reason: str, actor: str, now: datetime) -> None:
        """Raises NotFound where there is none of that name."""
        async with self._database.session(tenant_id) as session:
            rows = await self._held(session, tenant_id)
            before = await self._end(session, tenant_id, name, now)
            if before is None:
                raise NotFound("override", name)
            payload = {"name": name, "was": before.value, "reason": reason}
            await self._rewrite(session, tenant_id, rows, now)
            await emit(session, tenant_id, "tenant", tenant_id, OVERRIDE_ENDED, actor, payload)

    async def end_due(self, *, now: datetime) -> int:
        """End those of all tenants whose time is over; of how many tenants."""
        due = await self._database.lookup(_DUE, {"now": now})
        tenants = [] if due is None else due["tenants"] or []
        for tenant_id in map(str, tenants):
            async with self._database.session(tenant_id) as session:
                rows = await self._held(session, tenant_id)
                mine = await self._live(session, tenant_id)
                over = [row for row in mine if row.expires_at is not None and row.expires_at <= now]
                for row in over:
                    row.ended_at = now
                    session.add(row)
                await session.flush()
                if over:
                    await self._rewrite(session, tenant_id, rows, now)
                for row in over:
                    payload = {"name": row.name, "was": row.value, "reason": "its time is over"}
                    await emit(session, tenant_id, "tenant", tenant_id, OVERRIDE_ENDED, _ITSELF, payload)
        return len(tenants)

    async def keep_ending(self) -> None:
        """Until cancelled; what has run out counts no more from its time on, whether or not this was there."""
        while wanted():
            try:
                await self.end_due(now=datetime.now(UTC))
            except StoreUnavailable as error:
                _log.warning("overrides that have run out stay stored for now: %s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def list(self, tenant_id: str) -> Sequence[EntitlementOverride]:
        """Those that are not ended, by name. Raises NotFound for the tenant."""
        async with self._database.session(tenant_id) as session:
            await require(session, Tenant, "tenant", UUID(tenant_id))
            return await self._live(session, tenant_id)

    async def _live(self, session: AsyncSession, tenant_id: str) -> Sequence[EntitlementOverride]:
        row = EntitlementOverride
        wanted = select(row).where(row.tenant_id == UUID(tenant_id), col(row.ended_at).is_(None)).order_by(row.name)
        return (await session.exec(wanted)).all()

    async def _held(self, session: AsyncSession, tenant_id: str) -> Sequence[Subscription]:
        """The tenant's subscriptions, locked, so that what they store follows what is done here."""
        tenant = await session.get(Tenant, UUID(tenant_id), with_for_update={"key_share": True})
        if tenant is None:
            raise NotFound("tenant", tenant_id)
        row = Subscription
        wanted = select(row).where(row.tenant_id == UUID(tenant_id)).order_by(row.subscription_id).with_for_update()
        return (await session.exec(wanted)).all()

    async def _end(self, session: AsyncSession, tenant_id: str, name: str, now: datetime) -> EntitlementOverride | None:
        row = EntitlementOverride
        mine = row.tenant_id == UUID(tenant_id), row.name == name, col(row.ended_at).is_(None)
        found = (await session.exec(select(row).where(*mine).with_for_update())).one_or_none()
        if found is not None:
            found.ended_at = now
            session.add(found)
            await session.flush()
        return found

    async def _rewrite(
        self, session: AsyncSession, tenant_id: str, rows: Sequence[Subscription], now: datetime
    ) -> None:
        overrides = await active_overrides(session, tenant_id, now)
        for row in rows:
            plan = self._plan(row)
            whole = granting(plan, row.status, close_only=row.close_only, overrides=overrides)
            row.entitlements, row.updated_at = whole.to_json(), now
            row.version += 1
            session.add(row)

    def _plan(self, row: Subscription) -> Entitlements:
        """A version that the catalogue has lost grants what it was last known to grant."""
        plan = self._catalogue.get(row.plan_id, row.plan_version)
        return from_stored(row.entitlements) if plan is None else plan.entitlements

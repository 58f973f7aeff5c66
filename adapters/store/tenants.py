"""Tenants as operators deal with them: whether their people and programs are let in."""

from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.database import Database
from adapters.store.entities import emit
from domain.access import TenantStatus
from domain.errors import NotFound
from models import Tenant


class TenantStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_status(self, tenant_id: str, status: TenantStatus, reason: str, *, actor: str) -> Tenant:
        """Counts at the next request of each of its logins and keys. What is so already is no change and no event.

        A suspended tenant's orders go on: who pays for a follower and is suspended gets no dead letter redriven that
        opens (`domain.redrive.by_status`), and to stop what is under way is what halts are for. Raises NotFound.
        """
        async with self._database.session(tenant_id) as session:
            row = await _hold(session, tenant_id)
            if row.status != status:
                payload = {"from": row.status, "to": status, "reason": reason}
                row.status = status.value
                session.add(row)
                action = "resumed" if status is TenantStatus.ACTIVE else "suspended"
                await emit(session, tenant_id, "tenant", tenant_id, action, actor, payload)
            return row


async def _hold(session: AsyncSession, tenant_id: str) -> Tenant:
    # Not against readers by foreign key: every row that is written for the tenant is one.
    row = await session.get(Tenant, UUID(tenant_id), with_for_update={"key_share": True})
    if row is None:
        raise NotFound("tenant", tenant_id)
    return row

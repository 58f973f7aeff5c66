"""Whom an overlay concerns, and the columns of theirs that the guards read in its place.

tenants.halt, vaults.halt, vaults.maintenance, followers.halt and followers.maintenance say what the active overlays of
that very scope come to, so that a claim reads one row of each and no overlay.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, update
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

import models
from adapters.store.entities import require
from domain.errors import NotFound
from domain.overlays import OverlayKind, Params, strongest
from models import Follower, Tenant, Vault


async def require_scope(session: AsyncSession, tenant_id: str, vault_id: str | None, follower_id: str | None) -> None:
    """Raises NotFound for vault or follower, also for a follower of another vault."""
    if vault_id is None:
        await require(session, Tenant, "tenant", UUID(tenant_id))
        return
    await require(session, Vault, "vault", vault_id)
    if follower_id is not None:
        follower = await require(session, Follower, "follower", follower_id)
        if follower.vault_id != vault_id:
            raise NotFound("follower", follower_id)


async def guard(session: AsyncSession, tenant_id: str, vault_id: str | None, follower_id: str | None) -> dict[str, Any]:
    """Set the scope's columns to what its overlays come to, and return them: `halt`, and but for tenants `maintenance`.

    The scope's row is locked first: of two that end at once, the second must see what the first has done.
    """
    row = _row(tenant_id, vault_id, follower_id)
    await session.exec(select(_table(vault_id, follower_id)).where(row).with_for_update())
    model = models.Overlay
    of_scope = (
        model.tenant_id == UUID(tenant_id),
        col(model.vault_id).is_not_distinct_from(vault_id),
        col(model.follower_id).is_not_distinct_from(follower_id),
        col(model.ended_at).is_(None),
        col(model.kind).in_([OverlayKind.HALT, OverlayKind.MAINTENANCE]),
    )
    active = (await session.exec(select(model.kind, model.params).where(*of_scope))).all()
    halt = strongest(Params.from_json(params).level for kind, params in active if kind == OverlayKind.HALT)
    in_force: dict[str, Any] = {"halt": None if halt is None else halt.value}
    if vault_id is not None:
        in_force["maintenance"] = any(kind == OverlayKind.MAINTENANCE for kind, _ in active)
    await session.exec(update(_table(vault_id, follower_id)).where(row).values(in_force))
    return in_force


def _table(vault_id: str | None, follower_id: str | None) -> type[SQLModel]:
    if vault_id is None:
        return Tenant
    return Vault if follower_id is None else Follower


def _row(tenant_id: str, vault_id: str | None, follower_id: str | None) -> ColumnElement[bool]:
    if vault_id is None:
        return col(Tenant.tenant_id) == UUID(tenant_id)
    return col(Vault.vault_id) == vault_id if follower_id is None else col(Follower.follower_id) == follower_id

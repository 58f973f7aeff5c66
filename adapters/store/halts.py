"""Halts of the whole platform, and the active halts that concern a tenant."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

import models
from adapters.store import kills
from adapters.store.database import Database
from adapters.store.entities import emit
from domain.admission import Halt
from domain.errors import IdempotencyKeyReused, NotFound
from domain.kills import EVERYBODY
from domain.overlays import OverlayKind

_VAULTS = text("SELECT DISTINCT tenant_id FROM all_vaults()")


class HaltStore:
    """Told to the audit of the tenant whose user asked: every event is some tenant's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def halt_platform(
        self, tenant_id: str, halt_id: str, level: Halt, reason: str, *, actor: str
    ) -> models.PlatformHalt:
        """A repeat under the same id finds the first. Raises IdempotencyKeyReused where that was another halt."""
        async with self._database.session(tenant_id) as session:
            values = {"halt_id": halt_id, "level": level.value, "reason": reason, "actor": actor}
            made = insert(models.PlatformHalt).values(values).on_conflict_do_nothing()
            new = await session.scalar(made.returning(col(models.PlatformHalt.halt_id)))
            if new is not None:
                await emit(session, tenant_id, "tenant", tenant_id, "platform_halted", actor, values)
            row = await session.get(models.PlatformHalt, halt_id)
            assert row is not None
            if (row.level, row.reason) != (level.value, reason):
                raise IdempotencyKeyReused("Idempotency-Key was already used for a halt of another level or reason")
        # Recorded after it is in force, and again by a repeat whose first request died in between.
        async with self._database.session(EVERYBODY) as session:
            await kills.record(session, EVERYBODY, vault_id=None, follower_id=None, level=level, actor=actor)
        return row

    async def lift_platform(self, tenant_id: str, halt_id: str, *, actor: str) -> models.PlatformHalt:
        """One that is lifted already stays as it is. Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            row = await session.get(models.PlatformHalt, halt_id, with_for_update=True)
            if row is None:
                raise NotFound("halt", halt_id)
            if row.ended_at is None:
                row.ended_at, row.ended_by = await session.scalar(select(func.now())), actor
                session.add(row)
                payload = {"halt_id": halt_id, "level": row.level}
                await emit(session, tenant_id, "tenant", tenant_id, "platform_lifted", actor, payload)
            return row

    async def active(self, tenant_id: str) -> tuple[Sequence[models.Overlay], Sequence[models.PlatformHalt]]:
        """The tenant's halts and those of the platform, the latest first; bounded by what operators pull by hand."""
        mine, everybody = models.Overlay, models.PlatformHalt
        halts = select(mine).where(
            mine.tenant_id == UUID(tenant_id), mine.kind == OverlayKind.HALT, col(mine.ended_at).is_(None)
        )
        of_all = select(everybody).where(col(everybody.ended_at).is_(None))
        async with self._database.session(tenant_id) as session:
            own = (await session.exec(halts.order_by(col(mine.starts_at).desc()).limit(1_000))).all()
            return own, (await session.exec(of_all.order_by(col(everybody.starts_at).desc()).limit(100))).all()

    async def tenants(self) -> list[str]:
        """Those that have an open vault."""
        async with self._database.session(EVERYBODY) as session:
            return [str(row[0]) for row in await (await session.connection()).execute(_VAULTS)]

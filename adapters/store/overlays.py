"""Overlays: started, extended and ended, each with its audit event and what the guards read, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, text, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

import models
from adapters.store import kills
from adapters.store.allowances import UNLIMITED, Allowance
from adapters.store.database import Database
from adapters.store.entities import emit, insert_new, require
from adapters.store.once import find_earlier, keep
from adapters.store.scopes import guard, require_scope
from domain.admission import Halt
from domain.errors import NotFound
from domain.flip_mode import EndOverlay, ExtendOverlay, StartOverlay
from domain.overlays import EndReason, Overlay, OverlayKind, Params, extended
from domain.requests import Slice
from models import Vault

_CREATED = 201
# Kinds that stop what is being sent; whoever starts one then waits for the kill switch's barrier.
KILLING = frozenset({OverlayKind.HALT, OverlayKind.MAINTENANCE})
# The workflow's timer runs by Temporal's clock; by ours it may be that much early. More, and it has not heard of an
# extension whose answer was lost.
_CLOCKS_DIFFER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Started:
    """`row` as it was started; `replayed`: by an earlier request under the same key."""

    row: models.Overlay
    replayed: bool


class OverlayStore:
    """NotFound is raised for another tenant's ids as for unknown ones. All times are the database's.

    Flips and boosts that the plan does not allow raise NotEntitled, also where one would last longer.
    """

    def __init__(self, database: Database, allowance: Allowance = UNLIMITED) -> None:
        self._database = database
        self._allowance = allowance

    async def start(self, start: StartOverlay) -> Started:
        """Once per key. Raises InvalidInput, NotFound for vault or follower, and IdempotencyKeyReused."""
        new = start.new
        new.check()
        async with self._database.session(start.tenant_id) as session:
            earlier = await find_earlier(session, start.tenant_id, start.once)
            if earlier is not None:
                return Started(models.Overlay.model_validate(earlier.response), replayed=True)
            await require_scope(session, start.tenant_id, new.vault_id, new.follower_id)
            await self._allowance.overlay(session, start.tenant_id, new.kind, new.params.persona)
            now = await _now(session)
            row = models.Overlay(
                overlay_id=start.overlay_id, tenant_id=UUID(start.tenant_id), vault_id=new.vault_id,
                follower_id=new.follower_id, kind=new.kind.value, params=new.params.to_json(), starts_at=now,
                expires_at=None if new.ttl is None else now + new.ttl, actor=start.actor, reason=new.reason,
            )  # fmt: skip
            row = await insert_new(session, row, "overlay_id")
            await _carry_out(session, row, "overlay_started", start.actor)
            if row.kind in KILLING:
                level = to_domain(row).params.level or Halt.HALT_ALL
                await kills.record(
                    session, start.tenant_id, vault_id=row.vault_id, follower_id=row.follower_id, level=level,
                    actor=start.actor,
                )  # fmt: skip
            keep(session, start.tenant_id, start.once, _CREATED, row.model_dump(mode="json"))
            return Started(row, replayed=False)

    async def before_starting(self, start: StartOverlay) -> models.Overlay | None:
        """The overlay as an earlier request under the key started it. Raises as `start` does."""
        new = start.new
        async with self._database.session(start.tenant_id) as session:
            earlier = await find_earlier(session, start.tenant_id, start.once)
            if earlier is not None:
                return models.Overlay.model_validate(earlier.response)
            await require_scope(session, start.tenant_id, new.vault_id, new.follower_id)
            await self._allowance.overlay(session, start.tenant_id, new.kind, new.params.persona)
            return None

    async def extend(self, change: ExtendOverlay) -> Overlay:
        """Raises NotFound, and InvalidInput past the longest time or for what is over; see `domain.overlays`."""
        async with self._database.session(change.tenant_id) as session:
            row = await _locked(session, change.overlay_id)
            before = row.expires_at
            row.expires_at = extended(to_domain(row), change.ttl, await _now(session))
            if row.expires_at != before:
                await self._allowance.overlay(
                    session, change.tenant_id, OverlayKind(row.kind), row.params.get("persona")
                )
                session.add(row)
                was = {"expired_at_before": None if before is None else before.isoformat()}
                await _tell(session, row, "overlay_extended", change.actor, was)
            return to_domain(row)

    @staticmethod
    def check_extension(row: models.Overlay, ttl: timedelta) -> None:
        """Spares a workflow what it would refuse. Raises InvalidInput as `extend` does."""
        extended(to_domain(row), ttl, datetime.now(UTC))

    async def end(self, change: EndOverlay) -> Overlay:
        """End it, once. One whose time has come ends as expired at that time, whoever asks.

        What is over already stays as it is, and so does what is said to have expired while it has time left.
        """
        async with self._database.session(change.tenant_id) as session:
            row = await _locked(session, change.overlay_id)
            now = await _now(session)
            early = _CLOCKS_DIFFER if change.reason is EndReason.EXPIRED else timedelta()
            due = row.expires_at is not None and row.expires_at <= now + early
            if row.ended_at is None and (due or change.reason is not EndReason.EXPIRED):
                row.ended_at, row.ended_by = (row.expires_at if due else now), change.actor
                row.end_reason = EndReason.EXPIRED if due else change.reason
                session.add(row)
                await session.flush()
                await _carry_out(session, row, "overlay_ended", change.actor)
            return to_domain(row)

    async def find(self, tenant_id: str, overlay_id: str) -> Overlay:
        return to_domain(await self.get(tenant_id, overlay_id))

    async def get(self, tenant_id: str, overlay_id: str, *, vault_id: str | None = None) -> models.Overlay:
        """Raises NotFound; with `vault_id` also for another vault's."""
        async with self._database.session(tenant_id) as session:
            row = await require(session, models.Overlay, "overlay", overlay_id)
            if vault_id is not None and row.vault_id != vault_id:
                raise NotFound("overlay", overlay_id)
            return row

    async def list(
        self, tenant_id: str, vault_id: str, part: Slice, *, active: bool | None = None
    ) -> Sequence[models.Overlay]:
        """The vault's and its followers' overlays, the latest started first. Raises NotFound for the vault."""
        model = models.Overlay
        starts, key = col(model.starts_at), col(model.overlay_id)
        wanted = select(model).where(model.tenant_id == UUID(tenant_id), model.vault_id == vault_id)
        if active is not None:
            running = col(model.ended_at).is_(None) & or_(
                col(model.expires_at).is_(None), col(model.expires_at) > func.now()
            )
            wanted = wanted.where(running if active else ~running)
        if part.since is not None:
            wanted = wanted.where(starts >= part.since)
        if part.after is not None:
            wanted = wanted.where(tuple_(starts, key) < part.after)
        async with self._database.session(tenant_id) as session:
            await require(session, Vault, "vault", vault_id)
            return (await session.exec(wanted.order_by(starts.desc(), key.desc()).limit(part.limit))).all()


def to_domain(row: models.Overlay) -> Overlay:
    return Overlay(
        row.overlay_id, OverlayKind(row.kind), row.vault_id, row.follower_id, Params.from_json(row.params),
        row.starts_at, row.expires_at, row.ended_at, None if row.end_reason is None else EndReason(row.end_reason),
    )  # fmt: skip


async def _now(session: AsyncSession) -> datetime:
    """The transaction's time: a process's own clock may be off, and every reader's is Postgres'."""
    connection = await session.connection()
    now = (await connection.execute(text("SELECT now()"))).scalar_one()
    assert isinstance(now, datetime)
    return now


async def _locked(session: AsyncSession, overlay_id: str) -> models.Overlay:
    row = await session.get(models.Overlay, overlay_id, with_for_update=True)
    if row is None:
        raise NotFound("overlay", overlay_id)
    return row


async def _carry_out(session: AsyncSession, row: models.Overlay, action: str, actor: str) -> None:
    """Bring what the guards read in line with the overlays that are there now, and tell of it."""
    in_force = {}
    if row.kind in KILLING:
        in_force = await guard(session, str(row.tenant_id), row.vault_id, row.follower_id)
    await _tell(session, row, action, actor, in_force)


async def _tell(session: AsyncSession, row: models.Overlay, action: str, actor: str, more: dict[str, Any]) -> None:
    """An event of the overlay's scope: its follower, its vault, or the tenant."""
    tenant_id = str(row.tenant_id)
    if row.follower_id is not None:
        entity, entity_id = "follower", row.follower_id
    elif row.vault_id is not None:
        entity, entity_id = "vault", row.vault_id
    else:
        entity, entity_id = "tenant", tenant_id
    payload = row.model_dump(mode="json", exclude={"tenant_id"}) | more
    await emit(session, tenant_id, entity, entity_id, action, actor, payload)

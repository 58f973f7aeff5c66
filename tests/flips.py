"""Flips on real servers, for the integration tests and the recorded histories."""

import uuid
from datetime import timedelta
from decimal import Decimal

import psycopg

from adapters.store.overlays import OverlayStore
from domain import ids
from domain.flip_mode import FlipModeInput, StartOverlay
from domain.overlays import NewOverlay, Overlay, OverlayKind, Params
from domain.requests import Once
from temporal import ids as workflow_ids
from temporal import queues
from temporal.overlays import FlipModes
from tests.conftest import owner_dsn
from tests.world import ACTOR, World
from workflows.flip_mode import FlipModeWorkflow

TTL = timedelta(minutes=30)


def flips_of(world: World) -> FlipModes:
    return FlipModes(world.temporal, timeout_s=20)


def a_flip(world: World, vault_id: str, follower_id: str | None = None) -> StartOverlay:
    key = str(uuid.uuid4())
    params = Params(amplify=Decimal("0.35"))
    new = NewOverlay(OverlayKind.FLIP, vault_id, follower_id, TTL, params, "earnings tonight")
    once = Once("start_overlay", key, "f" * 64)
    return StartOverlay(world.tenant_id, ids.overlay_id(world.tenant_id, key), new, once, ACTOR)


async def about_to_expire(world: World, vault_id: str, left: timedelta) -> Overlay:
    """A flip with that much of its time left, owned by a run that goes on from an earlier one."""
    start = a_flip(world, vault_id)
    store = OverlayStore(world.database)
    await store.start(start)
    async with await psycopg.AsyncConnection.connect(owner_dsn(world.settings)) as connection:
        await connection.execute(
            "UPDATE overlays SET starts_at = starts_at - %(by)s, expires_at = expires_at - %(by)s "
            "WHERE overlay_id = %(id)s",
            {"by": TTL - left, "id": start.overlay_id},
        )
    row = await store.find(world.tenant_id, start.overlay_id)
    await world.temporal.start_workflow(
        FlipModeWorkflow.run,
        FlipModeInput(start, row),
        id=workflow_ids.overlay(OverlayKind.FLIP, start.overlay_id),
        task_queue=queues.ORCHESTRATION,
    )
    return row

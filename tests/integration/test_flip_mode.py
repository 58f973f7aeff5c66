"""A flip over crashes: its end is a time of day, which neither a dead worker nor a dead server moves."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from adapters.store.overlays import OverlayStore
from domain.flip_mode import Extension
from domain.overlays import EndReason, Overlay, OverlayKind
from temporal import ids
from tests.flips import a_flip, about_to_expire, flips_of
from tests.world import ACTOR, World
from workflows.flip_mode import FlipModeWorkflow

FLIP = OverlayKind.FLIP
OWNERS = ("worker-orchestration", "temporal")


def handle_of(world: World, overlay: Overlay) -> WorkflowHandle[Any, Overlay]:
    return world.temporal.get_workflow_handle(ids.overlay(FLIP, overlay.overlay_id), result_type=Overlay)


async def crash(world: World) -> None:
    for name in OWNERS:
        await asyncio.to_thread(world.stack.kill, name)
    for name in reversed(OWNERS):
        await asyncio.to_thread(world.stack.restart, name)


async def reverted(world: World, overlay: Overlay) -> Overlay:
    async with asyncio.timeout(60):
        return await handle_of(world, overlay).result()


async def test_a_flip_survives_the_death_of_its_worker_and_of_the_server(world: World):
    vault, flips = await world.vault(), flips_of(world)
    begun = await flips.start(a_flip(world, vault))
    assert begun is not None
    # One will come to its end when everything is back, the other while nothing runs.
    later = await about_to_expire(world, vault, timedelta(seconds=25))
    meanwhile = await about_to_expire(world, vault, timedelta(seconds=1))
    await crash(world)

    overlay = begun.overlay
    assert await handle_of(world, overlay).query(FlipModeWorkflow.state) == overlay
    longer = await flips.extend(overlay.overlay_id, FLIP, Extension(timedelta(minutes=60), ACTOR))
    assert longer is not None
    assert longer.expires_at == overlay.starts_at + timedelta(minutes=60)
    await flips.cancel(overlay.overlay_id, FLIP, ACTOR)

    for row in (meanwhile, later):
        ended = await reverted(world, row)
        assert ended.end_reason is EndReason.EXPIRED
        assert ended.ended_at == row.expires_at
        assert ended == await OverlayStore(world.database).find(world.tenant_id, row.overlay_id)
    told = await world.rows(
        "SELECT action, ts, payload FROM audit_events WHERE payload ->> 'overlay_id' = %s ORDER BY event_id",
        later.overlay_id,
    )
    assert [event["action"] for event in told] == ["overlay_started", "overlay_ended"]
    assert later.expires_at is not None
    assert abs(told[1]["ts"] - later.expires_at) < timedelta(seconds=5)


async def test_a_flip_of_an_unknown_follower_starts_nothing(world: World):
    flips, start = flips_of(world), a_flip(world, await world.vault(), "F_nobody")
    with pytest.raises(WorkflowUpdateFailedError) as heard:
        await flips.start(start)
    assert isinstance(heard.value.cause, ApplicationError)
    assert (heard.value.cause.type, heard.value.cause.message) == ("not-found", "no follower 'F_nobody'")
    assert await world.rows("SELECT 1 FROM overlays WHERE overlay_id = %s", start.overlay_id) == []

"""Pulling a halt of level flatten, and waiting for what it sells; for tests and recorded histories."""

import asyncio

from adapters.store.overlays import OverlayStore
from domain import ids
from domain.admission import Halt
from domain.flattening import FlattenInput, FlattenResult
from domain.flip_mode import StartOverlay
from domain.overlays import NewOverlay, OverlayKind, Params
from temporal import ids as workflow_ids
from temporal.flattening import Flattener
from tests.world import ACTOR, World


async def halt(world: World, vault: str, follower: str | None = None) -> FlattenInput:
    once = world.once("flatten")
    overlay_id = ids.overlay_id(world.tenant_id, once.key)
    new = NewOverlay(OverlayKind.HALT, vault, follower, params=Params(level=Halt.FLATTEN))
    await OverlayStore(world.database).start(StartOverlay(world.tenant_id, overlay_id, new, once, ACTOR))
    return FlattenInput(world.tenant_id, overlay_id, ACTOR, vault, follower)


async def flattened(world: World, scope: FlattenInput) -> FlattenResult:
    flattener = Flattener(world.temporal, timeout_s=10)
    await flattener.start([scope])
    await flattener.start([scope])  # a repeat meets the first
    handle = world.temporal.get_workflow_handle(
        workflow_ids.flatten(scope.halt_id, scope.tenant_id), result_type=FlattenResult
    )
    async with asyncio.timeout(60):
        result: FlattenResult = await handle.result()
    return result

"""A flip over crashes: its end is a time of day, which neither a dead worker nor a dead server moves."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from adapters.store.overlays import OverlayStore
from domain.flip_mode import Extension
from domain.overlays import EndReason, Overlay, OverlayKind
from stack.dev_token import dev_token
from temporal import ids
from tests.api.conftest import SCOPES, problem, serve
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


async def test_over_http_a_flip_bends_the_next_order_and_a_halt_stops_it(world: World):
    vault = await world.vault()
    follower = await world.webhook(vault)
    scopes = " ".join(SCOPES)
    token = dev_token(world.settings, tenant_id=uuid.UUID(world.tenant_id), role="owner", scopes=scopes)

    async def ordered() -> Any:
        mo_id = (await world.submit(vault, "buy", 10, meta={"allow_duplicate": True})).mo_id
        await world.settled(mo_id)
        return (await world.follower_orders(mo_id)).get(follower)

    async with serve(world.settings) as http:
        http.headers["Authorization"] = f"Bearer {token}"

        async def overlay(**body: Any) -> str:
            key = {"Idempotency-Key": uuid.uuid4().hex}
            answer = await http.post(f"/v1/vaults/{vault}/overlay", json=body, headers=key)
            assert answer.status_code == 201, answer.text
            return f"/v1/vaults/{vault}/overlays/{answer.json()['overlay_id']}"

        flip = await overlay(kind="flip", ttl_minutes=30, amplify="0.5")
        assert (await ordered())["qty"] == 15
        extended = await http.patch(flip, json={"ttl_minutes": 60}, headers={"Idempotency-Key": "an-hour"})
        assert extended.status_code == 200, extended.text
        longer = await http.patch(flip, json={"ttl_minutes": 61}, headers={"Idempotency-Key": "longer"})
        problem(longer, 422, "invalid-input", "ttl_minutes")
        assert (await http.delete(flip)).json()["end_reason"] == "cancelled"
        assert (await ordered())["qty"] == 10
        halt = await overlay(kind="halt", level="halt_opens")
        assert (await world.submit(vault, "buy", 10, meta={"allow_duplicate": True})).code == "vault-halted"
        assert (await http.delete(halt)).json()["end_reason"] == "lifted"

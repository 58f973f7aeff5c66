"""Flatten on real servers: opens stop, what is under way is called off at the broker, everything held is sold."""

import asyncio
from decimal import Decimal

from adapters.store.overlays import OverlayStore
from domain import ids
from domain.admission import Halt
from domain.flattening import FlattenInput, FlattenResult
from domain.flip_mode import StartOverlay
from domain.overlays import NewOverlay, OverlayKind, Params
from simulators.alpaca.behaviour import Behaviour as Trading
from simulators.alpaca.behaviour import Life
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


async def test_a_flattened_vault_ends_with_no_follower_holding_anything(world: World):
    vault = await world.vault()
    hook = await world.webhook(vault, scale=Decimal("0.5"))
    broker = await world.bridged(vault)
    killed = await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    await world.registry.update_follower(world.tenant_id, killed, {"kill_switch": True}, actor=ACTOR)
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    open_order = await world.submit(vault, "buy", 4, tif="gtc")
    await world.until(open_order.mo_id, lambda o: stuck in o and o[stuck]["state"] == "partially_filled")
    world.alpaca.script(Trading(), account=stuck)  # its exit is filled as usual

    result = await flattened(world, await halt(world, vault))

    assert result.left == []
    assert await world.holding(hook) == await world.holding(broker) == await world.holding(stuck) == 0
    assert await world.holding(killed) == 10  # its kill switch is on: nothing at all is sent to it
    assert (await world.follower_orders(open_order.mo_id))[stuck]["state"] == "cancelled"
    refused = await world.submit(vault, "buy", 3)
    assert (refused.accepted, refused.code) == (False, "vault-halted")
    told = await world.rows("SELECT payload FROM audit_events WHERE action = 'flatten_done' AND entity_id = %s", vault)
    assert [event["payload"]["left"] for event in told] == [[]]


async def test_flattening_one_follower_leaves_the_others_and_the_vault(world: World):
    vault = await world.vault()
    one, other = await world.webhook(vault), await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    result = await flattened(world, await halt(world, vault, one))
    assert result.left == []
    holdings = [await world.holding(holder) for holder in (one, other, vault)]
    assert holdings == [0, 10, 10]

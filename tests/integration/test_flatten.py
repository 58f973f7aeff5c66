"""Flatten on real servers: opens stop, what is under way is called off at the broker, everything held is sold."""

from decimal import Decimal

from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Life
from tests.flattening import flattened, halt
from tests.world import ACTOR, World


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

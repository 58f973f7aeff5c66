"""A subscriber that stops paying, through the mirroring workflow: its followers reduce, and open again once it paid."""

from decimal import Decimal
from typing import Any

from tests.adapters.store.subscribers import PLANS, subscribe, subscriber
from tests.world import World


async def test_past_its_grace_a_follower_gets_out_in_full_and_comes_back_when_paid(world: World) -> None:
    vault = await world.vault()
    late, fewer = [await subscriber(world.database, world.registry, "active", plan=PLANS["pro"]) for _ in range(2)]
    paying = await world.webhook(vault)
    closed = await world.webhook(vault, subscriber_tenant_id=late)
    downgraded = await world.webhook(vault, persona="apollo", scale=Decimal("0.8"), subscriber_tenant_id=fewer)
    everybody = (paying, closed, downgraded)

    async def trade(side: str, qty: int) -> list[Any]:
        mo_id = (await world.submit(vault, side, qty)).mo_id
        await world.settled(mo_id)
        orders = await world.follower_orders(mo_id)
        return [orders[follower]["reason"] or orders[follower]["qty"] for follower in everybody]

    assert await trade("buy", 10) == [10, 10, 10]
    await subscribe(world.database, late, "past_due", plan=PLANS["pro"], close_only=True)
    await subscribe(world.database, fewer, "active")  # a plan without the persona
    assert await trade("buy", 10) == [10, "close_only", "not_entitled"]
    assert await trade("sell", 10) == [10, 5, 5]
    assert await trade("sell", 10) == [10, 5, 5]
    assert [await world.holding(follower) for follower in everybody] == [Decimal(0)] * 3
    for tenant in (late, fewer):
        await subscribe(world.database, tenant, "active", plan=PLANS["pro"])
    assert await trade("buy", 10) == [10, 10, 10]

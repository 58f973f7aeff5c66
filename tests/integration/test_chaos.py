"""Processes killed with SIGKILL in mid-order: every order ends right, no broker order twice, none lost."""

import asyncio

import pytest

from simulators.receiver import Behaviour
from tests.world import World

WEBHOOKS = 150
BRIDGED = 15


async def _crowd(world: World) -> str:
    vault = await world.vault()
    slow = Behaviour(delay_ms=1_500)  # a busy machine must see the wave while it is under way
    for _ in range(WEBHOOKS):
        await world.webhook(vault, slow)
    for _ in range(BRIDGED):
        await world.bridged(vault)
    return vault


async def _check_outcome(world: World, mo_id: str) -> None:
    orders = await world.follower_orders(mo_id)
    assert len(orders) == WEBHOOKS + BRIDGED
    assert {o["state"] for o in orders.values()} == {"confirmed"}
    for follower_id, order in orders.items():
        assert await world.holding(follower_id) == 10
        if order["route"] == "webhook":
            delivery = world.receiver.delivery(order["fo_id"])
            assert delivery is not None
            assert delivery.processed == 1
        else:
            [booked] = world.alpaca.orders(order["fo_id"])
            assert booked["booked"] == 1


async def _in_mid_wave(world: World, mo_id: str) -> None:
    """Return when some of the wave has arrived and some has not."""
    async with asyncio.timeout(60):
        while True:
            ids = {o["fo_id"] for o in (await world.follower_orders(mo_id)).values()}
            arrived = len([d for d in world.receiver.deliveries() if d.delivery_id in ids])
            if arrived >= 20:
                assert arrived < WEBHOOKS
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("victim", ["worker-dispatch", "worker-orchestration", "temporal", "postgres"])
async def test_a_process_killed_in_mid_wave_loses_nothing_and_sends_no_broker_order_twice(world: World, victim: str):
    vault = await _crowd(world)
    admission = await world.submit(vault, "buy", 10)
    await _in_mid_wave(world, admission.mo_id)
    await asyncio.to_thread(world.stack.kill, victim)
    await asyncio.to_thread(world.stack.restart, victim)
    await world.settled(admission.mo_id, timeout_s=120)
    await _check_outcome(world, admission.mo_id)

"""Kill paths with real processes: a sender that is stopped, and a Redis that is gone."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from adapters.kill.channel import open_redis
from adapters.kill.switch import KillSwitch
from adapters.store.kills import KillStore
from simulators.receiver import Behaviour
from tests.world import ACTOR, World


@pytest.fixture
async def switch(world: World) -> AsyncIterator[KillSwitch]:
    redis = open_redis(world.settings.redis)
    yield KillSwitch(KillStore(world.database), redis)
    await redis.aclose()


async def kill(world: World, switch: KillSwitch, follower: str) -> str:
    """As PATCH does; how it is known that nothing begins any more."""
    await world.registry.update_follower(world.tenant_id, follower, {"kill_switch": True}, actor=ACTOR)
    return (await switch.barrier(world.tenant_id, follower_id=follower)).via


async def test_a_kill_of_a_running_sender_is_acknowledged_by_it(world: World, switch: KillSwitch):
    vault = await world.vault()
    follower = await world.webhook(vault)
    assert await kill(world, switch, follower) == "redis"
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    assert world.receiver.deliveries(follower) == []


async def test_a_sender_that_is_stopped_delays_the_answer_and_sends_nothing_when_it_goes_on(
    world: World, switch: KillSwitch
):
    vault = await world.vault()
    # A receiver that is slow keeps orders in the process, claimed and unsent, while it is stopped.
    followers = [await world.webhook(vault, Behaviour(delay_ms=700)) for _ in range(150)]
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: sum(row["state"] == "sent" for row in o.values()) > 20)
    pid = world.stack.pids()["worker-dispatch"]
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting = {d.follower_id for d in world.receiver.deliveries()}
        # Few enough to be killed before the one that is stopped counts as fenced, 2 s after its last look.
        unsent = [f for f in followers if f not in waiting][-8:]
        assert unsent
        for follower in unsent:
            await world.registry.update_follower(world.tenant_id, follower, {"kill_switch": True}, actor=ACTOR)
        assert (await switch.barrier(world.tenant_id, follower_id=unsent[-1])).via == "postgres"
        begun = {d.follower_id for d in world.receiver.deliveries()}
    finally:
        os.kill(pid, signal.SIGCONT)
    await world.settled(admission.mo_id, timeout_s=120)
    assert {d.follower_id for d in world.receiver.deliveries()} & set(unsent) <= begun
    orders = await world.follower_orders(admission.mo_id)
    # What was claimed when its sender fell silent is in doubt for us, and a dead letter; the rest was never claimed.
    assert {orders[f]["state"] for f in unsent if f not in begun} <= {"killed", "dead_letter"}


async def test_without_redis_opens_wait_reductions_go_and_a_kill_works(world: World, switch: KillSwitch):
    vault = await world.vault()
    follower, killed = await world.webhook(vault), await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    await asyncio.to_thread(world.stack.kill, "redis")
    try:
        assert await kill(world, switch, killed) == "postgres"  # by then every sender's lease has run out
        opens = await world.submit(vault, "buy", 4)
        await world.until(opens.mo_id, lambda o: o.keys() == {follower, killed})
        reduces = await world.submit(vault, "sell", 7)
        await world.settled(reduces.mo_id)
        sold = (await world.follower_orders(reduces.mo_id))[follower]
        held = (await world.follower_orders(opens.mo_id))[follower]
        assert sold["state"] == "confirmed"
        assert (held["state"], held["dispatch_attempts"]) == ("sized", 0)
    finally:
        await asyncio.to_thread(world.stack.restart, "redis")
    await world.settled(opens.mo_id, timeout_s=90)
    orders = await world.follower_orders(opens.mo_id)
    assert (orders[follower]["state"], orders[killed]["state"]) == ("confirmed", "killed")

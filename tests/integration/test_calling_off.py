"""Cancels and expiries against brokers that do not answer, fill in part, or not at all."""

from datetime import UTC, datetime, timedelta

from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from tests.world import ACTOR, World

NEVER = Life(ending="stuck", steps=2, fill_steps=0)


def in_time(seconds: float) -> dict[str, str]:
    return {"expires_at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}


async def test_an_order_that_may_have_arrived_is_found_at_the_broker_and_cancelled_there(world: World):
    """The broker has booked it and does not say so; the cancel comes while nobody knows."""
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(fault=Fault(kind=FaultKind.HANG_AFTER_BOOKING), life=NEVER))
    mo_id = (await world.submit(vault, "buy", 10, tif="gtc")).mo_id
    await world.until(mo_id, lambda orders: orders[follower]["state"] == "sent")
    done = await world.orders.cancel(mo_id, actor=ACTOR)
    assert done is not None
    assert (done.cancelled, done.in_flight) == (0, 1)
    assert (await world.settled(mo_id)).state == "cancelled"
    order = (await world.follower_orders(mo_id))[follower]
    [there] = world.alpaca.orders(order["fo_id"])
    assert (order["state"], there["statuses"], there["submissions"]) == ("cancelled", ["canceled"], 1)
    assert await world.holding(vault) == 0  # nobody traded it, so the vault has it back


async def test_an_order_that_never_arrived_ends_with_its_cancelled_manager_order_and_is_not_sent_again(world: World):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(fault=Fault(kind=FaultKind.HANG)))
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.until(mo_id, lambda orders: orders[follower]["state"] == "sent")
    await world.orders.cancel(mo_id, actor=ACTOR)
    await world.settled(mo_id)
    order = (await world.follower_orders(mo_id))[follower]
    assert (order["state"], order["reason"], order["dispatch_attempts"]) == ("cancelled", "manager_order_cancelled", 1)
    assert all(there["booked"] == 0 for there in world.alpaca.orders(order["fo_id"]))


async def test_an_unfilled_limit_is_turned_into_nothing_when_its_time_is_over(world: World):
    """Never into a market order: what was not filled is cancelled, and no other order takes its place."""
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(life=NEVER))
    mo_id = (
        await world.submit(vault, "buy", 10, type="limit", limit_price="195", tif="gtc", meta=in_time(3))
    ).mo_id  # fmt: skip
    assert (await world.settled(mo_id)).state == "expired"
    order = (await world.follower_orders(mo_id))[follower]
    [there] = world.alpaca.orders(order["fo_id"])
    assert (there["submissions"], there["statuses"]) == (1, ["canceled"])
    assert len([o for o in world.alpaca.orders() if o["account"] == follower]) == 1
    assert await world.holding(follower) == 0

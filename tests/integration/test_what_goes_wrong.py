"""What goes wrong in systems like this one, each by its name, on real servers; see also the same file of the store.

Elsewhere under their names: a lost stream frame, a resync that re-opens, rounding that oscillates
(tests/domain/test_reconciliation.py); a disabled endpoint's events, an unnoticed auto-disable
(tests/adapters/store/test_what_goes_wrong.py).
"""

import asyncio

import pytest

from simulators.alpaca.behaviour import Behaviour as Trading
from simulators.alpaca.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from tests.world import World


async def actions(world: World, fo_id: str) -> list[str]:
    events = await world.rows("SELECT action FROM audit_events WHERE entity_id = %s ORDER BY event_id", fo_id)
    return [event["action"] for event in events]


@pytest.mark.parametrize("kind", [FaultKind.HANG_AFTER_BOOKING, FaultKind.DROP_AFTER_BOOKING])
async def test_a_retry_after_a_time_out_does_not_buy_twice(world: World, kind: FaultKind):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(fault=Fault(kind=kind)))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    [booked] = world.alpaca.orders(order["fo_id"])
    assert (booked["booked"], booked["submissions"]) == (1, 1)  # asked for by its id, and found: never sent again
    assert "unknown" in await actions(world, order["fo_id"])
    assert await world.holding(follower) == 10


async def test_a_time_out_is_not_recorded_as_a_rejection_though_the_order_fills_later(world: World):
    vault = await world.vault()
    late = Trading(fault=Fault(kind=FaultKind.HANG_AFTER_BOOKING), life=Life(steps=3, interval_ms=1_500))
    follower = await world.bridged(vault, late)
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["filled_qty"]) == ("confirmed", 10)
    assert "rejected" not in await actions(world, order["fo_id"])


async def test_a_restart_does_not_re_send(world: World):
    vault = await world.vault()
    broker = await world.bridged(vault, Trading(life=Life(steps=4, interval_ms=1_500)))
    hook = await world.webhook(vault, Behaviour(delay_ms=1_500))
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: o.keys() == {broker, hook} and o[broker]["state"] != "sent")
    await asyncio.to_thread(world.stack.kill, "worker-dispatch")
    await asyncio.to_thread(world.stack.restart, "worker-dispatch")
    await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    [booked] = world.alpaca.orders(orders[broker]["fo_id"])
    assert (booked["booked"], booked["submissions"]) == (1, 1)
    delivery = world.receiver.delivery(orders[hook]["fo_id"])
    assert delivery is not None
    assert delivery.processed == 1  # under the same webhook-id, where it was sent again at all
    assert await world.holding(broker) == await world.holding(hook) == 10


async def test_an_unfilled_limit_is_not_turned_into_a_market_order(world: World):
    vault = await world.vault()
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=1, fill_steps=0)))
    admission = await world.submit(vault, "buy", 10, type="limit", limit_price="199", tif="gtc")
    await world.until(admission.mo_id, lambda o: o[stuck]["state"] == "ack")
    await world.orders.cancel(admission.mo_id, actor="user:test")
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[stuck]
    assert (order["state"], order["filled_qty"]) == ("cancelled", 0)
    [booked] = world.alpaca.orders(order["fo_id"])
    assert (booked["booked"], booked["submissions"], booked["statuses"]) == (1, 1, ["canceled"])


async def test_one_followers_failure_does_not_stop_the_others(world: World):
    vault = await world.vault()
    failing = [
        await world.webhook(vault, Behaviour(kind="fail", status=400)),
        await world.webhook(vault, Behaviour(kind="fail", status=410)),
        await world.bridged(vault, Trading(life=Life(ending="rejected"))),
    ]
    fine = [await world.webhook(vault), await world.bridged(vault)]
    admission = await world.submit(vault, "buy", 10)
    result = await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    assert {orders[f]["state"] for f in failing} == {"rejected"}
    assert {orders[f]["state"] for f in fine} == {"confirmed"}
    assert result.state == "settled_with_errors"

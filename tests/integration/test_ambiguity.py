"""Sent, and no answer: nothing is bought twice, nothing is lost."""

import pytest

from simulators.alpaca.behaviour import Behaviour as Trading
from simulators.alpaca.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from tests.world import World


async def test_a_receiver_that_processes_and_never_answers_gets_the_same_delivery_again(world: World):
    vault = await world.vault()
    silent = await world.webhook(vault, Behaviour(kind="process_then_hang", times=1))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[silent]
    delivery = world.receiver.delivery(order["fo_id"])
    assert delivery is not None
    assert (len(delivery.receptions), delivery.processed) == (2, 1)
    assert (order["state"], order["dispatch_attempts"]) == ("confirmed", 2)
    assert await world.holding(silent) == 10
    events = await world.rows(
        "SELECT action FROM audit_events WHERE entity_id = %s AND action <> 'fill' ORDER BY event_id", order["fo_id"]
    )
    assert [e["action"] for e in events] == ["sized", "sent", "unknown", "sent", "ack", "confirmed"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.HANG_AFTER_BOOKING),
        Fault(kind=FaultKind.HANG),
        Fault(kind=FaultKind.DROP_AFTER_BOOKING),
        Fault(kind=FaultKind.DROP),
        Fault(kind=FaultKind.ERROR_AFTER_BOOKING),
        Fault(kind=FaultKind.ERROR, times=2),
        Fault(kind=FaultKind.RATE_LIMITED, times=2, retry_after_s=1),
        Fault(kind=FaultKind.SLOW, delay_ms=2_600),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_broker_that_does_not_answer_ends_with_exactly_one_order(world: World, fault: Fault):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(fault=fault))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    [booked] = world.alpaca.orders(order["fo_id"])
    assert booked["booked"] == 1
    assert order["state"] == "confirmed"
    assert await world.holding(follower) == 10


async def test_partial_fills_add_up_to_the_order(world: World):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(life=Life(steps=4, interval_ms=400)))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    fills = await world.rows("SELECT qty, price FROM fills WHERE fo_id = %s", order["fo_id"])
    assert sum(f["qty"] for f in fills) == order["filled_qty"] == 10
    assert len(fills) > 1
    assert order["state"] == "confirmed"


async def test_a_broker_that_rejects_leaves_no_position_and_settles_with_errors(world: World):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(life=Life(ending="rejected")))
    other = await world.bridged(vault)
    admission = await world.submit(vault, "buy", 10)
    result = await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    assert (orders[follower]["state"], orders[other]["state"]) == ("rejected", "confirmed")
    assert await world.holding(follower) == 0
    assert result.state == "settled_with_errors"


async def test_cancelling_reaches_an_order_that_is_open_at_the_broker(world: World):
    vault = await world.vault()
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    failing = await world.webhook(vault, Behaviour(kind="fail", status=503))
    done = await world.webhook(vault)
    admission = await world.submit(vault, "buy", 10, tif="gtc")
    await world.until(admission.mo_id, lambda o: o[stuck]["state"] == "partially_filled" and o[done]["filled_qty"] > 0)
    cancelled = await world.orders.cancel(admission.mo_id, actor="user:test")
    assert cancelled is not None
    await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    assert {f: orders[f]["state"] for f in orders} == {stuck: "cancelled", failing: "cancelled", done: "confirmed"}
    assert orders[stuck]["filled_qty"] == 5
    [mo] = await world.rows("SELECT state FROM manager_orders WHERE mo_id = %s", admission.mo_id)
    assert mo["state"] == "cancelled"

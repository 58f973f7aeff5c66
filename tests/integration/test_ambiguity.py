"""Sent, and no answer: nothing is bought twice, nothing is lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
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
    # Each route stores its own orders, so one may be there before the other.
    await world.until(
        admission.mo_id,
        lambda o: {stuck, done} <= o.keys() and o[stuck]["state"] == "partially_filled" and o[done]["filled_qty"] > 0,
    )
    cancelled = await world.orders.cancel(admission.mo_id, actor="user:test")
    assert cancelled is not None
    await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    assert {f: orders[f]["state"] for f in orders} == {stuck: "cancelled", failing: "cancelled", done: "confirmed"}
    assert orders[stuck]["filled_qty"] == 5
    [mo] = await world.rows("SELECT state FROM manager_orders WHERE mo_id = %s", admission.mo_id)
    assert mo["state"] == "cancelled"


async def test_an_unfilled_order_is_cancelled_at_the_broker_when_its_time_is_over(world: World):
    vault = await world.vault()
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=0)))
    half = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    failing = await world.webhook(vault, Behaviour(kind="fail", status=503))
    expires_at = datetime.now(UTC) + timedelta(seconds=3)
    admission = await world.submit(vault, "buy", 10, tif="gtc", meta={"expires_at": expires_at.isoformat()})
    result = await world.settled(admission.mo_id)
    assert result.state == "expired"
    orders = await world.follower_orders(admission.mo_id)
    assert {f: (orders[f]["state"], orders[f]["filled_qty"]) for f in orders} == {
        stuck: ("cancelled", 0), half: ("cancelled", 5), failing: ("cancelled", 0),
    }  # fmt: skip
    assert orders[failing]["reason"] == "expired"
    for follower in (stuck, half):
        [there] = world.alpaca.orders(orders[follower]["fo_id"])
        assert there["statuses"] == ["canceled"]
    assert await world.holding(half) == 5
    [mo] = await world.rows("SELECT state, live FROM manager_orders WHERE mo_id = %s", admission.mo_id)
    assert (mo["state"], mo["live"]) == ("expired", False)


async def test_an_expired_order_is_neither_cancelled_nor_refused_afterwards(world: World):
    vault = await world.vault()
    await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=0)))
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    more: dict[str, Any] = {"tif": "gtc", "meta": {"expires_at": expires_at.isoformat()}, "key": f"expiring-{vault}"}
    admission = await world.submit(vault, "buy", 10, **more)
    await world.settled(admission.mo_id)
    assert await world.orders.cancel(admission.mo_id, actor="user:test") is None
    assert await world.resubmit_ended(vault, "buy", 10, **more) is None

"""What goes wrong in systems like this one, each by its name, on real servers; see also the same file of the store.

Elsewhere under their names: a lost stream frame, a resync that re-opens, rounding that oscillates
(tests/domain/test_reconciliation.py); a disabled endpoint's events, an unnoticed auto-disable
(tests/adapters/store/test_what_goes_wrong.py).
"""

import asyncio
from decimal import Decimal

import pytest

from adapters.brokers.alpaca import AlpacaBroker
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind
from simulators.alpaca import AlpacaSimulator
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
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


async def test_a_blind_retry_would_buy_twice():
    """What the test above guards against, at a broker that promises no de-duplication: the same order, sent again."""
    account = BrokerCredentials("ref", "key", "secret")
    order = ChildOrder("FO-blind", "AAPL", Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
    async with AlpacaSimulator(dedupes=False) as alpaca:
        alpaca.add_account("key", "secret", behaviour=Trading(fault=Fault(kind=FaultKind.DROP_AFTER_BOOKING)))
        broker = AlpacaBroker(live_url=alpaca.url, paper_url=alpaca.url)
        outcomes = [(await broker.submit(account, order)).kind for _ in range(2)]
        await broker.close()
        assert outcomes == [OutcomeKind.AMBIGUOUS, OutcomeKind.ACK]
        [booked] = alpaca.orders("FO-blind")
        assert (booked["booked"], booked["filled_qty"]) == (2, ["10", "10"])


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
    """Neither what was open at its broker nor what was on the wire when the sender died."""
    known, unknown = await world.vault(), await world.vault()
    open_there = await world.bridged(known, Trading(life=Life(steps=4, interval_ms=1_500)))
    # Booked only after the sender is gone: whoever sends it again without asking sends it twice.
    on_the_wire = await world.bridged(unknown, Trading(fault=Fault(kind=FaultKind.SLOW, delay_ms=1_500)))
    hook = await world.webhook(unknown, Behaviour(delay_ms=1_500))
    first = (await world.submit(known, "buy", 10)).mo_id
    await world.until(first, lambda o: open_there in o and o[open_there]["state"] in {"ack", "partially_filled"})
    second = (await world.submit(unknown, "buy", 10)).mo_id
    await world.until(second, lambda o: o.keys() == {on_the_wire, hook})
    orders = {**await world.follower_orders(first), **await world.follower_orders(second)}
    await _under_submission(world, orders[on_the_wire]["fo_id"])
    await asyncio.to_thread(world.stack.kill, "worker-dispatch")
    assert (await world.follower_orders(second))[on_the_wire]["state"] == "sent"
    await asyncio.to_thread(world.stack.restart, "worker-dispatch")
    await world.settled(first)
    await world.settled(second)
    for follower in (open_there, on_the_wire):
        [booked] = world.alpaca.orders(orders[follower]["fo_id"])
        assert (booked["booked"], booked["submissions"]) == (1, 1)
    delivery = world.receiver.delivery(orders[hook]["fo_id"])
    assert delivery is not None
    assert delivery.processed == 1  # under the same webhook-id, where it was sent again at all
    assert [await world.holding(follower) for follower in (open_there, on_the_wire, hook)] == [10, 10, 10]


async def _under_submission(world: World, fo_id: str) -> None:
    async with asyncio.timeout(60):
        while not world.alpaca.orders(fo_id):
            await asyncio.sleep(0.01)


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
    [there] = world.alpaca.exchange.orders_of(world.alpaca.exchange.accounts[stuck])  # nothing took its place
    assert (there.request.type, there.request.limit_price) == ("limit", Decimal(199))


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

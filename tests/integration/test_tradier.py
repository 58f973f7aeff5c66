"""A follower at Tradier, which promises nothing of a second order under one tag."""

import pytest

from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from tests.world import World


@pytest.mark.parametrize(
    "kind", [FaultKind.HANG_AFTER_BOOKING, FaultKind.DROP_AFTER_BOOKING, FaultKind.ERROR_AFTER_BOOKING]
)
async def test_an_order_whose_answer_was_lost_is_found_by_its_tag_and_is_the_only_one(world: World, kind: FaultKind):
    vault = await world.vault()
    follower = await world.bridged(vault, Trading(fault=Fault(kind=kind)), venue="tradier")
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    [booked] = world.tradier.orders(order["fo_id"])
    assert (booked["booked"], booked["submissions"], booked["filled_qty"]) == (1, 1, ["10"])
    assert (order["state"], order["dispatch_attempts"], order["route"]) == ("confirmed", 1, "tradier")
    assert await world.holding(follower) == 10


async def test_longs_are_sold_and_shorts_covered_under_the_vendors_own_sides(world: World):
    vault = await world.vault(allow_short=True)
    follower = await world.bridged(vault, venue="tradier", allow_short=True)
    for side, qty in (("buy", 10), ("sell", 10), ("sell", 4), ("sell", 2), ("buy", 6)):
        admission = await world.submit(vault, side, qty)
        await world.settled(admission.mo_id)
    account = world.tradier.exchange.accounts[follower]
    orders = world.tradier.exchange.orders_of(account)
    assert [(str(order.request.extras["side"]), int(order.filled_qty)) for order in orders] == [
        ("buy", 10), ("sell", 10), ("sell_short", 4), ("sell_short", 2), ("buy_to_cover", 6),
    ]  # fmt: skip
    assert account.positions == {}
    assert await world.holding(follower) == 0


async def test_an_order_that_is_open_at_tradier_is_cancelled_there(world: World):
    vault = await world.vault()
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)), venue="tradier")
    admission = await world.submit(vault, "buy", 10, tif="gtc")
    await world.until(admission.mo_id, lambda o: stuck in o and o[stuck]["state"] == "partially_filled")
    await world.orders.cancel(admission.mo_id, actor="user:test")
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[stuck]
    assert (order["state"], order["filled_qty"]) == ("cancelled", 5)
    assert world.tradier.orders(order["fo_id"])[0]["statuses"] == ["canceled"]


async def test_too_little_money_at_tradier_is_a_rejection_with_its_reason(world: World):
    vault = await world.vault()
    follower = await world.bridged(vault, venue="tradier")
    admission = await world.submit(vault, "buy", 1_000)  # 200,000 USD of 100,000
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["reason"]) == ("rejected", "insufficient_funds")
    assert "DayTradingBuyingPowerExceeded" in order["last_error"]
    assert await world.holding(follower) == 0

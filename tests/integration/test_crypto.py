"""A vault that trades coins, and its followers at Coinbase: sized, sent once, filled, held, and reconciled."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.coinbase import CoinbaseBroker
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from temporal import ids as workflow_ids
from tests.streaming import POLL_AWAY_S, listening, polls_late
from tests.world import COINS, World


@pytest.mark.parametrize(
    "kind", [FaultKind.HANG_AFTER_BOOKING, FaultKind.DROP_AFTER_BOOKING, FaultKind.ERROR_AFTER_BOOKING]
)
async def test_a_lost_answer_ends_with_exactly_one_order_at_coinbase(world: World, kind: FaultKind):
    vault = await world.vault()
    well = await world.coiner(vault, scale=Decimal("0.5"))
    lost = await world.coiner(vault, Trading(fault=Fault(kind=kind), life=Life(steps=3, interval_ms=300)))
    admission = await world.submit(vault, "buy", "0.12345678", "BTC-USD")
    await world.settled(admission.mo_id)
    orders = await world.follower_orders(admission.mo_id)
    assert {f: (o["route"], o["state"], o["qty"]) for f, o in orders.items()} == {
        well: ("coinbase", "confirmed", Decimal("0.06172839")),
        lost: ("coinbase", "confirmed", Decimal("0.12345678")),
    }
    for order in orders.values():
        [booked] = world.coinbase.orders(order["fo_id"])
        assert (booked["booked"], booked["submissions"]) == (1, 1)
        fills = await world.rows("SELECT qty, price FROM fills WHERE fo_id = %s", order["fo_id"])
        assert sum(f["qty"] for f in fills) == order["filled_qty"] == order["qty"]
        assert {f["price"] for f in fills} == {Decimal(61_000)}
        assert await world.holding(order["follower_id"], "BTC-USD") == order["qty"]


async def test_an_exit_sells_what_is_held_and_reconciliation_finds_nothing(world: World):
    vault = await world.vault()
    follower = await world.coiner(vault, scale=Decimal("0.3"))
    for side, qty in (("buy", "2.5"), ("sell", "1")):
        await world.settled((await world.submit(vault, side, qty, "ETH-USD")).mo_id)
    assert await world.holding(follower, "ETH-USD") == Decimal("0.45")
    assert await world.reconcile(vault) == []
    await world.settled((await world.submit(vault, "sell", "1.5", "ETH-USD")).mo_id)
    assert await world.holding(follower, "ETH-USD") == 0
    account = world.coinbase.exchange.accounts[follower]
    assert "ETH" not in account.positions


async def test_a_coin_that_the_owner_sells_by_hand_is_found(world: World):
    vault = await world.vault()
    follower = await world.coiner(vault)
    await world.settled((await world.submit(vault, "buy", "0.5", "ETH-USD")).mo_id)
    world.coinbase.trade_by_hand(follower, "sell", "ETH-USD", Decimal("0.2"))
    [drift] = await world.reconcile(vault)
    assert (drift["follower_id"], drift["symbol"], drift["cause"]) == (follower, "ETH-USD", "own_trade")


@pytest.mark.parametrize(
    ("qty", "account", "state", "words"),
    [
        ("10", {}, "rejected", "insufficient_funds"),
        ("0.00001", {}, "skipped", "below_minimum"),
        ("0.1", {"wallets": {"USDC": Decimal(50_000)}, "cash": Decimal(0)}, "rejected", "insufficient_funds"),
    ],
    ids=["too little money", "below the minimum", "money in another wallet"],
)
async def test_what_the_account_cannot_do_is_said_so(
    world: World, qty: str, account: dict[str, Any], state: str, words: str
):
    vault = await world.vault(max_order_notional_usd=1_000_000)
    follower = await world.coiner(vault, account=account)
    admission = await world.submit(vault, "buy", qty, "BTC-USD")
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["reason"] or order["last_error"]) == (state, words)
    assert await world.holding(follower, "BTC-USD") == 0


async def test_a_cancel_reaches_the_order_that_is_open_at_coinbase(world: World):
    vault = await world.vault()
    follower = await world.coiner(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    admission = await world.submit(vault, "buy", "0.1", "BTC-USD", type="limit", limit_price="61500")
    await world.until(admission.mo_id, lambda o: follower in o and o[follower]["state"] == "partially_filled")
    await world.orders.cancel(admission.mo_id, actor="user:test")
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["filled_qty"]) == ("cancelled", Decimal("0.05"))
    assert world.coinbase.orders(order["fo_id"])[0]["statuses"] == ["canceled"]


@pytest.mark.parametrize("lost", [0, 1], ids=["told", "a frame is lost"])
async def test_a_fill_that_the_websocket_tells_ends_the_order_before_the_next_poll(world: World, lost: int):
    """A lost frame leaves a gap: the line is opened anew, and its look back finds what the frame would have told."""
    vault = await world.vault()
    follower = await world.coiner(vault)
    broker = CoinbaseBroker(
        live_url="", paper_url=world.coinbase.url, paper_stream_url=world.coinbase.stream_url, timeout_ms=5_000
    )
    async with listening(world, broker, follower):
        order: dict[str, Any] = {"type": "limit", "limit_price": "2900", "tif": "gtc"}
        mo_id = (await world.submit(vault, "buy", "0.4", "ETH-USD", **order)).mo_id
        await world.until(mo_id, lambda o: follower in o and o[follower]["state"] == "ack")
        owner = world.temporal.get_workflow_handle(workflow_ids.follower_order(mo_id, follower))
        async with asyncio.timeout(90):
            while follower not in world.coinbase.exchange.feed.listened or not await polls_late(owner):
                await asyncio.sleep(0.05)
        world.coinbase.lose_events(lost, follower)
        world.coinbase.set_product("ETH-USD", Decimal(2_890))
        world.coinbase.set_product("ETH-USD", COINS["ETH-USD"])
        async with asyncio.timeout(POLL_AWAY_S):
            assert await owner.result() == "confirmed"
    assert await world.holding(follower, "ETH-USD") == Decimal("0.4")
    [fill] = await world.rows("SELECT price, source FROM fills WHERE follower_id = %s", follower)
    assert fill["price"] == Decimal(2_890)
    fo_id = (await world.follower_orders(mo_id))[follower]["fo_id"]
    [told] = await world.rows("SELECT actor FROM audit_events WHERE entity_id = %s AND action = 'fill'", fo_id)
    assert told["actor"] == "system:streams"
    await broker.close()

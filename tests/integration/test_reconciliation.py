"""Followers whose accounts are not what our books say, on real servers and a simulated broker."""

import asyncio
from decimal import Decimal
from typing import Any

from temporalio.client import ScheduleHandle
from temporalio.service import RPCError

from domain.reconciliation import Policy
from simulators.market.behaviour import Behaviour, Life
from temporal import ids
from tests.world import ACTOR, World

LATE = Behaviour(life=Life(delay_ms=1_500))
REJECTED = Behaviour(life=Life(ending="rejected"))


async def allow(world: World, follower_id: str, policy: Policy = Policy.CORRECT) -> None:
    await world.registry.update_follower(world.tenant_id, follower_id, {"reconcile_policy": policy}, actor=ACTOR)


async def lose_owner(world: World, mo_id: str, follower_id: str) -> None:
    """Somebody ends the workflow that waits for the fill."""
    await world.until(mo_id, lambda o: follower_id in o and o[follower_id]["state"] == "ack")
    owner = world.temporal.get_workflow_handle(ids.follower_order(mo_id, follower_id))
    async with asyncio.timeout(60):
        while True:
            try:
                await owner.terminate("a test ends it")
            except RPCError:  # it is started a moment after the wave
                await asyncio.sleep(0.1)
            else:
                return


async def untouched(world: World, follower_id: str) -> None:
    """Wait until the follower's order is older than its owner would leave it: one second in this world."""
    old = "SELECT 1 FROM follower_orders WHERE follower_id = %s AND updated_at < now() - interval '1 second'"
    async with asyncio.timeout(60):
        while not await world.rows(old, follower_id):
            await asyncio.sleep(0.1)


def told(drifts: list[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    return {row["follower_id"]: (row["cause"], row["action"]) for row in drifts}


async def test_each_drift_has_its_cause_and_what_may_be_corrected_is_corrected_once(world: World):
    vault = await world.vault()
    missed, by_hand = await world.bridged(vault, LATE), await world.bridged(vault)
    observed, killed, broken = await world.bridged(vault), await world.bridged(vault), await world.bridged(vault)
    webhook = await world.webhook(vault)
    for follower in (missed, by_hand, killed, broken):
        await allow(world, follower)
    await world.registry.update_follower(world.tenant_id, killed, {"kill_switch": True}, actor=ACTOR)
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await lose_owner(world, mo_id, missed)
    await world.settled(mo_id)
    for follower in (by_hand, observed):
        world.alpaca.trade_by_hand(follower, "sell", "AAPL", Decimal(4))
    world.alpaca.add_account(broken, "another secret")
    async with asyncio.timeout(60):
        while world.alpaca.exchange.accounts[missed].position_qty("AAPL") != 10:
            world.alpaca.exchange.settle(world.alpaca.exchange.accounts[missed])
            await asyncio.sleep(0.1)
    await untouched(world, missed)

    drifts = await world.reconcile(vault)
    assert told(drifts) == {
        missed: ("missed_fill", "book_fill"),
        by_hand: ("own_trade", "adopt"),
        observed: ("own_trade", None),
        killed: ("kill_or_skip", None),
        broken: ("unknown", None),
    }
    evidence = {row["follower_id"]: row["evidence"] for row in drifts}
    assert evidence[broken]["unreachable"].startswith("bad_credentials")
    assert evidence[missed]["missed"][0]["filled"] == "10"
    assert await world.holding(missed) == 10
    assert await world.holding(by_hand) == 6
    assert await world.holding(observed) == 10
    assert await world.holding(webhook) == 10
    orders = await world.follower_orders(mo_id)
    assert (orders[missed]["state"], orders[missed]["filled_qty"]) == ("confirmed", 10)

    # What was corrected stays so; what nobody may or can correct is still there, and asks for nothing.
    assert told(await world.reconcile(vault)) == {
        observed: ("own_trade", None),
        killed: ("kill_or_skip", None),
        broken: ("unknown", None),
    }
    [funds] = await world.rows("SELECT funds_usd FROM followers WHERE follower_id = %s", by_hand)
    assert funds["funds_usd"] == 100_000 - 6 * 200

    # A full exit sells what is there, and not what was booked before it was closed by hand.
    exited = (await world.submit(vault, "sell", 10)).mo_id
    await world.settled(exited)
    sold = await world.follower_orders(exited)
    assert (sold[by_hand]["state"], sold[by_hand]["qty"]) == ("confirmed", 6)


async def test_a_missed_exit_is_sold_by_a_correction_that_leaves_the_vault_alone(world: World):
    vault = await world.vault()
    missed, other = await world.bridged(vault), await world.bridged(vault)
    await allow(world, missed)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    world.alpaca.script(REJECTED, account=missed, count=1)
    await world.settled((await world.submit(vault, "sell", 10)).mo_id)
    assert await world.holding(missed) == 10
    assert await world.holding(other) == 0

    [drift] = await world.reconcile(vault)
    assert (drift["follower_id"], drift["cause"], drift["action"]) == (missed, "kill_or_skip", "reduce")
    [correction] = await world.rows(
        "SELECT mo_id, kind, only_follower_id, side, qty FROM manager_orders WHERE kind = 'correction' "
        "AND vault_id = %s", vault,
    )  # fmt: skip
    assert (correction["only_follower_id"], correction["side"], correction["qty"]) == (missed, "sell", 10)
    await world.settled(correction["mo_id"])
    assert set(await world.follower_orders(correction["mo_id"])) == {missed}
    assert await world.holding(missed) == await world.holding(vault) == 0
    assert world.alpaca.exchange.accounts[missed].position_qty("AAPL") == 0
    assert await world.reconcile(vault) == []


async def test_a_missed_entry_is_bought_where_the_follower_allows_it_unless_it_fails_again(world: World):
    vault = await world.vault()
    allowed, hopeless, other = await world.bridged(vault), await world.bridged(vault), await world.bridged(vault)
    for follower in (allowed, hopeless):
        await allow(world, follower, Policy.CORRECT_AND_OPEN)
    world.alpaca.script(REJECTED, account=allowed, count=1)
    world.alpaca.script(REJECTED, account=hopeless)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    assert [await world.holding(f) for f in (allowed, hopeless, other)] == [0, 0, 10]

    drifts = await world.reconcile(vault)
    assert told(drifts) == dict.fromkeys((allowed, hopeless), ("kill_or_skip", "open"))
    for row in await world.rows("SELECT mo_id FROM manager_orders WHERE kind = 'correction' AND vault_id = %s", vault):
        await world.settled(row["mo_id"])
    assert [await world.holding(f) for f in (allowed, hopeless, vault)] == [10, 0, 10]
    [still] = await world.reconcile(vault)
    assert (still["follower_id"], still["action"]) == (hopeless, None)
    assert still["evidence"]["held_back"].startswith("an earlier correction did not fill")


async def exists(schedule: ScheduleHandle) -> bool:
    try:
        await schedule.describe()
    except RPCError:
        return False
    return True


async def test_every_open_vault_has_a_schedule_that_reconciles_it(world: World):
    vault = await world.vault()
    schedule = world.temporal.get_schedule_handle(ids.reconcile(vault))
    async with asyncio.timeout(60):
        while not await exists(schedule):
            await asyncio.sleep(0.1)
        await schedule.trigger()
        done = "SELECT 1 FROM reconciliations WHERE vault_id = %s AND state = 'done'"
        while not await world.rows(done, vault):
            await asyncio.sleep(0.1)
        await world.rows("UPDATE vaults SET status = 'closed' WHERE vault_id = %s RETURNING vault_id", vault)
        while await exists(schedule):
            await asyncio.sleep(0.1)

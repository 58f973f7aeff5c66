"""Workers that listen to the simulated Alpaca's websockets: in processes of their own, one of which is killed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from adapters.store.enrolment import credential_ref
from stack.errors import StackError
from temporal import ids
from tests.streaming import ALPACA, COINBASE, POLL_AWAY_S, TRADIER, Market, between_polls, fall, placed
from tests.world import World

LISTENS = {"VANTA_STREAMS__ENABLED": "true", "VANTA_STREAMS__LOOK_EVERY_S": "1", "VANTA_STREAMS__BACKOFF_MS": "100"}


async def start(world: World, name: str) -> None:
    await asyncio.to_thread(world.start_worker, name, "followers", LISTENS)


async def end(world: World, name: str) -> None:
    with suppress(StackError):  # the test has ended it
        await asyncio.to_thread(world.stack.end, name)


@pytest.fixture(scope="module")
async def listener(world: World) -> AsyncIterator[str]:
    await start(world, "listener-a")
    yield "listener-a"
    await end(world, "listener-a")
    for venue in ("alpaca", "tradier", "coinbase"):
        await world.temporal.get_schedule_handle(ids.streams(venue)).pause(note="the test is over")
    async for run in world.temporal.list_workflows("WorkflowType = 'OrderStreamWorkflow' AND ExecutionStatus = 1"):
        await world.temporal.get_workflow_handle(run.id).terminate()


async def listened(world: World, follower: str, at: Market) -> None:
    async with asyncio.timeout(60):
        while follower not in world.simulator(at.venue).exchange.feed.listened:
            await asyncio.sleep(0.05)


async def open_order(world: World, at: Market = ALPACA) -> tuple[str, str, str]:
    follower, mo_id, fo_id = await placed(world, None, at)
    await listened(world, follower, at)
    await between_polls(world, mo_id, follower)
    return follower, mo_id, fo_id


async def confirmed_by(world: World, fo_id: str) -> str:
    [event] = await world.rows("SELECT actor FROM audit_events WHERE entity_id = %s AND action = 'confirmed'", fo_id)
    actor: str = event["actor"]
    return actor


async def check_booked_once(world: World, follower: str, fo_id: str, at: Market = ALPACA) -> None:
    assert len(await world.rows("SELECT 1 FROM fills WHERE fo_id = %s", fo_id)) == 1
    assert await world.holding(follower, at.symbol) == at.qty


@pytest.mark.parametrize("at", [ALPACA, TRADIER, COINBASE], ids=lambda at: at.venue)
async def test_a_fill_that_the_venue_streams_ends_the_order_long_before_the_next_poll(
    world: World, listener: str, at: Market
):
    follower, mo_id, fo_id = await open_order(world, at)
    fell = time.monotonic()
    fall(world, fo_id, at)
    owner = world.temporal.get_workflow_handle(ids.follower_order(mo_id, follower))
    assert await owner.result() == "confirmed"
    assert time.monotonic() - fell < POLL_AWAY_S
    assert await confirmed_by(world, fo_id) == "system:streams"
    await check_booked_once(world, follower, fo_id, at)


async def test_a_frame_that_the_venue_loses_is_found_by_the_poll(world: World, listener: str):
    follower, mo_id, fo_id = await open_order(world)
    world.alpaca.lose_events(100, follower)
    fall(world, fo_id)
    await world.settled(mo_id)
    assert await confirmed_by(world, fo_id) == "system:dispatch"
    await check_booked_once(world, follower, fo_id)


async def test_a_connection_that_the_venue_cuts_is_mended_and_looked_back_from(world: World, listener: str):
    follower, mo_id, fo_id = await open_order(world)
    world.alpaca.lose_events(100, follower)
    world.alpaca.end_streams(follower)
    fall(world, fo_id)
    await world.settled(mo_id)
    assert await confirmed_by(world, fo_id) == "system:streams"
    await check_booked_once(world, follower, fo_id)


async def test_a_key_that_is_revoked_ends_its_own_stream_and_is_said(world: World, listener: str):
    follower, mo_id, fo_id = await open_order(world)
    revoked, other_mo, _ = await open_order(world)
    world.alpaca.revoke(revoked)
    ref = credential_ref(revoked, "alpaca")
    async with asyncio.timeout(60):
        while not (
            told := await world.rows("SELECT actor FROM audit_events WHERE entity_id = %s AND action = 'broken'", ref)
        ):
            await asyncio.sleep(0.05)
    assert len(told) == 1
    await between_polls(world, mo_id, follower)
    fall(world, fo_id)
    await world.settled(mo_id)
    assert await confirmed_by(world, fo_id) == "system:streams"
    world.alpaca.revoke(revoked, revoked=False)
    await world.orders.cancel(other_mo, actor="user:test")


async def test_a_worker_that_is_killed_loses_nothing_and_another_one_listens_on(world: World, listener: str):
    follower, mo_id, fo_id = await open_order(world)
    await asyncio.to_thread(world.stack.kill, listener)
    fall(world, fo_id)
    await start(world, "listener-b")
    try:
        await world.settled(mo_id)
        await check_booked_once(world, follower, fo_id)
        follower, mo_id, fo_id = await open_order(world)
        fell = time.monotonic()
        fall(world, fo_id)
        await world.settled(mo_id)
        assert time.monotonic() - fell < POLL_AWAY_S
        assert await confirmed_by(world, fo_id) == "system:streams"
        await check_booked_once(world, follower, fo_id)
    finally:
        await end(world, "listener-b")

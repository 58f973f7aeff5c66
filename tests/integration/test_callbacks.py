"""A follower that says by signed callbacks what it has filled, on the whole product."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn

from api.app import create_app
from api.serving import Server
from domain.enrolment import ConfirmBy
from simulators.calling import CallBack
from simulators.receiver import Behaviour
from tests.integration.rebuilding import check_rebuilt
from tests.world import World


@pytest.fixture
async def api(world: World) -> AsyncIterator[str]:
    server = Server(uvicorn.Config(create_app(world.settings), port=0, log_config=None, timeout_graceful_shutdown=10))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_part_and_then_the_rest_confirm_the_order_and_wake_its_owner(world: World, api: str) -> None:
    vault = await world.vault()
    # The owner polls ever more rarely: a pause that lets it fall behind shows whether it is woken.
    tells = CallBack(api=api, parts=("4", "6"), price="200.10", pause_ms=1_500)
    follower = await world.webhook(vault, Behaviour(call_back=tells), confirm_by=ConfirmBy.CALLBACK)
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: follower in o and o[follower]["state"] == "ack")
    await world.until(admission.mo_id, lambda o: o[follower]["state"] == "partially_filled")
    assert await world.holding(follower) == 4
    result = await world.settled(admission.mo_id)
    assert result.state == "settled"
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["filled_qty"], str(order["avg_price"])) == ("confirmed", 10, "200.1")
    assert await world.holding(follower) == 10
    answers = await world.receiver.calls.wait(order["fo_id"], 2)
    assert [answer.status for answer in answers] == [200, 200]
    await check_rebuilt(world, admission.mo_id)


async def test_a_rejection_ends_the_order_with_the_followers_reason(world: World, api: str) -> None:
    vault = await world.vault()
    tells = CallBack(api=api, parts=("3",), status="rejected", reason="no borrow")
    follower = await world.webhook(vault, Behaviour(call_back=tells), confirm_by=ConfirmBy.CALLBACK)
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["filled_qty"], order["reason"]) == ("cancelled", 3, "no borrow")


async def test_a_forged_callback_moves_nothing(world: World, api: str) -> None:
    vault = await world.vault()
    follower = await world.webhook(vault, confirm_by=ConfirmBy.CALLBACK)
    other = await world.webhook(vault, confirm_by=ConfirmBy.CALLBACK)
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: len(o) == 2 and all(x["state"] == "ack" for x in o.values()))
    before = await world.follower_orders(admission.mo_id)
    fo_id = before[follower]["fo_id"]
    said = await world.receiver.call_back(api, other, fo_id, "msg_1", {"status": "confirmed"})
    assert said.status == 401
    assert await world.follower_orders(admission.mo_id) == before
    for mine, theirs in ((follower, fo_id), (other, before[other]["fo_id"])):
        assert (await world.receiver.call_back(api, mine, theirs, "msg_1", {"status": "confirmed"})).status == 200
    await world.settled(admission.mo_id)

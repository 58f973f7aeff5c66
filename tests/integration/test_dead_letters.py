"""Dead letters on real servers: five failures, a mended receiver, a redrive, one order processed."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapters.objects import ObjectStore
from domain.replay import rebuild
from simulators.receiver import Behaviour
from stack.dev_token import dev_token
from temporal import ids
from tests.api.conftest import SCOPES, serve
from tests.world import World

PATH = "/v1/dead-letters"
OK = Behaviour()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    token = dev_token(
        world.settings, tenant_id=uuid.UUID(world.tenant_id), role="owner", scopes=" ".join(SCOPES), subject="ops"
    )
    async with serve(world.settings) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


async def redrive(http: httpx.AsyncClient, body: dict[str, Any]) -> dict[int, dict[str, Any]]:
    answer = await http.post(f"{PATH}/redrive", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    assert answer.status_code == 200, answer.text
    return {item["dead_letter_id"]: item for item in answer.json()["items"]}


async def behave(world: World, follower: str, behaviour: Behaviour) -> None:
    known = world.receiver._followers[follower]
    world.receiver.expect(follower, key=known.keys, behaviour=behaviour)


async def change(world: World, statement: str, *values: Any) -> None:
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(statement, values)


async def test_five_failures_a_mended_receiver_and_a_redrive_make_one_order(
    world: World, http: httpx.AsyncClient
) -> None:
    vault = await world.vault()
    failing = await world.webhook(vault, Behaviour(kind="fail", status=503))
    silent = await world.webhook(vault, Behaviour(kind="process_then_hang"))
    killed = await world.webhook(vault, Behaviour(kind="fail", status=503))
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.settled(mo_id, timeout_s=180)
    dead = await world.follower_orders(mo_id)
    assert {(row["state"], row["dispatch_attempts"]) for row in dead.values()} == {("dead_letter", 5)}

    for follower in (failing, silent, killed):
        await behave(world, follower, OK)
    await change(world, "UPDATE followers SET kill_switch = true WHERE follower_id = %s", killed)
    listed = (await http.get(PATH, params={"mo_id": mo_id, "state": "open"})).json()["items"]
    letters = {letter["follower_id"]: letter["dead_letter_id"] for letter in listed}
    assert set(letters) == {failing, silent, killed}

    answers = await asyncio.gather(*(redrive(http, {"filter": {"mo_id": mo_id}}) for _ in range(4)))
    first = answers[0]
    assert {answer[letters[killed]]["code"] for answer in answers} == {"kill_switch"}
    told = {answer[letters[failing]]["outcome"] for answer in answers if letters[failing] in answer}
    assert "redriven" in told
    assert first[letters[killed]]["state"] == "dead_letter"

    await world.until(mo_id, lambda o: o[failing]["state"] == o[silent]["state"] == "confirmed")
    orders = await world.follower_orders(mo_id)
    assert orders[killed]["state"] == "dead_letter"
    for follower in (failing, silent):
        delivery = world.receiver.delivery(orders[follower]["fo_id"])
        assert delivery is not None
        assert (delivery.received, delivery.processed) == (6, 1)
        assert await world.holding(follower) == 10
        assert orders[follower]["dispatch_attempts"] == 6
        workflow_id = ids.redrive(mo_id, follower, letters[follower])
        assert await world.temporal.get_workflow_handle(workflow_id).result() == "confirmed"
    assert await world.holding(killed) == 0
    [mo] = await world.rows("SELECT live, state FROM manager_orders WHERE mo_id = %s", mo_id)
    assert (mo["live"], mo["state"]) == (False, "settled_with_errors")

    again = await redrive(http, {"dead_letter_ids": [letters[failing]]})
    assert again[letters[failing]]["code"] == "already_redriven"
    await change(world, "UPDATE followers SET kill_switch = false WHERE follower_id = %s", killed)
    later = await redrive(http, {"dead_letter_ids": [letters[killed]]})
    assert later[letters[killed]]["outcome"] == "redriven"
    await world.until(mo_id, lambda o: o[killed]["state"] == "confirmed")

    events = await world.rows("SELECT * FROM audit_events WHERE mo_id = %s ORDER BY event_id", mo_id)
    rebuilt = rebuild(events)
    for row in (await world.follower_orders(mo_id)).values():
        order = rebuilt[row["fo_id"]]
        assert (order.state, order.dispatch_attempts, order.booked) == (row["state"], 6, row["filled_qty"])
    assert "redrive_refused" in {event["action"] for event in events}


async def test_a_disabled_endpoint_comes_back_by_a_test_and_its_letters_go(
    world: World, http: httpx.AsyncClient
) -> None:
    vault = await world.vault()
    follower = await world.webhook(vault, Behaviour(kind="fail", times=1))
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.until(mo_id, lambda o: follower in o and o[follower]["state"] == "retry")
    await change(world, "UPDATE followers SET endpoint_disabled_at = now() WHERE follower_id = %s", follower)
    await world.settled(mo_id)
    [letter] = (await http.get(PATH, params={"mo_id": mo_id})).json()["items"]
    number = letter["dead_letter_id"]
    assert letter["reason"] == "endpoint_disabled"
    assert (await redrive(http, {"dead_letter_ids": [number]}))[number]["code"] == "endpoint_disabled"

    await behave(world, follower, OK)
    tried = await http.post(f"/v1/followers/{follower}/webhook/test", headers={"Idempotency-Key": "tried"})
    assert (tried.json()["ok"], tried.json()["re_enabled"]) == (True, True), tried.text
    assert (await redrive(http, {"dead_letter_ids": [number]}))[number]["outcome"] == "redriven"
    await world.until(mo_id, lambda o: o[follower]["state"] == "confirmed")
    delivery = world.receiver.delivery(letter["fo_id"])
    assert delivery is not None
    assert (delivery.received, delivery.processed) == (2, 1)

    # The archived log has grown by what came after the manager order had settled.
    await world.temporal.get_workflow_handle(ids.redrive(mo_id, follower, number)).result()
    log = await ObjectStore(world.settings.s3).get(f"{world.tenant_id}/{mo_id}/trade_log.jsonl")
    lines = [json.loads(line) for line in log.splitlines()]
    events = await world.rows("SELECT event_id FROM audit_events WHERE mo_id = %s ORDER BY event_id", mo_id)
    assert [line["event_id"] for line in lines] == [event["event_id"] for event in events]
    assert "confirmed" in {line["action"] for line in lines}

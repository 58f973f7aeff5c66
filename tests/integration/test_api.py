"""From HTTP to the follower and back: the API with the real engine behind it."""

import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Life
from stack.dev_token import dev_token
from tests.api.conftest import SCOPES, problem, serve
from tests.world import World

PATH = "/v1/manager-orders"


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    token = dev_token(
        world.settings, tenant_id=uuid.UUID(world.tenant_id), role="owner", scopes=" ".join(SCOPES), subject="manager"
    )
    async with serve(world.settings) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def _order(vault_id: str, **changes: Any) -> dict[str, Any]:
    return {"vault_id": vault_id, "symbol": "AAPL", "side": "buy", "qty": "10", **changes}


async def test_an_order_placed_over_http_is_mirrored_explained_and_repeatable(
    world: World, http: httpx.AsyncClient
) -> None:
    vault_id = await world.vault()
    hooked, bridged = await world.webhook(vault_id), await world.bridged(vault_id)
    key = {"Idempotency-Key": uuid.uuid4().hex}
    placed = await http.post(PATH, json=_order(vault_id), headers=key)
    assert placed.status_code == 201, placed.text
    assert placed.json()["followers"] == 2
    mo_id = placed.json()["mo_id"]
    await world.settled(mo_id)

    dag = (await http.get(f"{PATH}/{mo_id}/dag")).json()
    assert dag["manager_order"]["state"] == "settled"
    assert dag["manager_order"]["actor"] == "user:manager"
    found = {order["follower_id"]: order for order in dag["follower_orders"]}
    assert set(found) == {hooked, bridged}
    for order in found.values():
        assert order["qty"] == "10"
        assert [attempt["outcome"] for attempt in order["attempts"]] == ["ack"]
        # Every state that the order went through is in its events, in order.
        states = [event["payload"]["to"] for event in order["audit_events"] if "to" in event["payload"]]
        assert states[0] == "sized"
        assert states[-1] == order["state"]
    assert found[bridged]["filled_qty"] == "10"
    assert sum(Decimal(fill["qty"]) for fill in found[bridged]["fills"]) == 10

    repeat = await http.post(PATH, json=_order(vault_id), headers=key)
    assert (repeat.status_code, repeat.json()["mo_id"]) == (201, mo_id)
    assert repeat.headers["idempotent-replay"] == "true"
    other = await http.post(PATH, json=_order(vault_id, qty="11"), headers=key)
    problem(other, 422, "idempotency-key-reused")


async def test_a_refusal_names_its_guard_over_http(world: World, http: httpx.AsyncClient) -> None:
    vault_id = await world.vault(max_order_qty="5")
    key = {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        answer = await http.post(PATH, json=_order(vault_id), headers=key)
        assert answer.status_code == 422
        assert answer.json()["code"] == "max-qty"
    mo_id = answer.json()["mo_id"]
    assert (await http.get(f"{PATH}/{mo_id}")).json()["state"] == "rejected"
    problem(await http.delete(f"{PATH}/{mo_id}"), 409, "order-ended", "mo_id")


async def test_a_cancel_over_http_reaches_the_broker_and_may_be_repeated(world: World, http: httpx.AsyncClient) -> None:
    vault_id = await world.vault()
    follower = await world.bridged(vault_id, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    placed = await http.post(PATH, json=_order(vault_id), headers={"Idempotency-Key": uuid.uuid4().hex})
    mo_id = placed.json()["mo_id"]
    await world.until(mo_id, lambda orders: follower in orders and orders[follower]["state"] == "partially_filled")
    cancelled = await http.delete(f"{PATH}/{mo_id}")
    assert cancelled.status_code == 200, cancelled.text
    assert (cancelled.json()["state"], cancelled.json()["in_flight"]) == ("cancelled", 1)
    await world.settled(mo_id)
    again = await http.delete(f"{PATH}/{mo_id}")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    order = (await world.follower_orders(mo_id))[follower]
    assert order["state"] == "cancelled"

"""A receiver that confirms a part of its order: the rest stays open, as nobody can be asked for it."""

import asyncio
import json
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from simulators.receiver import Behaviour
from temporal import ids
from tests.world import World


async def test_a_webhook_order_that_is_confirmed_in_part_stays_open(world: World):
    vault = await world.vault()
    fills = {"fills": [{"fill_id": "a", "qty": "4", "price": "200.10"}]}
    follower = await world.webhook(vault, Behaviour(answer=json.dumps(fills)))
    admission = await world.submit(vault, "buy", 10)
    owner = world.temporal.get_workflow_handle(ids.follower_order(admission.mo_id, follower))
    await world.until(admission.mo_id, lambda o: follower in o and o[follower]["filled_qty"] == 4)
    async with asyncio.timeout(60):
        while not await _looks(owner):
            await asyncio.sleep(0.1)
    order = (await world.follower_orders(admission.mo_id))[follower]
    assert (order["state"], order["dispatch_attempts"], order["reason"]) == ("partially_filled", 1, None)
    assert await world.holding(follower) == 4
    assert await world.rows("SELECT 1 FROM dead_letters WHERE fo_id = %s", order["fo_id"]) == []


async def _looks(owner: WorkflowHandle[Any, Any]) -> bool:
    """Whether the order's owner has looked at it three times and is still waiting."""
    try:
        described = await owner.describe()
    except RPCError:  # it is started a moment after the wave
        return False
    return any(a.attempt >= 3 for a in described.raw_description.pending_activities)

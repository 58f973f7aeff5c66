"""Random lives of a vault: whatever happens, nothing is sent after a kill, twice, or without being accounted for."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest

from adapters.kill.channel import open_redis
from adapters.kill.switch import KillSwitch
from adapters.kill.watch import KillWatch
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.kills import KillStore
from adapters.store.registry import Registry
from domain.orders import FOLLOWER_ENDS
from domain.replay import rebuild
from settings import Settings
from tests.adapters.store.orders import Floor
from tests.machine.machine import Machine

# `make soak` runs many more, from other seeds.
SEEDS = [int(seed) for seed in os.environ.get("VANTA_MACHINE_SEEDS", "1 2 3 4").split()]
STEPS = int(os.environ.get("VANTA_MACHINE_STEPS", "250"))


@pytest.fixture
async def machine(
    settings: Settings, database: Database, registry: Registry, box: SecretBox, tenant: str, request: Any
) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as closing:
        redis = open_redis(settings.redis)
        closing.push_async_callback(redis.aclose)
        store = KillStore(database)
        watch = KillWatch(store, redis)
        closing.push_async_callback(_ended, asyncio.create_task(watch.run()))
        await watch.ready()
        floor, rng = Floor(database, registry, tenant), random.Random(request.param)
        made = Machine(floor, box, watch, KillSwitch(store, redis), rng)
        await made.prepare()
        closing.push_async_callback(made.die)
        yield made


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    _, running = await asyncio.wait([task], timeout=10)
    assert not running, "what was cancelled went on"


@pytest.mark.parametrize("machine", SEEDS, indirect=True)
async def test_whatever_happens_every_order_ends_right(machine: Machine):
    for _ in range(STEPS):
        await machine.step()
    await machine.finish()
    assert machine.after_kill == []
    assert machine.broker.twice == []
    orders = await machine.floor.rows("SELECT * FROM follower_orders")
    assert orders
    assert {row["state"] for row in orders} <= {state.value for state in FOLLOWER_ENDS}
    await _positions_are_the_other_sides(machine, orders)
    await _nothing_left_that_was_not_allotted(machine)
    await _the_log_tells_the_same(machine, orders)


async def _positions_are_the_other_sides(machine: Machine, orders: list[dict[str, Any]]) -> None:
    """By order, and summed up by follower. A dead letter's fate is for a person: what arrived of it may be unbooked."""
    theirs: dict[tuple[str, str], Decimal] = {}
    dead = {row["fo_id"] for row in orders if row["state"] == "dead_letter"}
    for row in orders:
        booked = machine.broker.book.get(row["fo_id"])
        done = machine.receivers.processed.get(row["fo_id"])
        arrived = booked.filled if booked is not None else abs(done[2]) if done is not None else Decimal(0)
        if row["fo_id"] not in dead:
            assert row["filled_qty"] == arrived, await _story(machine, row)
        else:
            assert row["filled_qty"] <= arrived
        sign = 1 if row["side"] == "buy" else -1
        key = row["follower_id"], row["symbol"]
        theirs[key] = theirs.get(key, Decimal(0)) + sign * row["filled_qty"]
    held = await machine.floor.rows("SELECT holder_id, symbol, qty FROM positions WHERE holder_id LIKE 'F\\_%%'")
    ours = {(row["holder_id"], row["symbol"]): row["qty"] for row in held}
    assert ours == {key: qty for key, qty in theirs.items() if key in ours}
    assert all(qty == 0 for key, qty in theirs.items() if key not in ours)


async def _story(machine: Machine, row: dict[str, Any]) -> list[Any]:
    events = await machine.floor.rows(
        "SELECT action, payload ->> 'code' AS code, payload ->> 'reason' AS reason FROM audit_events "
        "WHERE entity_id = %s ORDER BY event_id",
        row["fo_id"],
    )
    return [row["route"], *((e["action"], e["code"], e["reason"]) for e in events)]


async def _nothing_left_that_was_not_allotted(machine: Machine) -> None:
    pages = await machine.floor.rows("SELECT * FROM allotments")
    assert pages
    assert all(page["released_orders"] <= page["allotted_orders"] for page in pages)
    sent = await machine.floor.rows(
        "SELECT count(*) AS n, coalesce(sum(qty), 0) AS qty FROM follower_orders WHERE dispatch_attempts > 0"
    )
    assert sent == [
        {"n": sum(page["released_orders"] for page in pages), "qty": sum(page["released_qty"] for page in pages)}
    ]


async def _the_log_tells_the_same(machine: Machine, orders: list[dict[str, Any]]) -> None:
    events = await machine.floor.rows("SELECT * FROM audit_events ORDER BY event_id")
    told = rebuild([event for event in events if event["action"] != "redrive_refused"])
    assert told.keys() == {row["fo_id"] for row in orders}
    for row in orders:
        rebuilt = told[row["fo_id"]]
        assert (rebuilt.state, rebuilt.filled_qty, rebuilt.booked) == (
            row["state"],
            row["filled_qty"],
            row["filled_qty"],
        )
        assert (rebuilt.side, rebuilt.symbol, rebuilt.qty) == (row["side"], row["symbol"], row["qty"])

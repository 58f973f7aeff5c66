"""autotrade_queue.json through the real Schedule, workflow, activity and database."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

from tests.world import World


def _entry(vault_id: str, qty: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "vault_id": vault_id, "symbol": "AAPL", "side": "buy", "qty": qty, **more}


def _lines(*entries: dict[str, Any]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


async def _taken(world: World, vault_id: str) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM manager_orders WHERE vault_id = %s ORDER BY created_at", vault_id)


async def _until_taken(world: World, vault_id: str, count: int, timeout_s: int = 30) -> list[dict[str, Any]]:
    async with asyncio.timeout(timeout_s):
        while len(orders := await _taken(world, vault_id)) < count:
            await asyncio.sleep(0.05)
    return orders


def _rejects(world: World, holds: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    file = world.queue.with_name("autotrade_queue.rejects.jsonl")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return [reject for line in lines if holds(reject := json.loads(line))]


async def test_an_array_is_taken_in_its_order_and_once(world: World):
    vault = await world.vault()
    follower = await world.webhook(vault)
    entries = [_entry(vault, qty, meta={"conviction": {"score": 0.75}}) for qty in (1, 2, 3)]
    world.queue.write_text(json.dumps(entries))
    await _until_taken(world, vault, 3)
    # Once an entry that came later has been taken, the earlier ones have been read again.
    world.queue.write_text(json.dumps([*entries, _entry(vault, 4)]))
    orders = await _until_taken(world, vault, 4)
    assert [o["qty"] for o in orders] == [1, 2, 3, 4]
    assert {(o["source"], o["actor"]) for o in orders} == {("queue", "system:autotrade")}
    for order in orders:
        assert (await world.settled(order["mo_id"])).state == "settled"
    assert await world.holding(follower) == 10
    bodies = [json.loads(d.body) for d in world.receiver.deliveries(follower)]
    assert [b["conviction"]["score"] for b in sorted(bodies, key=lambda b: b["qty"])] == [0.75, 0.75, 0.75, None]


async def test_an_entry_that_is_written_twice_is_one_order(world: World):
    vault = await world.vault()
    same, last = _entry(vault), _entry(vault, 2)
    nameless = {key: value for key, value in _entry(vault, 3).items() if key != "id"}
    world.queue.write_text(_lines(same, same, nameless, nameless, last))
    await _until_taken(world, vault, 3)
    world.queue.write_text(_lines(same, nameless, last, nameless, _entry(vault, 4)))
    assert [o["qty"] for o in await _until_taken(world, vault, 4)] == [1, 3, 2, 4]


async def test_bad_entries_go_aside_once_with_their_reason_and_hold_nothing_up(world: World):
    vault = await world.vault()
    bad = {
        "qty: must be a finite": _entry(vault, 0),
        "symbol: NOSUCH is not": _entry(vault, symbol="NOSUCH"),
        "vault_id: no vault 'V_none'": _entry("V_none"),
        "quantity: is not a field": _entry(vault, quantity=5),
        "meta.expires_at: needs a time zone": _entry(vault, meta={"expires_at": "2030-01-01T00:00:00"}),
        "entry: holds a NUL": _entry(vault, meta={"note": "\x00"}),
        "entry: is nested": _entry(vault, meta={"deep": json.loads("[" * 40 + "]" * 40)}),
    }
    good = _entry(vault, 1, meta={"huge": 10**40})
    world.queue.write_text(_lines(*bad.values()) + '{"broken\n' + _lines(good))
    await _until_taken(world, vault, 1)
    world.queue.write_text(_lines(*bad.values()) + '{"broken\n' + _lines(good, _entry(vault, 2)))
    assert [o["qty"] for o in await _until_taken(world, vault, 2)] == [1, 2]
    ids = {entry["id"] for entry in bad.values()}
    rejects = _rejects(world, lambda reject: any(i in reject["entry"] for i in ids) or reject["entry"] == '{"broken')
    assert len(rejects) == len(bad) + 1
    for reason, entry in bad.items():
        [reject] = [r for r in rejects if entry["id"] in r["entry"]]
        assert reject["reason"].startswith(reason)


async def test_an_order_that_a_guard_refuses_is_recorded_and_not_asked_again(world: World):
    vault = await world.vault()
    refused = _entry(vault, side="sell")
    world.queue.write_text(_lines(refused, _entry(vault)))
    first, _ = await _until_taken(world, vault, 2)
    assert first["state"] == "rejected"
    [known] = await world.rows("SELECT outcome FROM ingested_entries WHERE entry_key = %s", refused["id"])
    assert known["outcome"] == "refused"
    assert not _rejects(world, lambda reject: refused["id"] in reject["entry"])


async def test_a_half_written_tail_is_left_until_it_is_whole(world: World):
    vault = await world.vault()
    first, second = _entry(vault, 1), _entry(vault, 2)
    whole = _lines(first, second)
    world.queue.write_text(whole[:-20])
    await _until_taken(world, vault, 1)
    world.queue.write_text(whole)
    assert [o["qty"] for o in await _until_taken(world, vault, 2)] == [1, 2]
    assert not _rejects(world, lambda reject: second["id"] in reject["entry"] or first["id"] in reject["entry"])


async def test_a_worker_killed_in_mid_reading_takes_each_entry_once_and_in_order(world: World):
    vault = await world.vault()
    entries = [_entry(vault, qty) for qty in range(1, 41)]
    world.queue.write_text(_lines(*entries))
    before = await _until_taken(world, vault, 5)
    assert len(before) < 40
    await asyncio.to_thread(world.stack.kill, "worker-orchestration")
    await asyncio.to_thread(world.stack.restart, "worker-orchestration")
    orders = await _until_taken(world, vault, 40, timeout_s=90)
    assert [o["qty"] for o in orders] == list(range(1, 41))
    for order in orders:
        await world.settled(order["mo_id"])
    assert await world.holding(vault) == sum(range(1, 41))

"""Record workflow histories from real runs on the embedded servers: `python -m tests.replay.record`.

It adds the histories that are missing and refuses to overwrite one: a history stands for runs that are under way in
production, so a workflow that no longer replays it has to be patched, not the history recorded anew. Takes two
minutes, as one order is tried until it is a dead letter.
"""

import asyncio
import json
import re
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from simulators.alpaca.behaviour import Behaviour as Trading
from simulators.alpaca.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from stack import Stack
from temporal import ids
from tests.world import World

HISTORIES = Path(__file__).with_name("histories")
_IDENTITY = re.compile(r"\d+@[A-Za-z0-9._-]+")
Found = dict[str, str]  # history's name → workflow id


async def settled(world: World) -> Found:
    """Every way in which a wave, a retry, a broker and a refusal can end an order that settles."""
    vault = await world.vault()
    owners = {
        "follower_order_confirmed_by_wave": await world.webhook(vault),
        "follower_order_retried": await world.webhook(vault, Behaviour(kind="fail", times=2)),
        "follower_order_unknown_then_sent_again": await world.webhook(
            vault, Behaviour(kind="process_then_hang", times=1)
        ),
        "follower_order_rejected": await world.webhook(vault, Behaviour(kind="fail", status=400)),
        "follower_order_filled_in_parts": await world.bridged(vault, Trading(life=Life(steps=3, interval_ms=500))),
        "follower_order_found_at_broker": await world.bridged(
            vault, Trading(fault=Fault(kind=FaultKind.HANG_AFTER_BOOKING))
        ),
    }
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.settled(mo_id)
    return {"mirror_order_settled": ids.mirror(mo_id), "mirror_shard_settled": ids.shard(mo_id, 0)} | {
        name: ids.follower_order(mo_id, follower) for name, follower in owners.items()
    }


async def dead(world: World) -> Found:
    vault = await world.vault()
    follower = await world.webhook(vault, Behaviour(kind="fail", status=503))
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.settled(mo_id, timeout_s=150)
    return {
        "follower_order_dead_letter": ids.follower_order(mo_id, follower),
        "mirror_order_settled_with_errors": ids.mirror(mo_id),
    }


async def cancelled(world: World) -> Found:
    vault = await world.vault()
    failing = await world.webhook(vault, Behaviour(kind="fail", status=503))
    stuck = await world.bridged(vault, Trading(life=Life(ending="stuck", steps=2, fill_steps=1)))
    mo_id = (await world.submit(vault, "buy", 10, tif="gtc")).mo_id
    await world.until(
        mo_id, lambda o: len(o) == 2 and o[failing]["dispatch_attempts"] > 1 and o[stuck]["state"] == "partially_filled"
    )
    await world.orders.cancel(mo_id, actor="user:test")
    await world.settled(mo_id)
    return {
        "mirror_order_cancelled": ids.mirror(mo_id),
        "mirror_shard_cancelled": ids.shard(mo_id, 0),
        "follower_order_cancelled_between_attempts": ids.follower_order(mo_id, failing),
        "follower_order_cancelled_at_broker": ids.follower_order(mo_id, stuck),
    }


async def refused(world: World) -> Found:
    mo_id = (await world.submit(await world.vault(), "sell", 10)).mo_id
    await world.settled(mo_id)
    return {"mirror_order_refused": ids.mirror(mo_id)}


async def ingested(world: World) -> Found:
    entry = {"id": uuid.uuid4().hex, "vault_id": await world.vault(), "symbol": "AAPL", "side": "buy", "qty": 1}
    world.queue.write_text(json.dumps([entry]))
    async with asyncio.timeout(60):
        while True:
            async for run in world.temporal.list_workflows("WorkflowType = 'IngestQueueWorkflow'"):
                if run.status is WorkflowExecutionStatus.COMPLETED:
                    handle = world.temporal.get_workflow_handle(run.id, run_id=run.run_id)
                    if (await handle.result())["admitted"]:
                        return {"ingest_queue": run.id}
            await asyncio.sleep(0.5)


SCENARIOS: tuple[Callable[[World], Awaitable[Found]], ...] = (settled, dead, cancelled, refused, ingested)


def scrubbed(history: dict[str, Any]) -> dict[str, Any]:
    """Without what tells of the machine: workers' identities, and the paths in stack traces."""

    def scrub(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: scrub(item) for name, item in value.items() if name != "stackTrace"}
        if isinstance(value, list):
            return [scrub(item) for item in value]
        return _IDENTITY.sub("vanta-worker", value) if isinstance(value, str) else value

    clean: dict[str, Any] = scrub(history)
    return clean


def write(file: Path, history: dict[str, Any]) -> None:
    """Raises FileExistsError: a history is never replaced."""
    with file.open("x", encoding="utf-8") as stream:
        json.dump(scrubbed(history), stream, indent=1, sort_keys=True)
        stream.write("\n")


def _add(name: str, history: dict[str, Any]) -> str:
    try:
        write(HISTORIES / f"{name}.json", history)
    except FileExistsError:
        return "is there already, and stays"
    return "added"


async def record() -> None:
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-record-"))) as stack:
        await asyncio.to_thread(stack.start_servers)
        await asyncio.to_thread(stack.bootstrap)
        async with World.open(stack) as world:
            for found in await asyncio.gather(*(scenario(world) for scenario in SCENARIOS)):
                for name, workflow_id in found.items():
                    history = await world.temporal.get_workflow_handle(workflow_id).fetch_history()
                    print(name, _add(name, {"workflowId": workflow_id, **history.to_json_dict()}))
        stack.purge()


if __name__ == "__main__":
    sys.exit(asyncio.run(record()))

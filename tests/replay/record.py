"""Record workflow histories from real runs on the embedded servers: `python -m tests.replay.record [scenario …]`.

It adds the histories that are missing and refuses to overwrite one: a history stands for runs that are under way in
production, so a workflow that no longer replays it has to be patched, not the history recorded anew. All of
them take two minutes, as one order is tried until it is a dead letter.
"""

import asyncio
import json
import re
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError

from adapters.store.letters import DeadLetterStore
from adapters.store.reconciliations import ReconciliationStore
from domain.flip_mode import Extension
from domain.overlays import OverlayKind
from domain.redrive import LetterFilter
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from stack import Stack
from temporal import ids
from temporal.redrives import Redrives
from tests.exchanges import listed
from tests.flattening import flattened, halt
from tests.flips import a_flip, about_to_expire, flips_of
from tests.replay import comparing, subscribing
from tests.streaming import filled_between_polls, placed, streams_of
from tests.world import ACTOR, World

HISTORIES = Path(__file__).with_name("histories")
_IDENTITY = re.compile(r"\d+@[A-Za-z0-9._-]+")
Found = dict[str, str]  # history's name → workflow id
# A wave writes its results down after 4 s at the latest, and a page begins then if one of them is due for more; so a
# receiver must be able to keep its wave waiting for longer than the tests' usual 2 s.
_PATIENT = {"VANTA_WEBHOOKS__TIMEOUT_MS": "10000", "VANTA_RECONCILE__PAGE_SIZE": "2"}
_SLOW = Behaviour(delay_ms=8_000)
_STUCK = Trading(life=Life(ending="stuck", steps=2, fill_steps=1))


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


async def waves_settled(world: World) -> Found:
    """The manager order sends its waves itself, and its page begins when they are over."""
    vault = await world.vault()
    await world.webhook(vault)
    await world.bridged(vault)
    await world.shadow(vault)
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.settled(mo_id)
    return {"mirror_order_waves_settled": ids.mirror(mo_id), "mirror_shard_waves_settled": ids.shard(mo_id, 0)}


async def waves_held(world: World) -> Found:
    """One order is due for its retry while the wave is still under way: its page begins held, and is released."""
    vault = await world.vault()
    failing = await world.webhook(vault, Behaviour(kind="fail", times=1))
    slow = await world.webhook(vault, _SLOW)
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.until(mo_id, lambda o: o[failing]["state"] == "confirmed" and o[slow]["state"] == "sent")
    await world.settled(mo_id)
    return {"mirror_order_waves_held": ids.mirror(mo_id), "mirror_shard_waves_held": ids.shard(mo_id, 0)}


async def waves_cancelled(world: World) -> Found:
    """The cancel comes when the page has begun."""
    vault = await world.vault()
    stuck = await world.bridged(vault, _STUCK)
    mo_id = (await world.submit(vault, "buy", 10, tif="gtc")).mo_id
    await world.until(mo_id, lambda o: o[stuck]["state"] == "partially_filled")
    await world.orders.cancel(mo_id, actor="user:test")
    await world.settled(mo_id)
    return {"mirror_order_waves_cancelled": ids.mirror(mo_id), "mirror_shard_waves_cancelled": ids.shard(mo_id, 0)}


async def waves_cancelled_before_the_page(world: World) -> Found:
    """The cancel comes while the wave is under way, so that the page is told of it when it begins."""
    vault = await world.vault()
    stuck, slow = await world.bridged(vault, _STUCK), await world.webhook(vault, _SLOW)
    mo_id = (await world.submit(vault, "buy", 10, tif="gtc")).mo_id
    await world.until(mo_id, lambda o: {stuck, slow} == set(o) and o[stuck]["state"] == "sent")
    await world.orders.cancel(mo_id, actor="user:test")
    await world.settled(mo_id)
    return {
        "mirror_order_waves_cancelled_before_the_page": ids.mirror(mo_id),
        "mirror_shard_waves_cancelled_before_the_page": ids.shard(mo_id, 0),
    }


async def expired(world: World) -> Found:
    """Its time is over while one order is open at its broker and another waits for its next attempt."""
    vault = await world.vault()
    stuck = await world.bridged(vault, _STUCK)
    failing = await world.webhook(vault, Behaviour(kind="fail", status=503))
    meta = {"expires_at": (datetime.now(UTC) + timedelta(seconds=8)).isoformat()}
    mo_id = (await world.submit(vault, "buy", 10, tif="gtc", meta=meta)).mo_id
    await world.settled(mo_id)
    return {
        "mirror_order_expired": ids.mirror(mo_id),
        "mirror_shard_expired": ids.shard(mo_id, 0),
        "follower_order_expired_at_broker": ids.follower_order(mo_id, stuck),
        "follower_order_expired_between_attempts": ids.follower_order(mo_id, failing),
    }


async def waves_refused(world: World) -> Found:
    """Refused within the workflow's first task, where admission is a local activity."""
    mo_id = (await world.submit(await world.vault(), "sell", 10)).mo_id
    await world.settled(mo_id)
    return {"mirror_order_waves_refused": ids.mirror(mo_id)}


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


async def marked(world: World) -> Found:
    """Prices and NAVs, as the Schedule starts them; here at once."""
    await world.vault()
    await world.temporal.get_schedule_handle(ids.MARKS).trigger()
    async with asyncio.timeout(60):
        while True:
            async for run in world.temporal.list_workflows("WorkflowType = 'MarkPricesWorkflow'"):
                if run.status is WorkflowExecutionStatus.COMPLETED:
                    return {"mark_prices": run.id}
            await asyncio.sleep(0.5)


async def refreshed(world: World) -> Found:
    """A round of expiring access tokens with nothing to do, as the Schedule starts it; here at once."""
    await world.temporal.get_schedule_handle(ids.REFRESH).trigger()
    async with asyncio.timeout(60):
        while True:
            async for run in world.temporal.list_workflows("WorkflowType = 'RefreshCredentialsWorkflow'"):
                if run.status is WorkflowExecutionStatus.COMPLETED:
                    return {"refresh_credentials": run.id}
            await asyncio.sleep(0.5)


async def referenced(world: World) -> Found:
    """Exchange calendars and instruments, as the Schedule starts their refresh; here at once."""
    await world.temporal.get_schedule_handle(ids.REFERENCE).trigger()
    async with asyncio.timeout(120):
        while True:
            async for run in world.temporal.list_workflows("WorkflowType = 'RefreshReferenceWorkflow'"):
                if run.status is WorkflowExecutionStatus.COMPLETED:
                    return {"refresh_reference": run.id}
            await asyncio.sleep(0.5)


async def waited(world: World) -> Found:
    """Orders that wait for their session: released, refused when it opens, and cancelled before."""
    soon, later = [await listed(world, opens_in=timedelta(seconds=wait)) for wait in (6, 3_600)]
    vault, shut = [await world.vault(outside_session="queue") for _ in range(2)]
    await world.webhook(vault)
    expires = {"expires_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    begun = await world.submit(vault, "buy", 10, soon)
    turned_away = await world.submit(shut, "buy", 10, soon, meta=expires)
    cancelled = await world.submit(vault, "buy", 10, later, meta=expires)
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE vaults SET maintenance = true WHERE vault_id = %s", [shut])
    await world.orders.cancel(cancelled.mo_id, actor="user:test")
    for order in (begun, turned_away, cancelled):
        await world.settled(order.mo_id)
    return {
        "mirror_order_waited_for_its_session": ids.mirror(begun.mo_id),
        "mirror_order_refused_when_its_session_opened": ids.mirror(turned_away.mo_id),
        "mirror_order_cancelled_while_it_waited": ids.mirror(cancelled.mo_id),
    }


async def reconciled(world: World) -> Found:
    """Two pages of followers, one of whom has sold by hand; and a run that finds another one under way."""
    vault = await world.vault()
    by_hand, _, _ = [await world.bridged(vault) for _ in range(3)]
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    world.alpaca.trade_by_hand(by_hand, "sell", "AAPL", Decimal(4))
    whole = await world.start_reconciling(vault)
    await whole.result()
    await ReconciliationStore(world.database).open(world.tenant_id, vault, "R-of-another")
    refused = await world.start_reconciling(vault)
    await refused.result()
    return {"reconcile_vault": whole.id, "reconcile_vault_not_alone": refused.id}


async def flipped(world: World) -> Found:
    """Flips that end by a cancel, by their time, and before they have begun."""
    vault, flips = await world.vault(), flips_of(world)
    cancelled, refused = a_flip(world, vault), a_flip(world, vault, "F_nobody")
    await flips.start(cancelled)
    await flips.extend(cancelled.overlay_id, OverlayKind.FLIP, Extension(timedelta(minutes=60), ACTOR))
    await flips.cancel(cancelled.overlay_id, OverlayKind.FLIP, ACTOR)
    with suppress(WorkflowUpdateFailedError):
        await flips.start(refused)
    reverted = await about_to_expire(world, vault, timedelta(seconds=3))
    names = {"cancelled": cancelled.overlay_id, "refused": refused.overlay_id, "reverted": reverted.overlay_id}
    found = {f"flip_mode_{how}": ids.overlay(OverlayKind.FLIP, overlay_id) for how, overlay_id in names.items()}
    for workflow_id in found.values():
        with suppress(WorkflowFailureError):
            await world.temporal.get_workflow_handle(workflow_id).result()
    return found


async def flat(world: World) -> Found:
    """A vault whose followers sell all, and one that holds nothing."""
    vault, empty = await world.vault(), await world.vault()
    await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    found = {}
    for name, which in (("flatten", vault), ("flatten_nothing", empty)):
        scope = await halt(world, which)
        await flattened(world, scope)
        found[name] = ids.flatten(scope.halt_id, scope.tenant_id)
    return found


async def redriven(world: World) -> Found:
    """A dead letter that goes out again and is confirmed, and one that is refused as its endpoint is still disabled."""
    vault = await world.vault()
    owners = [await world.webhook(vault, Behaviour(kind="fail", times=1)) for _ in range(2)]
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.until(mo_id, lambda o: len(o) == 2 and all(row["state"] == "retry" for row in o.values()))
    await _disable(world, owners)
    await world.settled(mo_id)
    await _disable(world, owners[:1], undo=True)
    redrives = Redrives(world.temporal, timeout_s=20)
    which = LetterFilter(mo_id=mo_id)
    found = await DeadLetterStore(world.database).select(world.tenant_id, which, 2, once=world.once("redrive"))
    started: Found = {}
    for letter in found.letters.values():
        verdict = await redrives.redrive(letter, actor="user:test")
        workflow_id = ids.redrive(mo_id, letter.follower_id, letter.dead_letter_id)
        await world.temporal.get_workflow_handle(workflow_id).result()
        started["follower_order_redriven" if verdict.redriven else "follower_order_redrive_refused"] = workflow_id
    return started


async def streamed(world: World) -> Found:
    """Streams of one account, then of two that may not share a shard; and an order whose owner is told of its fill."""
    async with streams_of(world, accounts_per_shard=1) as streams:
        follower, mo_id, fo_id = await placed(world, streams)
        await placed(world, streams)
        await filled_between_polls(world, mo_id, follower, fo_id)
        await streams.broker.connected(follower)
        await streams.broker.tell(follower, fo_id)
        await world.settled(mo_id)
    return {
        "order_stream": streams.handle.id,
        "follower_order_told_by_stream": ids.follower_order(mo_id, follower),
    }


async def subscribed(world: World) -> Found:
    """A payment system of the tests' own: what they answer is no part of a history."""
    found = {}
    for scenario in (subscribing.whole, subscribing.refused, subscribing.unheard, subscribing.gone_on):
        async with subscribing.subscribing(world) as one:
            await scenario(one)
            found[f"subscription_{scenario.__name__}"] = one.workflow_id
    return found


async def compared(world: World) -> Found:
    """A page that cannot be read, is waited for and found to differ, and has healed by the look after that."""
    return {"reconcile_billing": await comparing.left_and_healed(world)}


async def _disable(world: World, followers: Sequence[str], *, undo: bool = False) -> None:
    """As the breaker does it, which makes a dead letter of what is due next."""
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        value = "NULL" if undo else "now()"
        statement = f"UPDATE followers SET endpoint_disabled_at = {value} WHERE follower_id = ANY(%s)"
        await cursor.execute(statement, [list(followers)])


SCENARIOS: dict[str, Callable[[World], Awaitable[Found]]] = {
    scenario.__name__: scenario
    for scenario in (
        settled, dead, cancelled, refused, ingested, waves_settled, waves_held, waves_cancelled,
        waves_cancelled_before_the_page, waves_refused, expired, marked, reconciled, flipped, redriven, flat, streamed,
        refreshed, referenced, waited, subscribed, compared,
    )
}  # fmt: skip


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


async def record(names: Sequence[str]) -> None:
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-record-"))) as stack:
        await asyncio.to_thread(stack.start_servers)
        await asyncio.to_thread(stack.bootstrap)
        async with World.open(stack, _PATIENT) as world:
            for found in await asyncio.gather(*(SCENARIOS[name](world) for name in names or SCENARIOS)):
                for name, workflow_id in found.items():
                    history = await world.temporal.get_workflow_handle(workflow_id).fetch_history()
                    print(name, _add(name, {"workflowId": workflow_id, **history.to_json_dict()}))
        stack.purge()


if __name__ == "__main__":
    sys.exit(asyncio.run(record(sys.argv[1:])))

"""What is run, in which order: systems take turns within a run, so that the machine's noise hits them all alike."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.service import RPCError

from adapters.secretbox import SecretBox
from adapters.store.registry import Registry
from bench import engine, history, measure, seed
from bench import textbook as textbook_system
from bench.measure import Bench, Placed, Run
from bench.results import Contest, OrderUsage, Results, Round, Size, Steady, TwoOrders
from bench.statements import Statements, between
from bench.usage import Usage
from temporal import ids

SCENARIOS = ("floor", "ours", "engine", "textbook", "two-orders", "steady")
WARM_UP = 1_000
_CHEAP = 100  # up to this many followers a run takes a second or so: three times as many of them
_SLOW = 10_000  # from here on a workflow per follower takes minutes: one run of it, when all else is done
_CONTESTED = 1_000
_STEADY_FOLLOWERS = 100
_IN_THE_MIDST = 200  # events of a page's history

_ORDER_OF = "SELECT fo_id, mo_id FROM follower_orders WHERE mo_id = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Plan:
    """`only` names the scenarios; `slow_up_to` is the most followers for the engine's floor and the textbook."""

    sizes: tuple[int, ...]
    runs: int
    only: frozenset[str]
    steady_s: int
    slow_up_to: int

    def rounds(self, followers: int) -> int:
        return self.runs * 3 if followers <= _CHEAP else self.runs


@dataclass(frozen=True, slots=True)
class Lab:
    """`say` hears of each run; `check` raises when a component has died."""

    bench: Bench
    registry: Registry
    box: SecretBox
    usage: Usage
    statements: Statements
    say: Callable[[str], None]
    check: Callable[[], None]

    async def vault(self, followers: int) -> str:
        bench = self.bench
        return await seed.vault(
            self.registry, bench.database, self.box, tenant_id=bench.tenant_id, followers=followers, sink=bench.sink,
            key=bench.key,
        )  # fmt: skip

    async def calm(self) -> None:
        self.check()
        await self.usage.quiet()


async def run_all(lab: Lab, plan: Plan, results: Results) -> None:
    """Fill `results` as they come, so that what was measured before an interruption can be shown."""
    vaults: dict[int, str] = {}
    if plan.sizes:
        await _warm_up(lab, plan)
    for followers in plan.sizes:
        vaults[followers] = await lab.vault(followers)
        size = results.sizes[followers] = Size(followers)
        for number in range(plan.rounds(followers)):
            label = f"N = {followers:,}, run {number + 1} of {plan.rounds(followers)}"
            size.rounds.append(Round())
            await _fast(lab, plan, size, vaults[followers], label)
            if followers < _SLOW:
                await _slow(lab, plan, size, vaults[followers], label)
    if "two-orders" in plan.only:
        results.two_orders = TwoOrders(_CONTESTED)
        await two_orders(lab, plan.runs, results.two_orders)
    if "steady" in plan.only:
        results.steady = await steady(lab, plan.steady_s)
    for followers in plan.sizes:
        if followers >= _SLOW:
            await _slow(lab, plan, results.sizes[followers], vaults[followers], f"N = {followers:,}, once")


async def _fast(lab: Lab, plan: Plan, size: Size, vault_id: str, label: str) -> None:
    done, followers = size.rounds[-1], size.followers
    if "floor" in plan.only:
        await lab.calm()
        done.runs["floor"] = await measure.floor(lab.bench, followers)
        lab.say(f"{label}: floor: {_told(done.runs['floor'])}")
    if "ours" in plan.only:
        await lab.calm()
        done.runs["ours"], usage = await _ours(lab, vault_id, followers)
        size.usage.append(usage)
        lab.say(f"{label}: ours: {_told(done.runs['ours'])}")


async def _slow(lab: Lab, plan: Plan, size: Size, vault_id: str, label: str) -> None:
    """The systems that need a workflow's whole life per follower."""
    done, followers = size.rounds[-1], size.followers
    if followers > plan.slow_up_to:
        return
    if "engine" in plan.only:
        await lab.calm()
        if followers == 1:
            done.round_trip_s = await engine.round_trip(lab.bench)
        done.empty_children_s = await engine.empty_children(lab.bench, followers)
        lab.say(f"{label}: engine: all empty children after {done.empty_children_s:.3f} s")
    if "textbook" in plan.only:
        await lab.calm()
        done.runs["textbook"] = await textbook_system.textbook(lab.bench, vault_id, followers)
        lab.say(f"{label}: textbook: {_told(done.runs['textbook'])}")


async def _ours(lab: Lab, vault_id: str, followers: int) -> tuple[Run, OrderUsage]:
    before = await lab.statements.read()
    with lab.usage.watch() as watched:
        run, mo_id = await measure.ours(lab.bench, vault_id, followers)
    executed = between(before, await lab.statements.read())
    return run, OrderUsage(watched, executed, await history.largest(lab.bench.temporal, mo_id))


async def _warm_up(lab: Lab, plan: Plan) -> None:
    """Fill caches, pools and code paths of whatever will run; not counted."""
    followers = min(WARM_UP, max(plan.sizes))
    vault_id = await lab.vault(followers)
    if "ours" in plan.only:
        await measure.ours(lab.bench, vault_id, followers)
    if "engine" in plan.only:
        await engine.round_trip(lab.bench)
        await engine.empty_children(lab.bench, min(followers, _CHEAP))
    if "textbook" in plan.only:
        few = min(followers, _CHEAP)
        await textbook_system.textbook(lab.bench, await lab.vault(few), few)
    lab.say(f"warmed up with {followers:,} followers")


async def two_orders(lab: Lab, runs: int, results: TwoOrders) -> None:
    """A second vault's order on its own, then posted while the children of the first one's run."""
    bench = lab.bench
    first, second = await lab.vault(_CONTESTED), await lab.vault(_CONTESTED)
    for number in range(runs):
        await lab.calm()
        alone, _ = await measure.ours(bench, second, _CONTESTED)
        await lab.calm()
        async with measure.caller(bench) as client:
            ahead = await measure.place(client, first)
            await _children_run(bench, ahead)
            behind = await measure.place(client, second)
            await asyncio.gather(measure.ended(bench, ahead), measure.ended(bench, behind))
        arrivals = await measure.drain(bench)
        orders = await _by_order(bench, [ahead, behind], arrivals)
        results.rounds.append(Contest(alone.last, measure.run_of(orders[behind.mo_id], behind.began).last))
        results.lost += 3 * _CONTESTED - len(arrivals) - len(alone.arrivals)
        results.sent_twice += alone.sent_twice + sum(len(times) - 1 for times in arrivals.values())
        told = results.rounds[-1]
        lab.say(f"two orders, run {number + 1} of {runs}: {told.contested_s:.3f} s, alone {told.alone_s:.3f} s")


async def _children_run(bench: Bench, placed: Placed) -> None:
    """Until the order's first page is in the midst of starting children and hearing of their ends."""
    page = bench.temporal.get_workflow_handle(ids.shard(placed.mo_id, 0))
    async with asyncio.timeout(measure.TIMEOUT_S):
        while True:
            with suppress(RPCError):  # it has not begun
                if (await page.describe()).history_length >= _IN_THE_MIDST:
                    return
            await asyncio.sleep(0.1)


async def steady(lab: Lab, orders: int) -> Steady:
    """One order a second, whether or not the ones before have ended."""
    bench, vault_id = lab.bench, await lab.vault(_STEADY_FOLLOWERS)
    await lab.calm()
    lab.say(f"steady stream: one order a second for {orders} s")
    began = time.monotonic()

    async def follow(number: int, client: Any) -> tuple[Placed, dict[str, Any]]:
        await asyncio.sleep(max(0.0, began + number - time.monotonic()))
        placed = await measure.place(client, vault_id)
        return placed, await measure.ended(bench, placed)

    async with measure.caller(bench) as client:
        ended = await asyncio.gather(*(follow(number, client) for number in range(orders)))
    arrivals = await measure.drain(bench)
    placed = [p for p, _ in ended]
    by_order = await _by_order(bench, placed, arrivals)
    return Steady(
        orders=orders,
        followers=_STEADY_FOLLOWERS,
        last_s=[measure.run_of(by_order[p.mo_id], p.began).last for p in placed if by_order[p.mo_id]],
        refusals=sum(p.refusals for p in placed),
        unsettled=sum(result["state"] != "settled" for _, result in ended),
        lost=orders * _STEADY_FOLLOWERS - len(arrivals),
        sent_twice=sum(len(times) - 1 for times in arrivals.values()),
    )


async def _by_order(
    bench: Bench, placed: list[Placed], arrivals: dict[str, list[float]]
) -> dict[str, dict[str, list[float]]]:
    """The sink knows follower orders; Postgres knows whose they are."""
    orders: dict[str, dict[str, list[float]]] = {p.mo_id: {} for p in placed}
    async with bench.database.cursor(bench.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(_ORDER_OF, [list(orders)])
        for row in await cursor.fetchall():
            if row["fo_id"] in arrivals:
                orders[row["mo_id"]][row["fo_id"]] = arrivals[row["fo_id"]]
    return orders


def _told(run: Run) -> str:
    confirmed = f", all confirmed after {run.confirmed:.3f} s" if run.confirmed is not None else ""
    return f"last request after {run.last:.3f} s{confirmed}"

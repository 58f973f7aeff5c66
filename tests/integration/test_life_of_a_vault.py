"""One vault's life under all rules at once: personas, a flip, a boost, hedges, a kill, a dead letter, the way out.

After every chapter what we have booked is what the receiver and the broker have taken, and every order is in the log.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from adapters.kill.channel import open_redis
from adapters.kill.switch import KillSwitch
from adapters.store import endpoints
from adapters.store.endpoints import TrialStore
from adapters.store.kills import KillStore
from adapters.store.letters import DeadLetterStore
from adapters.store.overlays import OverlayStore
from domain import ids
from domain.flip_mode import EndOverlay, StartOverlay
from domain.mirroring import RedriveVerdict
from domain.orders import Side
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.redrive import LetterFilter
from domain.replay import RebuiltOrder, holdings, residues
from simulators.receiver import Behaviour
from temporal import ids as workflow_ids
from temporal.redrives import Redrives
from tests.integration.rebuilding import check_rebuilt
from tests.world import ACTOR, World

D = Decimal
HEDGE = {"symbol": "MSFT", "ratio": "0.5"}  # AAPL is at 200, MSFT at 400: one of it for every four
SURE = {"conviction": {"score": "0.9"}}
# Long enough for a test to disable the endpoint before the second attempt.
ONCE_DOWN = Behaviour(kind="fail", status=503, times=1, retry_after="5")
CASH = D(100_000)
Orders = dict[str, dict[str, Any]]


@dataclass
class Life:
    """A vault with one follower of each kind, and the orders that it has had."""

    world: World
    vault: str
    plain: str
    athena: str
    apollo: str
    ares: str
    nemesis: str
    small: str
    flaky: str
    history: list[str]

    @classmethod
    async def begin(cls, world: World) -> "Life":
        vault = await world.vault(hedge=HEDGE)
        nemesis = await world.bridged(vault, persona="nemesis", allow_short=True)
        world.alpaca.add_account(nemesis, f"secret-of-{nemesis}", cash=CASH, shorting_enabled=True)
        return cls(
            world, vault,
            plain=await world.webhook(vault),
            athena=await world.webhook(vault, persona="athena"),
            apollo=await world.bridged(vault, persona="apollo"),
            ares=await world.webhook(vault, persona="ares", allow_short=True),
            nemesis=nemesis,
            small=await world.webhook(vault, scale=D("0.15")),
            flaky=await world.webhook(vault, ONCE_DOWN),
            history=[],
        )  # fmt: skip

    @property
    def hooked(self) -> tuple[str, ...]:
        return (self.plain, self.athena, self.ares, self.small, self.flaky)

    async def place(self, side: str, qty: int, **more: Any) -> str:
        admission = await self.world.submit(self.vault, side, qty, **more)
        assert admission.accepted, admission
        self.history.append(admission.mo_id)
        return admission.mo_id

    async def trade(self, side: str, qty: int, **more: Any) -> Orders:
        """The order's follower orders once it is over, hedges under their followers' ids with `/1`."""
        mo_id = await self.place(side, qty, **more)
        await self.world.settled(mo_id)
        rows = await self.world.rows("SELECT * FROM follower_orders WHERE mo_id = %s", mo_id)
        return {row["follower_id"] + ("/1" if row["leg"] else ""): row for row in rows}

    async def start(self, kind: OverlayKind, params: Params, follower_id: str | None = None) -> str:
        once = self.world.once("start_overlay")
        new = NewOverlay(kind, self.vault, follower_id, timedelta(minutes=30), params, "a chapter of the story")
        overlay_id = ids.overlay_id(self.world.tenant_id, once.key)
        await OverlayStore(self.world.database).start(
            StartOverlay(self.world.tenant_id, overlay_id, new, once, ACTOR)
        )  # fmt: skip
        return overlay_id

    async def end(self, overlay_id: str) -> None:
        ending = EndOverlay(self.world.tenant_id, overlay_id, EndReason.CANCELLED, ACTOR)
        await OverlayStore(self.world.database).end(ending)

    async def redrive(self, mo_id: str) -> RedriveVerdict:
        """The order's one dead letter, to the end of its new owner."""
        world, store = self.world, DeadLetterStore(self.world.database)
        chosen = await store.select(world.tenant_id, LetterFilter(mo_id=mo_id), 10, once=world.once("select"))
        [letter] = chosen.letters.values()
        verdict = await Redrives(world.temporal, timeout_s=20).redrive(letter, actor=ACTOR)
        owner = workflow_ids.redrive(mo_id, letter.follower_id, letter.dead_letter_id)
        async with asyncio.timeout(60):
            await world.temporal.get_workflow_handle(owner).result()
        return verdict

    async def check(self, aapl: dict[str, int], msft: dict[str, int]) -> None:
        """These are the positions: by our books, by the other sides, by the log; and what rounding owes by the log."""
        expected = {(f, "AAPL"): D(qty) for f, qty in aapl.items() if qty}
        expected |= {(f, "MSFT"): D(qty) for f, qty in msft.items() if qty}
        followers = [*self.hooked, self.apollo, self.nemesis]
        booked = await self.kept("SELECT holder_id AS f, symbol, qty FROM positions WHERE holder_id = ANY(%s)")
        assert booked == expected
        assert {k: q for f in followers for k, q in self.outside(f).items()} == expected
        orders = await self.rebuilt()
        assert holdings(orders) == expected
        owed = await self.kept("SELECT follower_id AS f, symbol, qty FROM residues WHERE follower_id = ANY(%s)")
        assert residues(orders) == owed

    async def kept(self, statement: str) -> dict[tuple[str, str], Decimal]:
        rows = await self.world.rows(statement, [*self.hooked, self.apollo, self.nemesis])
        return {(row["f"], row["symbol"]): row["qty"] for row in rows if row["qty"]}

    def outside(self, follower: str) -> dict[tuple[str, str], Decimal]:
        """What the follower has by its broker, or by what its receiver has taken in."""
        held: dict[tuple[str, str], Decimal] = {}
        if follower in self.hooked:
            for delivery in self.world.receiver.deliveries(follower):
                body = orjson.loads(delivery.body)
                qty = D(body["qty_str"]) * Side(body["side"]).sign * delivery.processed
                held[follower, body["symbol"]] = held.get((follower, body["symbol"]), D(0)) + qty
        else:
            account = self.world.alpaca.exchange.accounts[follower]
            held = {(follower, symbol): position.qty for symbol, position in account.positions.items()}
        return {key: qty for key, qty in held.items() if qty}

    async def rebuilt(self) -> list[RebuiltOrder]:
        """Every order of this life from the log alone; each equals its row, attempts, fills and redrives included."""
        return [order for mo_id in self.history for order in (await check_rebuilt(self.world, mo_id)).values()]


@pytest.fixture
async def switch(world: World) -> AsyncIterator[KillSwitch]:
    redis = open_redis(world.settings.redis)
    yield KillSwitch(KillStore(world.database), redis)
    await redis.aclose()


async def test_the_life_of_a_vault(world: World, switch: KillSwitch):
    life = await Life.begin(world)
    dead = await _they_enter_each_by_their_character(life)
    await _a_dead_letter_goes_once_its_endpoint_is_back(life, dead)
    await _a_flip_and_a_boost_bend_sizes_while_they_last(life)
    await _a_part_is_sold_and_hedges_are_unwound_with_it(life)
    await _a_killed_follower_is_left_out(life, switch)
    await _everybody_leaves_and_nothing_remains(life)


def _in_state(follower: str, state: str) -> Callable[[Orders], bool]:
    return lambda orders: follower in orders and orders[follower]["state"] == state


async def _they_enter_each_by_their_character(life: Life) -> str:
    """Ten each, but for their personas; one endpoint is disabled in mid-order. The order's id."""
    world = life.world
    meta = {"conviction": {"score": "0.9", "overrides": {"growth": "0.2"}}}
    mo_id = await life.place("buy", 10, meta=meta)
    await world.until(mo_id, _in_state(life.flaky, "retry"))
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        await endpoints.disable(cursor, {life.flaky: "its operator asked for it"}, actor=ACTOR)
    assert (await world.settled(mo_id)).state == "settled_with_errors"
    assert (await world.follower_orders(mo_id))[life.flaky]["state"] == "dead_letter"
    # 10 × 0.6, 1.25 × 1.2, 0.8 × (1 − 2 × 0.9) to the other side, 0.8, 0.15; rounded toward zero.
    await life.check(
        {life.plain: 10, life.athena: 6, life.apollo: 15, life.ares: -6, life.nemesis: 8, life.small: 1},
        {life.nemesis: -2},
    )
    return mo_id


async def _a_dead_letter_goes_once_its_endpoint_is_back(life: Life, mo_id: str) -> None:
    world = life.world
    refused = await life.redrive(mo_id)
    assert (refused.redriven, refused.code) == (False, "endpoint_disabled")
    trials = TrialStore(world.database)
    await trials.begin(world.tenant_id, life.flaky, most=timedelta(minutes=1))
    assert await trials.end(world.tenant_id, life.flaky, ok=True, told={}, actor=ACTOR) == (True, True)
    assert (await life.redrive(mo_id)).redriven
    [order] = [o for o in await life.rebuilt() if o.follower_id == life.flaky]
    assert (order.state, len(order.redriven), order.attempts_base, order.dispatch_attempts) == ("confirmed", 1, 1, 2)
    assert life.outside(life.flaky) == {(life.flaky, "AAPL"): 10}


async def _a_flip_and_a_boost_bend_sizes_while_they_last(life: Life) -> None:
    flip = await life.start(OverlayKind.FLIP, Params(amplify=D("0.35")), life.plain)
    await life.start(OverlayKind.BOOST, Params(persona="athena", delta=D("0.5")))
    life.world.receiver.expect(life.flaky, key=life.world.receiver._followers[life.flaky].keys)
    orders = await life.trade("buy", 10, meta=SURE)
    assert any(step["rule"] == "flip" and flip in step["why"] for step in orders[life.plain]["trace"])
    await life.end(flip)
    # 13.5, 9, 12.5, −6.4 with −0.4 left over, 8, 1.5 with 0.5 left over, 10.
    await life.check(
        {life.plain: 23, life.athena: 15, life.apollo: 27, life.ares: -12, life.nemesis: 16, life.small: 3,
         life.flaky: 20},
        {life.nemesis: -4},
    )  # fmt: skip


async def _a_part_is_sold_and_hedges_are_unwound_with_it(life: Life) -> None:
    """A quarter of each position, whichever side it is on, and of what rounding owes it."""
    orders = await life.trade("sell", 5)
    assert orders[life.ares]["side"] == "buy"
    assert (orders[life.small]["state"], orders[life.small]["reason"]) == ("skipped", "below_minimum")
    await life.check(
        {life.plain: 18, life.athena: 12, life.apollo: 21, life.ares: -10, life.nemesis: 12, life.small: 3,
         life.flaky: 15},
        {life.nemesis: -3},
    )  # fmt: skip


async def _a_killed_follower_is_left_out(life: Life, switch: KillSwitch) -> None:
    world = life.world
    await world.registry.update_follower(world.tenant_id, life.apollo, {"kill_switch": True}, actor=ACTOR)
    assert (await switch.barrier(world.tenant_id, follower_id=life.apollo)).in_flight == 0
    orders = await life.trade("buy", 4)
    await world.registry.update_follower(world.tenant_id, life.apollo, {"kill_switch": False}, actor=ACTOR)
    assert (orders[life.apollo]["state"], orders[life.apollo]["reason"]) == ("killed", "kill_switch")
    assert world.alpaca.orders(orders[life.apollo]["fo_id"]) == []
    assert not any(step["rule"] == "flip" for step in orders[life.plain]["trace"])
    # Without a conviction the contrarian buys too, and closes a part of its short; 0.75 of a hedge is none.
    assert orders[f"{life.nemesis}/1"]["reason"] == "below_minimum"
    await life.check(
        {life.plain: 21, life.athena: 14, life.apollo: 21, life.ares: -7, life.nemesis: 15, life.small: 3,
         life.flaky: 19},
        {life.nemesis: -3},
    )  # fmt: skip


async def _everybody_leaves_and_nothing_remains(life: Life) -> None:
    world = life.world
    orders = await life.trade("sell", 19)
    assert {row["state"] for row in orders.values()} == {"confirmed"}
    await life.check({}, {})
    assert await world.holding(life.vault) == 0
    assert residues(await life.rebuilt()) == {}
    hedges = await world.rows("SELECT qty FROM hedges WHERE follower_id = %s", life.nemesis)
    assert [hedge["qty"] for hedge in hedges] == [0]
    # Bought and sold at the same price: who has his money back has neither bought nor sold twice.
    assert [world.alpaca.exchange.accounts[f].cash for f in (life.apollo, life.nemesis)] == [CASH, CASH]
    for booked in world.alpaca.orders():
        if booked["account"] in {life.apollo, life.nemesis}:
            assert (booked["booked"], booked["submissions"]) == (1, 1)
    live = await world.rows("SELECT mo_id FROM manager_orders WHERE live AND vault_id = %s", life.vault)
    assert live == []

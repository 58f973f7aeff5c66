"""Orders, fills, kills, overlays, deaths of senders, repeats and time-outs in random order, on the real database.

Temporal's part, who does what next, is played by the machine; everything that writes or decides is the product's own.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.delivery import BuryInput, DeliveryActivities, FollowerOrderKey
from activities.gate import Gate
from activities.lanes import Lanes
from activities.mirroring import ShardKey
from activities.sending import Sending
from activities.wave import WaveActivities, WaveInput
from adapters.kill.switch import KillSwitch
from adapters.kill.watch import KillWatch
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.overlays import OverlayStore
from adapters.store.redrive import RedriveStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain import ids
from domain.admission import Halt
from domain.enrolment import BrokerAccount
from domain.flip_mode import EndOverlay, StartOverlay
from domain.mirroring import RedriveRequest
from domain.orders import FOLLOWER_ENDS
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.requests import Once
from domain.sizing import Mode
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import UNLIMITED, Floor, admission_store, manager_order
from tests.machine.outside import FakeBroker, FakeReceivers, Wire

_ENDS = [state.value for state in FOLLOWER_ENDS]
_OWNED = ("skipped", "shadowed")
PERSONAS = (None, "athena", "apollo", "ares", "nemesis")


@dataclass
class Machine:
    """One tenant's vault, its followers and one process that sends."""

    floor: Floor
    box: SecretBox
    watch: KillWatch
    switch: KillSwitch
    rng: random.Random
    followers: list[str] = field(default_factory=list)
    orders: list[tuple[str, int]] = field(default_factory=list)  # mo_id, followers
    overlays: list[str] = field(default_factory=list)
    running: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)  # acknowledged and not lifted
    after_kill: list[str] = field(default_factory=list)
    owner_of: dict[str, str] = field(default_factory=dict)  # fo_id → follower
    steps: int = 0

    def __post_init__(self) -> None:
        database = self.floor.database
        self.wire = Wire(self.rng)
        self.broker = FakeBroker(self.wire, self._begins)
        self.receivers = FakeReceivers(self.wire, self._begins)
        self.store = DispatchStore(database)
        sending = Sending(self.receivers, {"alpaca": self.broker}, self.box, self.watch)
        self.delivery = DeliveryActivities(self.store, sending)
        self.wave = WaveActivities(
            WaveStore(database), self.store, sending, Gate(total=50, per_host=20, first=20), Lanes(8), batch=5
        )
        self.expansion = ExpansionStore(database)
        self.settlement = SettlementStore(database)
        self.overlay_store = OverlayStore(database)
        self.redrives = RedriveStore(database, UNLIMITED)

    @property
    def database(self) -> Database:
        return self.floor.database

    @property
    def registry(self) -> Registry:
        return self.floor.registry

    @property
    def tenant(self) -> str:
        return self.floor.tenant_id

    async def prepare(self) -> None:
        await self.floor.prepare()
        await self.floor.rows(
            "UPDATE vaults SET risk_profile = risk_profile || %s::jsonb WHERE vault_id = %s",
            '{"allow_short": true, "duplicate_window_s": "0", "max_orders_per_minute": "100000"}', self.floor.vault_id,
        )  # fmt: skip
        for n in range(8):
            terms: dict[str, Any] = {
                "scale": Decimal(self.rng.choice(["0.33", "0.5", "1", "1.7"])),
                "persona": self.rng.choice(PERSONAS),
                "max_pos_usd": self.rng.choice([None, Decimal(20_000)]),
                "allow_short": self.rng.random() < 0.5,
            }
            if terms["max_pos_usd"] and self.rng.random() < 0.5:
                terms["mode"] = Mode.CAPPED
            if n % 2:
                terms["equities"] = BrokerAccount("alpaca", f"key{n}", "secret")
            else:
                terms["webhook_url"] = "https://follower.example/hook"
            self.followers.append(await self.floor.follower(**terms))

    # What may happen, with how often.
    async def step(self) -> None:
        self.steps += 1
        choices: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (4, self.place), (6, self.start_wave), (4, self.expand), (30, self.own_one), (30, self.let_go_on),
            (12, self.trade), (3, self.pull_kill_switch), (3, self.halt_vault), (4, self.lift_one), (2, self.flip),
            (2, self.cancel_order), (3, self.die), (3, self.settle), (3, self.redrive),
        ]  # fmt: skip
        action = self.rng.choices([c[1] for c in choices], [c[0] for c in choices])[0]
        await action()

    async def place(self) -> None:
        side, qty = self.rng.choice(["buy", "sell"]), self.rng.choice(["1", "5", "7", "10", "33"])
        order = manager_order(self.tenant, self.floor.vault_id, side=side, qty=qty, meta={"reference_price": "200"})
        verdict = await admission_store(self.database, page_size=5).admit(order, datetime.now(UTC))
        again = await admission_store(self.database, page_size=5).admit(order, datetime.now(UTC))
        assert (verdict.accepted, verdict.state) == (again.accepted, again.state)
        if verdict.accepted:
            self.orders.append((order.mo_id, verdict.shards))

    async def start_wave(self) -> None:
        if self.orders:
            mo_id, shards = self.rng.choice(self.orders)
            key = ShardKey(self.tenant, mo_id, self.rng.randrange(shards))
            self._run(f"wave {mo_id} {key.shard}", self.wave.dispatch_wave, WaveInput(key, self._route()))

    async def expand(self) -> None:
        if self.orders:
            mo_id, shards = self.rng.choice(self.orders)
            await self.expansion.expand(self.tenant, mo_id, self.rng.randrange(shards))

    async def own_one(self) -> None:
        row = await self._some_open_order()
        if row is not None and not self._in_wave(row):
            step = self.delivery.confirm if row["state"] in {"ack", "partially_filled"} else self.delivery.deliver
            self._run(row["fo_id"], step, FollowerOrderKey(self.tenant, row["fo_id"]))

    async def let_go_on(self) -> None:
        self.wire.release_one()
        await asyncio.sleep(0)

    async def trade(self) -> None:
        self.broker.trade()

    async def pull_kill_switch(self) -> None:
        follower = self.rng.choice(self.followers)
        await self.registry.update_follower(self.tenant, follower, {"kill_switch": True}, actor=ACTOR)
        await self.switch.barrier(self.tenant, follower_id=follower)
        self.killed.add(follower)

    async def halt_vault(self) -> None:
        kind = self.rng.choice([OverlayKind.HALT, OverlayKind.MAINTENANCE])
        level = self.rng.choice(list(Halt)) if kind is OverlayKind.HALT else None
        follower = self.rng.choice([None, *self.followers])
        await self._start_overlay(NewOverlay(kind, self.floor.vault_id, follower, params=Params(level=level)))
        await self.switch.barrier(self.tenant, vault_id=self.floor.vault_id, follower_id=follower)
        if level in {None, Halt.HALT_ALL}:
            self.killed |= {follower} if follower else set(self.followers)

    async def flip(self) -> None:
        params = Params(persona=self.rng.choice(PERSONAS[1:]), amplify=Decimal("0.35"))
        follower = self.rng.choice([None, *self.followers])
        await self._start_overlay(
            NewOverlay(OverlayKind.FLIP, self.floor.vault_id, follower, timedelta(minutes=30), params)
        )

    async def lift_one(self) -> None:
        """Lift everything: which of several halts holds a follower is the guards' matter, not the machine's."""
        self.killed.clear()
        for overlay_id in self.overlays:
            end = EndOverlay(self.tenant, overlay_id, EndReason.LIFTED, ACTOR)
            await self.overlay_store.end(end)
        self.overlays.clear()
        for follower in self.followers:
            await self.registry.update_follower(self.tenant, follower, {"kill_switch": False}, actor=ACTOR)

    async def cancel_order(self) -> None:
        if self.orders and self.rng.random() < 0.3:
            mo_id, shards = self.rng.choice(self.orders)
            await self.settlement.cancel(self.tenant, mo_id, ACTOR)
            for shard in range(shards):
                await self.expansion.expand(self.tenant, mo_id, shard)
            await self.settlement.cancel(self.tenant, mo_id, ACTOR)
            for row in await self._rows("state IN ('ack', 'partially_filled') AND mo_id = %s", mo_id):
                with suppress(ApplicationError):
                    await _env().run(self.delivery.cancel_at_venue, FollowerOrderKey(self.tenant, row["fo_id"]))

    async def die(self) -> None:
        """The process that sends is killed: what was on the wire has arrived or has not, and nobody saw the answer."""
        tasks = list(self.running.values())
        self.running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        for mo_id, _ in self.orders:
            if not await self._rows("mo_id = %s AND state <> ALL(%s)", mo_id, _ENDS) and self.rng.random() < 0.3:
                await self.settlement.settle(self.tenant, mo_id)

    async def redrive(self) -> None:
        letters = await self.floor.rows(
            "SELECT dead_letter_id, fo_id FROM dead_letters WHERE redriven_at IS NULL ORDER BY dead_letter_id"
        )
        if letters:
            letter = self.rng.choice(letters)
            if letter["fo_id"] not in self.running:
                wanted = RedriveRequest(letter["dead_letter_id"], ACTOR)
                await self.redrives.redrive(self.tenant, letter["fo_id"], wanted, datetime.now(UTC))

    async def finish(self) -> None:
        """Lift everything, let nothing fail any more, and let every owner go on to its order's end."""
        await self.die()
        await self.lift_one()
        self.wire.faults = False
        for mo_id, shards in self.orders:
            for shard in range(shards):
                await self.expansion.expand(self.tenant, mo_id, shard)
        for _ in range(60):
            rows = await self._rows("state <> ALL(%s)", _ENDS)
            if not rows:
                return
            self.broker.trade_all()
            for row in rows:
                await self._own_to_the_end(row)
        raise AssertionError([dict(row) for row in rows])

    async def _own_to_the_end(self, row: dict[str, Any]) -> None:
        key = FollowerOrderKey(self.tenant, row["fo_id"])
        webhook = row["route"] == "webhook"
        if webhook and row["state"] in {"ack", "partially_filled"}:
            await _env().run(self.delivery.bury, BuryInput(key, "unconfirmed"))
            return
        step = self.delivery.confirm if row["state"] in {"ack", "partially_filled"} else self.delivery.deliver
        with suppress(ApplicationError):
            await _env().run(step, key)

    async def _start_overlay(self, new: NewOverlay) -> None:
        key = f"overlay-{self.steps}"
        overlay_id = ids.overlay_id(self.tenant, key)
        start = StartOverlay(self.tenant, overlay_id, new, Once("overlay", f"{self.tenant}{key}", "f"), ACTOR)
        await self.overlay_store.start(start)
        self.overlays.append(overlay_id)

    async def _rows(self, where: str, *values: Any) -> list[dict[str, Any]]:
        return await self.floor.rows(f"SELECT * FROM follower_orders WHERE {where} ORDER BY fo_id", *values)

    async def _some_open_order(self) -> dict[str, Any] | None:
        rows = await self._rows("state <> ALL(%s) AND state <> ALL(%s)", _ENDS, list(_OWNED))
        free = [row for row in rows if row["fo_id"] not in self.running]
        return self.rng.choice(free) if free else None

    def _in_wave(self, row: dict[str, Any]) -> bool:
        """A claimed order of a wave that is running is the wave's: an owner waits longer than its request can last."""
        return row["state"] == "sent" and f"wave {row['mo_id']} {row['shard']}" in self.running

    def _run(self, name: str, step: Callable[..., Any], value: Any) -> None:
        if name in self.running:
            return
        task = asyncio.create_task(self._quietly(step, value))
        self.running[name] = task
        task.add_done_callback(lambda _: self.running.pop(name, None) if self.running.get(name) is task else None)

    async def _quietly(self, step: Callable[..., Any], value: Any) -> None:
        with suppress(ApplicationError):
            await _env().run(step, value)

    def _route(self) -> str:
        return self.rng.choice(["webhook", "alpaca"])

    def _begins(self, fo_id: str) -> None:
        """A send has begun: nobody may have acknowledged a kill of its follower before."""
        for follower in self.killed:
            if any(ids.follower_order_id(mo_id, follower, leg) == fo_id for mo_id, _ in self.orders for leg in (0, 1)):
                self.after_kill.append(fo_id)


def _env() -> ActivityEnvironment:
    return ActivityEnvironment()

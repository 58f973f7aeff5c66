"""The barrier on the real Postgres and Valkey: after its answer no send in the kill's scope begins."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis

from adapters.kill.channel import CHANNEL, open_redis
from adapters.kill.switch import KillSwitch
from adapters.kill.watch import FENCE_S, LEASE_S, KillWatch
from adapters.store import kills
from adapters.store.database import Database
from adapters.store.kills import KillStore
from adapters.store.registry import Registry
from domain.admission import Halt
from domain.sizing import Effect
from settings import Settings
from tests.adapters.store.conftest import ACTOR
from tests.domain.pending import pending

VAULT, FOLLOWERS = "V_kill", tuple(f"F_kill_{n}" for n in range(8))


@dataclass
class Killing:
    """A tenant's kill paths, and processes' watches. `others`: senders of other tests' workers, which answer too."""

    settings: Settings
    database: Database
    tenant_id: str
    switch: KillSwitch
    others: int
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def watch(self, redis: Redis | None = None) -> KillWatch:
        made = KillWatch(KillStore(self.database), redis or await self.redis())
        running = asyncio.create_task(made.run())
        self.closing.push_async_callback(_ended, running)
        await made.ready()
        async with asyncio.timeout(60):
            while redis is None and made.opens_held:
                await asyncio.sleep(0.01)
        return made

    async def redis(self) -> Redis:
        client = open_redis(self.settings.redis)
        self.closing.push_async_callback(client.aclose)
        return client

    async def pull(self, follower_id: str | None = None, level: Halt = Halt.HALT_ALL) -> None:
        async with self.database.session(self.tenant_id) as session:
            await kills.record(
                session, self.tenant_id, vault_id=VAULT, follower_id=follower_id, level=level, actor=ACTOR
            )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    _, running = await asyncio.wait([task], timeout=10)
    assert not running, "what was cancelled went on"


@asynccontextmanager
async def killing_of(settings: Settings, database: Database, tenant: str) -> AsyncIterator[Killing]:
    redis = open_redis(settings.redis)
    store = KillStore(database)
    others = len((await store.senders(FENCE_S))[1])
    made = Killing(settings, database, tenant, KillSwitch(store, redis), others)
    made.closing.push_async_callback(redis.aclose)
    async with made.closing:
        yield made
    # Those that are gone must not be waited for by the next test's switch.
    async with asyncio.timeout(60):
        while len((await store.senders(FENCE_S))[1]) > others:
            await asyncio.sleep(0.05)


@pytest.fixture
async def killing(settings: Settings, database: Database, registry: Registry, tenant: str) -> AsyncIterator[Killing]:
    async with killing_of(settings, database, tenant) as made:
        yield made


def order(killing: Killing, watch: KillWatch, follower_id: str, effect: Effect = Effect.OPEN):
    made = pending(tenant_id=killing.tenant_id, vault_id=VAULT, follower_id=follower_id, mark=watch.mark)
    return replace(made, guards=replace(made.guards, effect=effect))


async def test_the_answer_comes_by_redis_from_every_sender_with_what_was_in_flight(killing: Killing):
    one, two = await killing.watch(), await killing.watch()
    claimed = order(killing, two, FOLLOWERS[0])
    with one.flight(order(killing, one, FOLLOWERS[0])) as begun, one.flight(order(killing, one, FOLLOWERS[1])) as other:
        assert begun() is None
        assert other() is None
        await killing.pull(FOLLOWERS[0])
        answer = await killing.switch.barrier(killing.tenant_id, follower_id=FOLLOWERS[0])
    assert (answer.via, answer.senders, answer.in_flight) == ("redis", killing.others + 2, 1)
    with two.flight(claimed) as late:
        assert late() is not None
    with two.flight(order(killing, two, FOLLOWERS[0])) as reclaimed:
        assert reclaimed() is None  # Postgres' guards have let it pass, after the kill


async def test_halt_opens_lets_reductions_go_on(killing: Killing):
    watch = await killing.watch()
    opens, reduces = (order(killing, watch, FOLLOWERS[0], effect) for effect in Effect)
    await killing.pull(level=Halt.HALT_OPENS)
    await killing.switch.barrier(killing.tenant_id, vault_id=VAULT)
    with watch.flight(opens) as stopped, watch.flight(reduces) as going:
        assert stopped() is not None
        assert going() is None


class Deaf(Redis):
    """A Redis that has gone away."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.1", port=1, socket_connect_timeout=0.2)


async def test_without_redis_nothing_opens_and_a_kill_goes_through_postgres(killing: Killing):
    watch = await killing.watch(Deaf())
    switch = KillSwitch(KillStore(killing.database), Deaf())
    opens, reduces = (order(killing, watch, FOLLOWERS[0], effect) for effect in Effect)
    with watch.flight(opens) as held, watch.flight(reduces) as going:
        assert held() is not None
        assert going() is None
    assert watch.opens_held
    claimed = order(killing, watch, FOLLOWERS[0], Effect.REDUCE)
    await killing.pull(FOLLOWERS[0])
    answer = await switch.barrier(killing.tenant_id, follower_id=FOLLOWERS[0])
    assert (answer.via, answer.senders) == ("postgres", killing.others + 1)
    with watch.flight(claimed) as stopped:
        assert stopped() is not None


async def test_what_is_no_kill_does_not_end_the_watch(killing: Killing):
    watch, redis = await killing.watch(), await killing.redis()
    for nonsense in (b"", b"[]", b'{"kill_id": 1}', b"\xff"):
        assert await redis.publish(CHANNEL, nonsense) > 0
    claimed = order(killing, watch, FOLLOWERS[0])
    await killing.pull(FOLLOWERS[0])
    answer = await killing.switch.barrier(killing.tenant_id, follower_id=FOLLOWERS[0])
    assert (answer.via, answer.senders) == ("redis", killing.others + 1)
    with watch.flight(claimed) as stopped:
        assert stopped() is not None


class Forgetful(Redis):
    """Loses the first cancellation at every command, as `asyncio.wait_for` can before Python 3.12."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            return None
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


async def test_a_cancellation_that_a_client_forgets_ends_the_watch_all_the_same(killing: Killing):
    redis = Forgetful.from_url(killing.settings.redis.url.get_secret_value())
    killing.closing.push_async_callback(redis.aclose)
    watch = KillWatch(KillStore(killing.database), redis)
    running = asyncio.create_task(watch.run())
    await watch.ready()  # the lease, begun with the look, is still at its command
    await _ended(running)


async def test_a_sender_that_cannot_look_at_postgres_sends_nothing(killing: Killing):
    now = [1000.0]
    watch = KillWatch(KillStore(killing.database), await killing.redis(), clock=lambda: now[0])
    running = asyncio.create_task(watch.run())
    await watch.ready()
    with watch.flight(order(killing, watch, FOLLOWERS[0], Effect.REDUCE)) as fine:
        assert fine() is None
    await _ended(running)
    now[0] += FENCE_S + 0.1
    with watch.flight(order(killing, watch, FOLLOWERS[0], Effect.REDUCE)) as fenced:
        assert fenced() is not None
    assert LEASE_S > FENCE_S


@pytest.mark.parametrize("seed", range(4))
async def test_no_send_begins_after_the_answer_in_ten_thousand_races(killing: Killing, seed: int):
    """Each race is one send attempted around a kill of its follower; 2,500 for each seed."""
    rng = random.Random(seed)
    watches = [await killing.watch() for _ in range(2)]
    on: dict[str, int] = {}  # follower → kill switches that are on
    answered: dict[str, int] = {}  # follower → number of kills answered
    begun: list[tuple[str, int, int]] = []  # follower, kills answered when claimed, kills answered when begun
    races = 0

    async def sender() -> None:
        nonlocal races
        while races < 2_500:
            watch, follower = rng.choice(watches), rng.choice(FOLLOWERS)
            if on.get(follower):
                await asyncio.sleep(0)
                continue  # Postgres' guards would not let it be claimed
            races += 1
            claimed = order(killing, watch, follower)
            at_claim = answered.get(follower, 0)
            for _ in range(rng.randrange(4)):  # in line, connecting
                await asyncio.sleep(rng.random() * 0.002)
            with watch.flight(claimed) as refused:
                if refused() is None:
                    begun.append((follower, at_claim, answered.get(follower, 0)))
                    await asyncio.sleep(rng.random() * 0.002)

    async def killer() -> None:
        while races < 2_500:
            follower = rng.choice(FOLLOWERS)
            on[follower] = on.get(follower, 0) + 1
            await killing.pull(follower)
            await killing.switch.barrier(killing.tenant_id, follower_id=follower)
            answered[follower] = answered.get(follower, 0) + 1
            on[follower] -= 1

    await asyncio.gather(*(sender() for _ in range(40)), *(killer() for _ in range(3)))
    assert [b for b in begun if b[1] != b[2]] == []  # none was claimed before an answer and begun after it
    assert sum(answered.values()) > 20
    assert len(begun) > 500

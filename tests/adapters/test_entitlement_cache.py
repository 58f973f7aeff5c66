"""What tenants may use is never known wrongly for longer than a second, whatever is lost, late or away."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.entitlement_cache import LIFETIME_MS, EntitlementCache
from adapters.kill.channel import open_redis
from adapters.relay import Message
from domain.entitlements import EVERYTHING, NOTHING, Granted
from domain.errors import NotEntitled, StoreUnavailable
from domain.offers import allows
from settings import Settings

OLD, NEW = Granted(NOTHING, "core", "past_due"), Granted(EVERYTHING, "pro", "active")


@dataclass
class Truth:
    """What Postgres says: read at once, and answered when `gate` is open."""

    now: Granted = OLD
    reads: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def of(self, tenant_id: str) -> Granted:
        self.reads += 1
        found = self.now
        self.reading.set()
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")
        return found

    async def require(self, tenant_id: str, entitlement: str, need: Any) -> None:
        if not allows((await self.of(tenant_id)).entitlements, entitlement, need):
            raise NotEntitled(entitlement, "lacks", [])


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    opened = open_redis(settings.redis)
    yield opened
    await opened.aclose()


@pytest.fixture
def truth() -> Truth:
    return Truth()


@pytest.fixture
def tenant() -> str:
    return str(uuid.uuid4())


def cache_of(redis: Redis, truth: Truth, **more: Any) -> EntitlementCache:
    return EntitlementCache(redis, truth, **{"timeout_s": 2.0, **more})


def key_of(tenant: str) -> str:
    return f"vanta:entitled:{{{tenant}}}"


async def redis_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_it_is_read_once_for_all_processes_and_kept_whole(redis: Redis, truth: Truth, tenant: str) -> None:
    truth.now = NEW
    assert [await cache_of(redis, truth).of(tenant) for _ in range(3)] == [NEW] * 3
    assert truth.reads == 1


async def test_a_change_that_is_told_of_counts_at_once(redis: Redis, truth: Truth, tenant: str) -> None:
    here, there = cache_of(redis, truth), cache_of(redis, truth)
    assert await here.of(tenant) == OLD
    truth.now = NEW
    await there.forget(tenant)
    assert await here.of(tenant) == NEW


async def test_a_change_that_nobody_tells_of_counts_within_a_second(redis: Redis, truth: Truth, tenant: str) -> None:
    cache = cache_of(redis, truth)
    assert await cache.of(tenant) == OLD
    truth.now, changed = NEW, time.monotonic()
    while await cache.of(tenant) == OLD:
        await asyncio.sleep(0.01)
    assert time.monotonic() - changed < 1


async def test_what_is_kept_is_counted_from_before_it_was_read(redis: Redis, truth: Truth, tenant: str) -> None:
    truth.gate.clear()
    asking = asyncio.create_task(cache_of(redis, truth).of(tenant))
    await truth.reading.wait()
    read_at = await redis_ms(redis)
    truth.gate.set()
    await asking
    assert read_at - 100 < await redis.pexpiretime(key_of(tenant)) - LIFETIME_MS <= read_at


async def test_what_was_read_before_a_change_is_not_kept_after_it(redis: Redis, truth: Truth, tenant: str) -> None:
    truth.gate.clear()
    asking = asyncio.create_task(cache_of(redis, truth).of(tenant))
    await truth.reading.wait()
    truth.now = NEW
    await cache_of(redis, truth).forget(tenant)
    truth.gate.set()
    assert await asking == OLD  # it asked before
    assert await cache_of(redis, truth).of(tenant) == NEW


async def test_who_has_just_paid_is_not_refused_by_what_is_kept(redis: Redis, truth: Truth, tenant: str) -> None:
    cache = cache_of(redis, truth)
    with pytest.raises(NotEntitled):
        await cache.require(tenant, "replay", need=True)
    truth.now = NEW
    await cache.require(tenant, "replay", need=True)


async def test_an_error_is_not_kept(redis: Redis, truth: Truth, tenant: str) -> None:
    truth.away = True
    with pytest.raises(StoreUnavailable):
        await cache_of(redis, truth).of(tenant)
    truth.away = False
    assert await cache_of(redis, truth).of(tenant) == OLD


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"v": 2}', b'{"v": 1, "entitlements": 3}', b"\xff"])
async def test_what_another_release_has_kept_is_not_read(redis: Redis, truth: Truth, tenant: str, value: bytes) -> None:
    await redis.set(key_of(tenant), value, px=60_000)
    assert await cache_of(redis, truth).of(tenant) == OLD


async def test_the_events_of_subscriptions_and_overrides_are_heard(redis: Redis, truth: Truth, tenant: str) -> None:
    cache = cache_of(redis, truth)
    for entity, action, heard in (
        ("subscription", "updated", True), ("tenant", "entitlement_override_set", True),
        ("tenant", "entitlement_override_ended", True), ("vault", "updated", False), ("tenant", "halted", False),
    ):  # fmt: skip
        await cache.of(tenant)
        body = {"tenant_id": tenant, "entity": entity, "action": action}
        await cache.heard([Message("s", body, "1"), Message("s", {"fo_id": "x"}, "dlx-1")])
        assert bool(await redis.exists(key_of(tenant))) is not heard, (entity, action)


async def test_without_redis_postgres_answers_and_is_remembered_as_shortly(
    settings: Settings, truth: Truth, tenant: str
) -> None:
    now = [100.0]
    nowhere = open_redis(settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:9/0")}))
    cache = cache_of(nowhere, truth, clock=lambda: now[0], pause_s=5.0)
    assert [await cache.of(tenant) for _ in range(3)] == [OLD] * 3
    assert truth.reads == 1
    truth.now = NEW
    now[0] += LIFETIME_MS / 1000 - 0.001
    assert await cache.of(tenant) == OLD
    now[0] += 0.002
    assert await cache.of(tenant) == NEW
    await cache.forget(tenant)
    truth.now = OLD
    assert await cache.of(tenant) == OLD
    await nowhere.aclose()


async def test_a_redis_that_does_not_answer_is_waited_for_once(settings: Settings, truth: Truth, tenant: str) -> None:
    held = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    deaf = open_redis(settings.redis.model_copy(update={"url": SecretStr(f"redis://127.0.0.1:{port}/0")}))
    cache = cache_of(deaf, truth, timeout_s=0.05, pause_s=60.0)
    began = time.monotonic()
    for _ in range(20):
        assert await cache.of(tenant) == OLD
    assert time.monotonic() - began < 1
    held.set()
    await deaf.aclose()
    server.close()

"""Quotas in a real Redis, and without one."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.kill.channel import open_redis
from adapters.limits import Limiter
from domain.errors import LimiterUnavailable
from domain.rate_limits import Bucket, LocalLimits, Quota, RouteClass
from settings import Settings


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    opened = open_redis(settings.redis)
    yield opened
    await opened.aclose()


def _limiter(redis: Redis, **more: float) -> Limiter:
    return Limiter(redis, **{"timeout_s": 2.0, "patience_s": 2.0, "pause_s": 60.0, **more})  # type: ignore[arg-type]


def _buckets(*limits: int) -> list[Bucket]:
    scope = uuid.uuid4().hex
    return [Bucket(f"b{i}", f"test:{{{scope}}}:{i}", Quota(limit, 3_600)) for i, limit in enumerate(limits)]


async def test_redis_reckons_as_the_domain_does(redis: Redis) -> None:
    limiter, local, buckets = _limiter(redis), LocalLimits(lambda: 1_000.0), _buckets(7, 3)
    for _ in range(5):
        theirs, ours = await limiter.take(RouteClass.READ, buckets), local.take(buckets)
        for one, other in zip(theirs, ours, strict=True):
            assert (one.allowed, one.remaining) == (other.allowed, other.remaining)
            assert one.reset_s == pytest.approx(other.reset_s, abs=30)
            assert one.retry_after_s == pytest.approx(other.retry_after_s, abs=30)


async def test_of_many_at_once_exactly_the_quota_is_let_in(redis: Redis) -> None:
    limiter, buckets = _limiter(redis), _buckets(20)
    found = await asyncio.gather(*(limiter.take(RouteClass.READ, buckets) for _ in range(100)))
    assert sum(one.allowed for (one,) in found) == 20


async def test_what_is_kept_goes_away_by_itself(redis: Redis) -> None:
    buckets = _buckets(60)
    await _limiter(redis).take(RouteClass.READ, buckets)
    assert 0 < await redis.pttl(buckets[0].key) <= 60_001


async def test_one_request_is_one_round_trip(redis: Redis) -> None:
    limiter = _limiter(redis)
    await limiter.take(RouteClass.READ, _buckets(5, 5))  # loads the script
    await redis.config_resetstat()
    await limiter.take(RouteClass.READ, _buckets(5, 5))
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1


def _away(settings: Settings) -> Redis:
    return open_redis(settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:9/0")}))


async def test_without_redis_reads_are_counted_here_orders_refused_and_kills_let_in(settings: Settings) -> None:
    limiter, buckets = _limiter(_away(settings)), _buckets(2)
    allowed = [(await limiter.take(RouteClass.READ, buckets))[0].allowed for _ in range(3)]
    assert allowed == [True, True, False]
    with pytest.raises(LimiterUnavailable):
        await limiter.take(RouteClass.ORDER_ENTRY, buckets)
    for _ in range(5):
        assert await limiter.take(RouteClass.KILL, buckets) == []


async def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone() -> None:
    connected = 0

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = Redis(port=port)
    now = 0.0
    limiter = Limiter(redis, timeout_s=0.05, patience_s=0.05, pause_s=1, clock=lambda: now)
    started = asyncio.get_running_loop().time()
    for _ in range(50):
        await limiter.take(RouteClass.READ, _buckets(5))
    assert asyncio.get_running_loop().time() - started < 1  # 50 that each waited would take 2.5 s
    assert connected == 1
    now = 1.1
    await asyncio.gather(*(limiter.take(RouteClass.READ, _buckets(5)) for _ in range(10)))
    assert connected == 2  # one asks again for all
    await redis.aclose()
    server.close()


async def test_after_redis_has_come_back_it_counts_again(redis: Redis, settings: Settings) -> None:
    now, buckets = 0.0, _buckets(5)
    limiter = Limiter(redis, timeout_s=2, patience_s=2, pause_s=1, clock=lambda: now)
    script, limiter._script = limiter._script, _away(settings).register_script("return 1")
    with pytest.raises(LimiterUnavailable):
        await limiter.take(RouteClass.ORDER_ENTRY, buckets)
    limiter._script = script
    with pytest.raises(LimiterUnavailable):
        await limiter.take(RouteClass.ORDER_ENTRY, buckets)  # not asked yet
    now = 1.1
    assert (await limiter.take(RouteClass.ORDER_ENTRY, buckets))[0].remaining == 4

"""Who holds an Idempotency-Key and what was answered under it, on a real Valkey and a real Postgres."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.idempotency import KEPT, MOST_BYTES, PREFIX, Answers, Claim, InRedis, Keeper
from adapters.kill.channel import open_redis
from adapters.store.answers import AnswerStore
from adapters.store.database import Database
from adapters.store.registry import Registry
from domain.errors import IdempotencyKeyReused, RequestInFlight, StoreUnavailable
from domain.requests import Answer, Asked, owned_key
from settings import Settings
from tests.adapters.store.conftest import box, database, registry, tenant
from tests.conftest import owner_dsn

__all__ = ["box", "database", "registry", "tenant"]

LEASE = timedelta(seconds=60)
MADE = Answer(201, b'{"a": "\xc3\xa9\\n"}\n{}', "application/json", "/v1/vaults/V_1")
NOBODY = "127.0.0.1:9"


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    opened = open_redis(settings.redis)
    yield opened
    await opened.aclose()


@pytest.fixture
async def away(settings: Settings) -> AsyncIterator[Redis]:
    opened = open_redis(settings.redis.model_copy(update={"url": SecretStr(f"redis://{NOBODY}/0")}))
    yield opened
    await opened.aclose()


@pytest.fixture(params=["redis", "postgres"])
def keeper(request: pytest.FixtureRequest, redis: Redis, database: Database) -> Keeper:
    return InRedis(redis) if request.param == "redis" else AnswerStore(database)


@pytest.fixture
def asked(tenant: str) -> Asked:
    return Asked(tenant, "user:ann", "create_vault", "k", "f1")


async def test_the_first_holds_the_key_and_a_repeat_is_told_what_became_of_it(keeper: Keeper, asked: Asked) -> None:
    assert await keeper.reserve(asked, "t1", LEASE) is None
    assert await keeper.reserve(replace(asked, fingerprint="f2"), "t2", LEASE) == ("f1", None)
    await keeper.complete(asked, "t1", MADE, KEPT)
    assert await keeper.reserve(asked, "t3", LEASE) == ("f1", MADE)
    bare = replace(asked, key="bare")
    await keeper.reserve(bare, "t4", LEASE)
    await keeper.complete(bare, "t4", Answer(200, b"", "text/plain"), KEPT)
    assert await keeper.reserve(bare, "t5", LEASE) == ("f1", Answer(200, b"", "text/plain"))


async def test_a_key_is_one_tenants_one_callers_and_one_routes(
    keeper: Keeper, asked: Asked, registry: Registry
) -> None:
    other = str(uuid.uuid4())
    await registry.ensure_tenant(other, "Other", actor="user:test")
    assert await keeper.reserve(asked, "t", LEASE) is None
    for change in ({"tenant_id": other}, {"caller": "user:bob"}, {"route": "update_vault"}, {"key": "k2"}):
        assert await keeper.reserve(replace(asked, **change), "t", LEASE) is None, change


async def test_a_key_that_was_let_go_is_free_also_for_something_else(keeper: Keeper, asked: Asked) -> None:
    await keeper.reserve(asked, "t1", LEASE)
    await keeper.release(asked, "t1")
    assert await keeper.reserve(replace(asked, fingerprint="f2"), "t2", LEASE) is None


async def test_what_is_not_ones_own_is_neither_let_go_nor_answered(keeper: Keeper, asked: Asked) -> None:
    await keeper.reserve(asked, "t1", LEASE)
    await keeper.release(asked, "t2")
    await keeper.complete(asked, "t2", MADE, KEPT)
    assert await keeper.reserve(asked, "t3", LEASE) == ("f1", None)
    await keeper.complete(asked, "t1", MADE, KEPT)
    await keeper.release(asked, "t1")
    assert await keeper.reserve(asked, "t4", LEASE) == ("f1", MADE)


async def test_a_process_that_died_frees_its_keys_by_their_lease(keeper: Keeper, asked: Asked) -> None:
    assert await keeper.reserve(asked, "dead", timedelta(milliseconds=50)) is None
    async with asyncio.timeout(5):
        while await keeper.reserve(asked, "next", LEASE) is not None:
            await asyncio.sleep(0.01)
    await keeper.complete(asked, "dead", replace(MADE, status=200), KEPT)
    assert await keeper.reserve(asked, "third", LEASE) == ("f1", None)


async def test_of_many_at_once_one_holds_the_key(keeper: Keeper, asked: Asked) -> None:
    found = await asyncio.gather(*(keeper.reserve(asked, f"t{n}", LEASE) for n in range(40)))
    assert found.count(None) == 1
    assert found.count(("f1", None)) == 39


async def test_what_a_repeat_gets(redis: Redis, database: Database, asked: Asked) -> None:
    answers = Answers(redis, AnswerStore(database), lease=LEASE)
    claim = await answers.claim(asked, guarded=False)
    assert isinstance(claim, Claim)
    with pytest.raises(RequestInFlight):
        await answers.claim(asked, guarded=False)
    with pytest.raises(IdempotencyKeyReused):
        await answers.claim(replace(asked, fingerprint="f2"), guarded=False)
    await answers.complete(claim, MADE)
    assert await answers.claim(asked, guarded=True) == MADE
    with pytest.raises(IdempotencyKeyReused):
        await answers.claim(replace(asked, fingerprint="f2"), guarded=False)


async def test_an_answer_that_is_too_large_is_not_kept(redis: Redis, database: Database, asked: Asked) -> None:
    answers = Answers(redis, AnswerStore(database), lease=LEASE)
    claim = await answers.claim(asked, guarded=False)
    assert isinstance(claim, Claim)
    await answers.complete(claim, replace(MADE, body=b"x" * (MOST_BYTES + 1)))
    assert isinstance(await answers.claim(asked, guarded=False), Claim)


async def test_without_redis_postgres_keeps_what_moves_money_and_nobody_the_rest(
    away: Redis, database: Database, asked: Asked
) -> None:
    answers = Answers(away, AnswerStore(database), lease=LEASE)
    assert await answers.claim(asked, guarded=False) is None
    claim = await answers.claim(asked, guarded=True)
    assert isinstance(claim, Claim)
    with pytest.raises(RequestInFlight):
        await answers.claim(asked, guarded=True)
    await answers.complete(claim, MADE)
    assert await answers.claim(asked, guarded=True) == MADE


async def test_while_redis_is_away_one_request_at_a_time_finds_that_out(
    away: Redis, database: Database, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers(away, AnswerStore(database), lease=LEASE)
    for _ in range(20):
        assert await answers.claim(asked, guarded=False) is None
    assert len([record for record in caplog.records if record.name == "vanta.idempotency"]) == 1


async def test_without_either_what_moves_money_is_refused_and_nothing_is_lost_silently(
    away: Redis, settings: Settings, asked: Asked
) -> None:
    nobody = Database(settings.postgres.model_copy(update={"dsn": SecretStr(f"postgresql://u:p@{NOBODY}/x")}))
    answers = Answers(away, AnswerStore(nobody), lease=LEASE)
    with pytest.raises(StoreUnavailable):
        await answers.claim(asked, guarded=True)
    lost = Claim(asked, "t", InRedis(away))
    await answers.complete(lost, MADE)
    await answers.release(lost)
    await nobody.close()


async def test_the_sweep_takes_what_has_expired_and_nothing_else(
    database: Database, settings: Settings, asked: Asked
) -> None:
    store, kept = AnswerStore(database), replace(asked, key="kept")
    for one in (asked, kept):
        await store.reserve(one, "t", LEASE)
        await store.complete(one, "t", MADE, KEPT)
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings)) as owner:
        await owner.execute(
            "UPDATE idempotency_answers SET expires_at = now() WHERE tenant_id = %s AND key = 'k'", [asked.tenant_id]
        )
    assert await store.sweep() >= 1
    async with database.cursor(asked.tenant_id) as cursor:
        await cursor.execute("SELECT key FROM idempotency_answers WHERE is_mine(tenant_id)")
        assert [row["key"] for row in await cursor.fetchall()] == ["kept"]


async def test_an_answer_is_kept_for_a_day(redis: Redis, asked: Asked) -> None:
    keeper = InRedis(redis)
    await keeper.reserve(asked, "t", LEASE)
    before = {name async for name in redis.scan_iter(f"{PREFIX}*")}
    assert max([await redis.ttl(name) for name in before]) > 0
    await keeper.complete(asked, "t", MADE, KEPT)
    longest = max([await redis.ttl(name) for name in before])
    assert 86_300 < longest <= 86_400


def test_two_users_keys_are_two_keys_whatever_they_are_called() -> None:
    owned = [owned_key("user:ann", "k"), owned_key("user:ann k", "k"), owned_key("user:bob", "k"), "queue:k"]
    assert len(set(owned)) == len(owned)

"""Quotas at the API: who is refused, who is not, and what every answer says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.kill.channel import open_redis
from api.app import create_app, open_services
from api.limits import OPERATIONS, UNLIMITED
from api.services import Services
from domain.kills import KillAcknowledgement
from domain.rate_limits import RouteClass
from settings import Settings
from tests.api.conftest import SCOPES, Caller, problem, serve


def _limited(settings: Settings, **limits: int) -> Settings:
    return settings.model_copy(update={"limits": settings.limits.model_copy(update={"window_s": 3_600, **limits})})


def _without_redis(settings: Settings) -> Settings:
    redis = settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:9/0")})
    return settings.model_copy(update={"redis": redis})


class _Unheard:
    """Kills that no sender has to hear of, as there is none in these tests."""

    async def barrier(self, *_args: Any, **_scope: Any) -> KillAcknowledgement:
        return KillAcknowledgement(None, 0, 0, "redis", 0)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings) as services:
        yield replace(services, kills=_Unheard())


@asynccontextmanager
async def _api(settings: Settings, caller: Caller) -> AsyncIterator[Caller]:
    """The caller at an API with other settings."""
    async with serve(settings, open_services=_opened) as http:
        http.headers.update(caller.only(*SCOPES))
        yield replace(caller, http=http)


def test_every_operation_has_a_class(settings: Settings) -> None:
    contract = create_app(settings).openapi()
    found = {op["operationId"] for methods in contract["paths"].values() for op in methods.values()}
    assert found - UNLIMITED == set(OPERATIONS)


async def test_every_answer_tells_the_callers_quotas(settings: Settings, caller: Caller) -> None:
    async with _api(_limited(settings, read_user=3, read_tenant=5), caller) as limited:
        answer = await limited.get("/v1/vaults")
        assert answer.headers["ratelimit-policy"] == '"read-tenant";q=5;w=3600, "read-user";q=3;w=3600'
        assert answer.headers["ratelimit"] == '"read-tenant";r=4;t=720, "read-user";r=2;t=1200'
        missing = await limited.get("/v1/vaults/V_none")
        assert '"read-user";r=1;' in missing.headers["ratelimit"]
        await limited.get("/v1/vaults")
        refused = await limited.get("/v1/vaults")
        document = problem(refused, 429, "rate-limited")
        assert document["violated_policies"] == ["read-user"]
        assert 1_190 < int(refused.headers["retry-after"]) <= 1_200
        assert '"read-user";r=0;' in refused.headers["ratelimit"]
        assert "ratelimit" not in (await limited.get("/healthz")).headers


async def test_a_flood_hurts_its_sender_alone(settings: Settings, caller: Caller, stranger: Caller) -> None:
    async with _api(_limited(settings, read_user=5, read_tenant=8), caller) as limited:
        for _ in range(20):
            await limited.get("/v1/vaults")
        problem(await limited.get("/v1/vaults"), 429, "rate-limited")
        other = {"Authorization": stranger.http.headers["Authorization"]}
        assert (await limited.http.get("/v1/vaults", headers=other)).status_code == 200
        colleague = {"Authorization": f"Bearer {caller.token(SCOPES, subject='colleague')}"}
        assert (await limited.http.get("/v1/vaults", headers=colleague)).status_code == 200
        assert (await limited.post("/v1/vaults", {"label": "Beta"})).status_code == 201


async def test_users_of_one_tenant_share_its_quota(settings: Settings, caller: Caller) -> None:
    async with _api(_limited(settings, read_user=5, read_tenant=8), caller) as limited:
        answers = []
        for subject in ("a", "b"):
            who = {"Authorization": f"Bearer {caller.token(SCOPES, subject=subject)}"}
            answers += [(await limited.http.get("/v1/vaults", headers=who)).status_code for _ in range(5)]
    assert answers == [200] * 8 + [429] * 2


async def test_kills_pass_when_writes_are_used_up(settings: Settings, caller: Caller) -> None:
    vault_id = await caller.vault()
    hook = {"label": "Bob", "webhook": {"url": "https://follower.example/"}}
    follower = (await caller.post(f"/v1/vaults/{vault_id}/followers", hook)).json()["follower_id"]
    async with _api(_limited(settings, write_user=1, order_entry_user=1), caller) as limited:
        path = f"/v1/followers/{follower}"
        assert (await limited.patch(path, {"scale": "0.5"})).status_code == 200
        problem(await limited.patch(path, {"scale": "0.6"}), 429, "rate-limited")
        killed = await limited.patch(path, {"kill_switch": True})
        assert killed.status_code == 200, killed.text
        assert '"kill-user"' in killed.headers["ratelimit"]
        overlay = f"/v1/vaults/{vault_id}/overlay"
        assert (await limited.post(overlay, {"kind": "halt", "level": "halt_opens"})).status_code == 201
        problem(await limited.post(overlay, {"kind": "boost", "ttl_minutes": 60}), 429, "rate-limited")
        halt = {"scope": "tenant", "level": "halt_all", "reason": "test"}
        assert (await limited.post("/v1/halts", halt)).status_code == 201


async def test_without_redis_reads_go_on_orders_are_refused_and_kills_work(settings: Settings, caller: Caller) -> None:
    vault_id = await caller.vault()
    away = _without_redis(_limited(settings, read_user=3))
    order = {"vault_id": vault_id, "symbol": "AAPL", "side": "buy", "qty": "1"}
    before = await caller.counts()
    async with _api(away, caller) as limited:
        statuses = [(await limited.get("/v1/vaults")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await limited.post("/v1/manager-orders", order)
        problem(refused, 503, "limiter-unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert await caller.counts() == before
        halt = {"scope": "tenant", "level": "halt_all", "reason": "test"}
        assert (await limited.post("/v1/halts", halt)).status_code == 201


@pytest.mark.parametrize("kind", sorted(RouteClass))
def test_every_class_has_its_rates(settings: Settings, kind: RouteClass) -> None:
    assert settings.limits.rates()[kind].user.limit > 0


@pytest.mark.parametrize("redis", [True, False])
async def test_callers_without_a_name_are_limited_by_address(settings: Settings, caller: Caller, redis: bool) -> None:
    limited = _limited(settings, auth_address=2, window_s=1_000 + redis)
    async with _api(limited if redis else _without_redis(limited), caller) as api:
        await _forget(settings)
        answers = [await api.http.post("/v1/auth/login", content=b"not read") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [415, 415, 429, 429]
    assert problem(answers[3], 429, "rate-limited")["violated_policies"] == ["auth-address"]
    assert '"auth-address";r=1;' in answers[0].headers["ratelimit"]


async def _forget(settings: Settings) -> None:
    """What other tests have sent from this address."""
    redis = open_redis(settings.redis)
    async for key in redis.scan_iter("vanta:limit:{127.0.0.1}:*"):
        await redis.delete(key)
    await redis.aclose()

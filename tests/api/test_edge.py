"""What surrounds every request: ids, headers, metrics, health, and failures that are nobody's fault or ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app, open_services
from api.readiness import Readiness
from api.services import Services
from settings import Settings
from tests.api.conftest import Caller, problem, serve


async def test_a_request_id_is_kept_when_it_is_plain_and_made_otherwise(caller: Caller) -> None:
    kept = await caller.http.get("/healthz", headers={"X-Request-Id": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    for given in ("a b", "x" * 65, '"><script>'):
        made = await caller.http.get("/healthz", headers={"X-Request-Id": given})
        assert len(made.headers["x-request-id"]) == 32


async def test_answers_are_not_stored_sniffed_or_framed(caller: Caller) -> None:
    for path in ("/v1/vaults", "/nowhere"):
        headers = (await caller.http.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_metrics_count_by_route_template_and_not_by_id(client: httpx.AsyncClient, caller: Caller) -> None:
    await caller.get("/v1/vaults/V_one")
    await caller.get("/v1/vaults/V_two")
    await caller.get("/no/such/path")
    text = (await client.get("/metrics")).text
    assert 'vanta_http_requests_total{method="GET",route="/v1/vaults/{vault_id}",status="404"}' in text
    assert 'route="unmatched",status="404"' in text
    assert "V_one" not in text
    assert "/no/such" not in text


class _Broken:
    """Fails as no code expects."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("secret detail of the inside")


async def test_a_bug_is_a_problem_without_a_trace_of_the_inside(settings: Settings, caller: Caller) -> None:
    @asynccontextmanager
    async def opened(given: Settings) -> AsyncIterator[Services]:
        async with open_services(given) as services:
            broken: Any = _Broken()
            yield replace(services, registry=broken, reads=broken, engine=broken)

    async with serve(settings, open_services=opened) as http:
        answer = await http.get("/v1/manager-orders", headers=caller.only("orders:read"))
        problem(answer, 500, "internal-error")
        assert "secret detail" not in answer.text
        assert 'status="500"' in (await http.get("/metrics")).text


def _away(settings: Settings) -> Settings:
    """Every dependency at a port where nobody listens."""
    nobody = "127.0.0.1:9"
    return settings.model_copy(
        update={
            "postgres": settings.postgres.model_copy(update={"dsn": SecretStr(f"postgresql://u:p@{nobody}/x")}),
            "temporal": settings.temporal.model_copy(update={"address": nobody}),
            "redis": settings.redis.model_copy(update={"url": SecretStr(f"redis://{nobody}/0")}),
            "nats": settings.nats.model_copy(update={"url": SecretStr(f"nats://{nobody}")}),
            "s3": settings.s3.model_copy(update={"endpoint": f"http://{nobody}"}),
        }
    )


async def test_the_api_starts_and_says_so_while_everything_is_away(settings: Settings, caller: Caller) -> None:
    async with serve(_away(settings)) as http:
        assert (await http.get("/healthz")).json() == {"status": "alive"}
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        body = answer.json()
        assert body["status"] == "unready"
        assert {name: found["ok"] for name, found in body["dependencies"].items()} == dict.fromkeys(
            ("postgres", "temporal", "redis", "nats", "s3", "calendars"), False
        )
        vaults = await http.get("/v1/vaults", headers=caller.only("vault:read"))
        problem(vaults, 503, "database-unavailable")


async def test_every_dependency_of_the_stack_is_ready(settings: Settings) -> None:
    async with serve(settings) as http:
        answer = await http.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ready"


async def test_an_order_without_temporal_is_503_and_leaves_no_row(settings: Settings, caller: Caller) -> None:
    order = {"vault_id": await caller.vault(), "symbol": "AAPL", "side": "buy", "qty": "1"}
    before = await caller.counts()
    alone = settings.model_copy(update={"temporal": _away(settings).temporal})
    async with serve(alone) as http:
        headers = {**caller.only("orders:write"), "Idempotency-Key": "k"}
        problem(await http.post("/v1/manager-orders", json=order, headers=headers), 503, "engine-unavailable")
        ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert [name for name, found in ready.json()["dependencies"].items() if not found["ok"]] == ["temporal"]
    assert await caller.counts() == before


async def test_a_dependency_that_hangs_is_given_up_and_asked_once_for_all() -> None:
    asked = 0

    async def hangs() -> None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    async def answers() -> None: ...

    readiness = Readiness({"slow": hangs, "quick": answers}, frozenset({"quick"}), timeout_s=0.05)
    results = await asyncio.gather(*(readiness.check() for _ in range(5)))
    assert {(found["slow"].ok, found["quick"].ok) for found in results} == {(False, True)}
    assert asked == 1


async def test_a_browser_of_a_listed_origin_may_read_the_answer(settings: Settings) -> None:
    opened = settings.api.model_copy(update={"cors_origins": ["https://app.example"]})
    async with serve(settings.model_copy(update={"api": opened})) as http:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            answer = await http.get("/healthz", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed


# What these do is said by their path alone.
BODILESS = {
    "keep_subscription", "reconcile_vault", "resume_subscription", "rotate_webhook_secret", "test_credential",
    "test_webhook",
}  # fmt: skip


def test_the_contract_resolves_and_names_every_operation_once(settings: Settings) -> None:
    contract = create_app(settings).openapi()
    schemas = contract["components"]["schemas"]

    def refs(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "$ref":
                    yield value
                else:
                    yield from refs(value)
        elif isinstance(node, list):
            for value in node:
                yield from refs(value)

    missing = {ref for ref in refs(contract) if ref.rpartition("/")[2] not in schemas}
    assert missing == set()
    operations = [op["operationId"] for methods in contract["paths"].values() for op in methods.values()]
    assert len(set(operations)) == len(operations)
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            assert operation["tags"], (method, path)
            with_body = method in {"post", "patch", "put"} and operation["operationId"] not in BODILESS
            assert ("requestBody" in operation) == with_body, (method, path)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_contract_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200

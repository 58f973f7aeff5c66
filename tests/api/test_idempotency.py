"""Idempotency-Key at the gateway: which operations ask for it, what a repeat gets, and what is kept of an answer."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr

from adapters.idempotency import PREFIX, Answers
from adapters.kill.channel import open_redis
from adapters.store.answers import AnswerStore
from api.app import create_app
from api.repeats import CHANGING, RULES, needs_key, rule_of
from api.services import Services
from domain.access import Role
from settings import Settings
from temporal.orders import EngineUnavailable
from tests.api.conftest import SCOPES, Caller, FakeEngine, problem, serve

ORDERS = "/v1/manager-orders"
HOOK = {"label": "Bob", "webhook": {"url": "https://follower.example/"}}


def services_of(client: httpx.AsyncClient) -> Services:
    transport = cast("httpx.ASGITransport", client._transport)
    return cast("Services", cast("Any", transport.app)._state["services"])


@asynccontextmanager
async def with_parts(settings: Settings, caller: Caller, **parts: Any) -> AsyncIterator[Caller]:
    """The caller at an API whose services are those of `client` but for `parts`."""

    @asynccontextmanager
    async def opened(_settings: Settings) -> AsyncIterator[Services]:
        yield replace(services_of(caller.http), **parts)

    async with serve(settings, open_services=opened) as http:
        http.headers.update(caller.http.headers)
        yield replace(caller, http=http)


@asynccontextmanager
async def without_redis(settings: Settings, caller: Caller) -> AsyncIterator[Caller]:
    """Keys cannot be kept in Redis; requests are counted there all the same."""
    redis = open_redis(settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:9/0")}))
    answers = Answers(redis, AnswerStore(caller.database), lease=timedelta(seconds=60))
    async with with_parts(settings, caller, answers=answers) as there:
        yield there
    await redis.aclose()


async def an_order(caller: Caller, **changes: Any) -> dict[str, Any]:
    return {"vault_id": await caller.vault(), "symbol": "AAPL", "side": "buy", "qty": "10", **changes}


async def reached(engine: FakeEngine, orders: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(engine.admitted) < orders:
            await asyncio.sleep(0.01)


def _changing(settings: Settings) -> dict[str, tuple[str, dict[str, Any]]]:
    contract = create_app(settings).openapi()
    return {
        operation["operationId"]: (method.upper(), operation)
        for methods in contract["paths"].values()
        for method, operation in methods.items()
        if method.upper() in CHANGING
    }


def test_every_operation_that_changes_something_has_its_line_in_the_table(settings: Settings) -> None:
    assert set(_changing(settings)) == set(RULES)


def test_the_contract_asks_for_the_key_where_the_table_does(settings: Settings) -> None:
    for name, (method, operation) in _changing(settings).items():
        rule = rule_of(name)
        keys = [one["required"] for one in operation.get("parameters", ()) if one["name"] == "Idempotency-Key"]
        assert keys == ([needs_key(method, rule)] if rule.asked else []), name


def test_what_is_not_in_the_table_keeps_nothing() -> None:
    assert not rule_of("made_up_yesterday").kept


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/v1/vaults/V_x"), ("PATCH", "/v1/followers/F_x"), ("POST", "/v1/followers/F_x/webhook/test"),
     ("POST", "/v1/halts"), ("PUT", "/v1/followers/F_x/credentials/equities")],
)  # fmt: skip
async def test_no_post_and_no_patch_goes_without_a_key(caller: Caller, method: str, path: str) -> None:
    problem(await caller.http.request(method, path, json={}), 400, "idempotency-key-missing", "Idempotency-Key")
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await caller.http.request(method, path, json={}, headers=twice)
    problem(answer, 400, "idempotency-key-missing", "Idempotency-Key")


async def test_put_and_delete_may_go_without_but_not_with_a_bad_one(caller: Caller) -> None:
    path, body = f"/v1/vaults/{await caller.vault()}/nav", {"nav_usd": "5"}
    assert (await caller.http.put(path, json=body)).status_code == 200
    bad = await caller.http.put(path, json=body, headers={"Idempotency-Key": "a b"})
    problem(bad, 400, "idempotency-key-missing", "Idempotency-Key")
    headers = {"Idempotency-Key": "nav"}
    first = await caller.http.put(path, json=body, headers=headers)
    await caller.http.put(path, json={"nav_usd": "6"})
    repeat = await caller.http.put(path, json=body, headers=headers)
    assert (repeat.text, repeat.headers["idempotent-replay"]) == (first.text, "true")
    assert "idempotent-replay" not in first.headers
    assert (await caller.get(path.removesuffix("/nav"))).json()["nav_usd"] == "6"


async def test_a_repeat_gets_status_body_type_and_place_of_the_first(caller: Caller) -> None:
    first = await caller.post("/v1/vaults", {"label": "A", "nav_usd": "1"}, key="k")
    before = await caller.counts()
    repeat = await caller.post("/v1/vaults", {"nav_usd": "1", "label": "A"}, key="k")
    assert (repeat.status_code, repeat.content) == (first.status_code, first.content)
    for name in ("location", "content-type"):
        assert repeat.headers[name] == first.headers[name]
    assert repeat.headers["idempotent-replay"] == "true"
    assert repeat.headers["x-request-id"] != first.headers["x-request-id"]
    assert await caller.counts() == before


async def test_a_patch_that_is_repeated_late_does_not_undo_what_came_between(caller: Caller) -> None:
    path = f"/v1/vaults/{await caller.vault()}"
    first = await caller.patch(path, {"label": "Old"}, key="k")
    await caller.patch(path, {"label": "New"})
    repeat = await caller.patch(path, {"label": "Old"}, key="k")
    assert repeat.json() == first.json()
    assert (await caller.get(path)).json()["label"] == "New"


async def test_the_same_key_for_something_else_is_refused(caller: Caller) -> None:
    one, other = f"/v1/vaults/{await caller.vault()}", f"/v1/vaults/{await caller.vault()}"
    assert (await caller.patch(one, {"label": "A"}, key="k")).status_code == 200
    for path, body in ((one, {"label": "B"}), (other, {"label": "A"})):
        problem(await caller.patch(path, body, key="k"), 422, "idempotency-key-reused")
    assert (await caller.get(other)).json()["label"] == "Alpha"


async def test_two_users_of_a_tenant_who_send_the_same_key_do_not_meet(caller: Caller, engine: FakeEngine) -> None:
    body = await an_order(caller)
    bob = {"Authorization": f"Bearer {caller.token(SCOPES, subject='bob')}"}
    for path, name, what in (("/v1/vaults", "vault_id", {"label": "A"}), (ORDERS, "mo_id", body)):
        mine, his = await caller.post(path, what, key="k"), await caller.post(path, what, key="k", **bob)
        assert (mine.status_code, his.status_code) == (201, 201)
        assert mine.json()[name] != his.json()[name]
        assert "idempotent-replay" not in his.headers
    assert {order.actor for order in engine.admitted} == {"user:developer", "user:bob"}


async def test_a_repeat_beside_the_first_is_told_to_come_back(caller: Caller, engine: FakeEngine) -> None:
    body, engine.busy = await an_order(caller), asyncio.Event()
    first = asyncio.create_task(caller.post(ORDERS, body, key="k"))
    await reached(engine)
    beside = await caller.post(ORDERS, body, key="k")
    problem(beside, 409, "request-in-flight", "Idempotency-Key")
    assert int(beside.headers["retry-after"]) > 0
    problem(await caller.post(ORDERS, {**body, "qty": "11"}, key="k"), 422, "idempotency-key-reused")
    engine.busy.set()
    assert (await first).status_code == 201
    assert (await caller.post(ORDERS, body, key="k")).json() == (await first).json()
    assert len(engine.admitted) == 1


async def test_a_kill_is_not_turned_away_because_another_is_under_way(caller: Caller, settings: Settings) -> None:
    follower, entered, open_ = await caller.follower(), asyncio.Event(), asyncio.Event()
    real = services_of(caller.http).kills

    class _Slow:
        async def barrier(self, *args: Any, **scope: Any) -> Any:
            if not entered.is_set():
                entered.set()
                await open_.wait()
            return await real.barrier(*args, **scope)

    async with with_parts(settings, caller, kills=_Slow()) as there:
        path, body = f"/v1/followers/{follower}", {"kill_switch": True}
        first = asyncio.create_task(there.patch(path, body, key="k"))
        await asyncio.wait_for(entered.wait(), 10)
        assert (await there.patch(path, body, key="k")).status_code == 200
        open_.set()
        assert (await first).status_code == 200


async def test_a_refusal_is_not_kept(caller: Caller, engine: FakeEngine) -> None:
    vault_id = await caller.vault()
    path = f"/v1/vaults/{vault_id}"
    problem(await caller.patch(path, {"label": ""}, key="k"), 422, "invalid-input", "label")
    assert (await caller.patch(path, {"label": "Good"}, key="k")).status_code == 200
    reader = caller.only("vault:read")
    problem(await caller.patch(path, {"label": "B"}, key="r", **reader), 403, "insufficient-scope")
    assert (await caller.patch(path, {"label": "C"}, key="r")).status_code == 200
    kind = {"Content-Type": "text/plain"}
    problem(await caller.patch(path, {"label": "D"}, key="t", **kind), 415, "unsupported-media-type", "Content-Type")
    assert (await caller.patch(path, {"label": "D"}, key="t")).status_code == 200
    big = {"label": "x" * 300_000}
    problem(await caller.patch(path, big, key="b"), 413, "body-too-large", "body")
    assert (await caller.patch(path, {"label": "E"}, key="b")).status_code == 200


async def test_an_answer_that_was_not_reached_leaves_the_key_free(caller: Caller, engine: FakeEngine) -> None:
    body = await an_order(caller)
    for fault in (RuntimeError("a bug"), TimeoutError("too slow")):
        engine.error = fault
        problem(await caller.post(ORDERS, body, key="k"), 500, "internal-error")
    engine.error = None
    assert (await caller.post(ORDERS, body, key="k")).status_code == 201


async def test_a_request_that_was_cancelled_leaves_the_key_free(caller: Caller, engine: FakeEngine) -> None:
    body, engine.busy = await an_order(caller), asyncio.Event()
    first = asyncio.create_task(caller.post(ORDERS, body, key="k"))
    await reached(engine)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    engine.busy.set()
    again = await caller.post(ORDERS, body, key="k")
    assert again.status_code == 201
    assert {order.mo_id for order in engine.admitted} == {again.json()["mo_id"]}


async def test_a_client_that_left_finds_its_answer_at_the_repeat(caller: Caller, engine: FakeEngine) -> None:
    body = await an_order(caller)
    app = cast("Any", caller.http._transport).app
    request = caller.http.build_request("POST", ORDERS, json=body, headers={"Idempotency-Key": "k"})
    messages = [{"type": "http.request", "body": request.content}, {"type": "http.disconnect"}]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": ORDERS, "raw_path": ORDERS.encode(),
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("api.test", 80), "client": ("127.0.0.1", 1),
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }  # fmt: skip

    async def receive() -> Any:
        return messages.pop(0)

    async def send(_message: Any) -> None:
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="gone"):
        await app(scope, receive, send)
    repeat = await caller.post(ORDERS, body, key="k")
    assert (repeat.status_code, repeat.headers["idempotent-replay"]) == (201, "true")
    assert len(engine.admitted) == 1


async def test_an_answer_that_is_no_last_word_is_not_kept(caller: Caller, engine: FakeEngine) -> None:
    body = await an_order(caller)
    engine.error = EngineUnavailable("handed over", taken=True)
    assert (await caller.post(ORDERS, body, key="k")).status_code == 202
    engine.error = None
    assert (await caller.post(ORDERS, body, key="k")).status_code == 201


async def _everything_kept(caller: Caller) -> bytes:
    """All that the gateway holds of answers, in Redis and in its table."""
    redis = open_redis(caller.settings.redis)
    held: list[Any] = [await redis.get(name) or b"" async for name in redis.scan_iter(f"{PREFIX}*")]
    await redis.aclose()
    async with caller.database.cursor(caller.tenant_id) as cursor:
        await cursor.execute("SELECT a::text AS line FROM idempotency_answers a WHERE is_mine(tenant_id)")
        held += [row["line"].encode() for row in await cursor.fetchall()]
    return b"\n".join(held)


async def _secrets(caller: Caller) -> list[str]:
    """What is shown once, by each operation that shows any; each is repeated, too."""
    caller.http.headers.update((await caller.login(Role.OWNER)).headers)
    vault_id = await caller.vault()
    account = (await caller.post("/v1/service-accounts", {"name": "desk", "scopes": ["vault:read"]})).json()
    shown = []
    follower = None
    for path, body, field in (
        (f"/v1/vaults/{vault_id}/followers", HOOK, "signing_secret"),
        ("/v1/followers/{follower}/webhook/secret/rotate", None, "signing_secret"),
        ("/v1/invitations", {"email": "grace@fund.example", "role": "ops"}, "token"),
        (f"/v1/service-accounts/{account['account_id']}/keys", {}, "key"),
    ):
        for _ in range(2):
            answer = await caller.post(path.format(follower=follower), body, key=f"once-{field}")
            assert answer.is_success, answer.text
            follower = answer.json().get("follower_id", follower)
            shown += [answer.json()[field]] if answer.json()[field] else []
    return shown


async def test_no_secret_is_kept_at_the_gateway(caller: Caller, settings: Settings) -> None:
    shown = await _secrets(caller)
    async with without_redis(settings, caller) as there:
        shown += await _secrets(there)
    assert len(set(shown)) >= 8
    kept = await _everything_kept(caller)
    assert b"service-account" in kept or b"desk" in kept
    assert [secret for secret in shown if secret.removeprefix("whsec_").encode() in kept] == []


async def test_without_redis_a_repeat_of_an_order_is_answered_from_postgres(
    caller: Caller, settings: Settings, engine: FakeEngine
) -> None:
    async with without_redis(settings, caller) as there:
        body = await an_order(there)
        first = await there.post(ORDERS, body, key="k")
        repeat = await there.post(ORDERS, body, key="k")
        assert (repeat.status_code, repeat.content) == (201, first.content)
        assert (repeat.headers["idempotent-replay"], repeat.headers["location"]) == ("true", first.headers["location"])
        problem(await there.post(ORDERS, {**body, "qty": "11"}, key="k"), 422, "idempotency-key-reused")
    assert len(engine.admitted) == 1


async def test_without_redis_other_changes_still_act_once(caller: Caller, settings: Settings) -> None:
    async with without_redis(settings, caller) as there:
        answers = await asyncio.gather(*(there.post("/v1/vaults", {"label": "A"}, key="k") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["vault_id"] for answer in answers}) == 1
        path = f"/v1/vaults/{answers[0].json()['vault_id']}"
        assert (await there.patch(path, {"label": "B"}, key=uuid.uuid4().hex)).status_code == 200
    assert (await caller.counts())["vaults"] == 1

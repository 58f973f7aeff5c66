"""A follower's webhook over HTTP: tests of it, and new signing secrets, on a real receiver."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from domain import signing
from simulators.receiver import Behaviour, Receiver
from tests.api.conftest import Caller, problem

Owner = Callable[..., Awaitable[None]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


async def hooked(caller: Caller, receiver: Receiver, behaviour: Behaviour | None = None) -> tuple[str, str]:
    """A follower whose webhook is the receiver; its id and secret."""
    body = {"label": "Bob", "webhook": {"url": "https://follower.example/hook"}}
    made = (await caller.post(f"/v1/vaults/{await caller.vault()}/followers", body)).json()
    follower, secret = str(made["follower_id"]), str(made["signing_secret"])
    receiver.expect(follower, key=signing.parse_secret(secret), behaviour=behaviour)
    url = json.dumps(receiver.url(follower))
    await execute(
        caller, "UPDATE followers SET webhook = jsonb_set(webhook, '{url}', %s) WHERE follower_id = %s", url, follower
    )
    return follower, secret


async def execute(caller: Caller, statement: str, *values: Any) -> None:
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(statement, values)


async def try_out(caller: Caller, follower: str) -> dict[str, Any]:
    answer = await caller.post(f"/v1/followers/{follower}/webhook/test")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def rotate(caller: Caller, follower: str, key: str) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await caller.http.post(f"/v1/followers/{follower}/webhook/secret/rotate", headers=headers)


async def told(caller: Caller, follower: str) -> list[dict[str, Any]]:
    events = (await caller.get("/v1/audit-events", entity="follower", entity_id=follower)).json()["items"]
    return list(reversed(events))


async def test_a_test_is_signed_marked_and_makes_no_order(caller: Caller, receiver: Receiver) -> None:
    follower, _ = await hooked(caller, receiver)
    answer = await try_out(caller, follower)
    assert (answer["ok"], answer["code"], answer["http_status"], answer["enabled"]) == (True, "ack", 200, True)
    assert answer["re_enabled"] is False
    assert 0 <= answer["latency_ms"] < 2_000
    [got] = receiver.tests(follower)
    assert (got.delivery_id, got.processed) == (answer["delivery_id"], 0)
    assert all((r.vanta_valid, r.standard_valid) == (True, True) for r in got.receptions)
    body = json.loads(got.body)
    assert body["test"] is True
    assert body["follower_id"] == follower
    assert not {"symbol", "side", "qty", "qty_str"} & set(body)
    assert receiver.deliveries(follower) == []
    assert [event["action"] for event in await told(caller, follower)] == ["created", "webhook_tested"]


@pytest.mark.parametrize(
    ("behaviour", "code", "status"),
    [
        (Behaviour(kind="fail", status=503), "http_503", 503),
        (Behaviour(kind="fail", status=401), "http_401", 401),
        (Behaviour(kind="redirect"), "redirect", 307),
        (Behaviour(kind="drop"), "no_answer", None),
        (Behaviour(kind="hang"), "no_answer", None),
    ],
    ids=lambda given: getattr(given, "kind", str(given)),
)
async def test_what_was_wrong_is_told_and_a_disabled_endpoint_stays_so(
    caller: Caller, receiver: Receiver, behaviour: Behaviour, code: str, status: int | None
) -> None:
    follower, _ = await hooked(caller, receiver, behaviour)
    await execute(caller, "UPDATE followers SET endpoint_disabled_at = now() WHERE follower_id = %s", follower)
    answer = await try_out(caller, follower)
    assert (answer["ok"], answer["code"], answer["http_status"]) == (False, code, status)
    assert (answer["enabled"], answer["re_enabled"]) == (False, False)
    assert answer["detail"]


async def test_a_test_that_is_answered_brings_the_endpoint_back(caller: Caller, receiver: Receiver) -> None:
    follower, _ = await hooked(caller, receiver)
    await execute(
        caller,
        "UPDATE followers SET endpoint_disabled_at = now(), endpoint_disabled_reason = 'x', consecutive_failures = 20 "
        "WHERE follower_id = %s",
        follower,
    )
    answer = await try_out(caller, follower)
    assert (answer["enabled"], answer["re_enabled"]) == (True, True)
    assert (await caller.get(f"/v1/followers/{follower}")).json()["endpoint_disabled_at"] is None
    assert [event["action"] for event in await told(caller, follower)][-1] == "endpoint_enabled"


async def test_an_address_that_is_not_public_is_refused_for_tests_too(caller: Caller, receiver: Receiver) -> None:
    follower, _ = await hooked(caller, receiver)
    url = json.dumps("http://10.0.0.1/hook")
    await execute(
        caller, "UPDATE followers SET webhook = jsonb_set(webhook, '{url}', %s) WHERE follower_id = %s", url, follower
    )
    answer = await try_out(caller, follower)
    assert (answer["ok"], answer["code"]) == (False, "blocked_address")


async def test_tests_of_a_follower_go_one_at_a_time(caller: Caller, receiver: Receiver) -> None:
    follower, _ = await hooked(caller, receiver, Behaviour(delay_ms=300))
    path = f"/v1/followers/{follower}/webhook/test"
    answers = await asyncio.gather(*(caller.post(path) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    [refused, *_] = [answer for answer in answers if answer.status_code == 409]
    problem(refused, 409, "test-under-way", "follower_id")
    assert len(receiver.tests(follower)) == 1
    assert (await try_out(caller, follower))["ok"]


async def test_there_must_be_a_webhook_of_ones_own(caller: Caller, stranger: Caller, receiver: Receiver) -> None:
    follower, _ = await hooked(caller, receiver)
    for path in ("test", "secret/rotate"):
        full = f"/v1/followers/{follower}/webhook/{path}"
        headers = {"Idempotency-Key": "k"}
        problem(await stranger.http.post(full, headers=headers), 404, "not-found", "follower_id")
    shadow = await caller.post(f"/v1/vaults/{await caller.vault()}/followers", {"label": "Eve", "mode": "shadow"})
    path = f"/v1/followers/{shadow.json()['follower_id']}/webhook"
    problem(await caller.post(f"{path}/test"), 409, "no-webhook", "follower_id")
    problem(
        await caller.http.post(f"{path}/secret/rotate", headers={"Idempotency-Key": "k"}), 409, "no-webhook",
        "follower_id",
    )  # fmt: skip


async def test_old_and_new_secret_verify_for_a_day_and_then_the_new_one_only(
    caller: Caller, receiver: Receiver, owner_execute: Owner
) -> None:
    follower, old = await hooked(caller, receiver)
    answer = await rotate(caller, follower, "first")
    assert answer.status_code == 200, answer.text
    new = answer.json()["signing_secret"]
    assert (answer.json()["version"], new != old) == (2, True)
    assert len(signing.parse_secret(new)) == 32
    left = datetime.fromisoformat(answer.json()["old_valid_until"]) - datetime.now(UTC)
    assert 23.9 * 3600 < left.total_seconds() <= 24 * 3600
    assert await _accepted(caller, receiver, follower, old, new) == (True, True)
    expire = "UPDATE webhook_keys SET expires_at = now() WHERE key_ref = %s AND version = 1"
    await owner_execute(expire, f"whk/{follower}")
    assert await _accepted(caller, receiver, follower, old, new) == (False, True)


async def _accepted(caller: Caller, receiver: Receiver, follower: str, *secrets: str) -> tuple[bool, ...]:
    """Whether a receiver that knows just this secret accepts a delivery, by the library's check and by ours."""
    found = []
    for secret in secrets:
        receiver.expect(follower, key=signing.parse_secret(secret))
        answer = await try_out(caller, follower)
        [delivery] = [d for d in receiver.tests(follower) if d.delivery_id == answer["delivery_id"]]
        try:
            Webhook(secret).verify(delivery.body, delivery.headers)
            by_library = True
        except WebhookVerificationError:
            by_library = False
        assert answer["ok"] is by_library
        found.append(by_library)
    return tuple(found)


async def test_a_repeat_shows_the_same_secret_for_a_day_and_the_log_never_does(
    caller: Caller, receiver: Receiver, owner_execute: Owner
) -> None:
    follower, _ = await hooked(caller, receiver)
    first = await rotate(caller, follower, "once")
    repeat = await rotate(caller, follower, "once")
    assert (repeat.json(), repeat.headers["idempotent-replay"]) == (first.json(), "true")
    [event] = [e for e in await told(caller, follower) if e["action"] == "webhook_secret_rotated"]
    assert event["payload"]["version"] == 2
    assert "whsec_" not in json.dumps(await told(caller, follower))
    await owner_execute(
        "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE route = 'rotate_webhook_secret'"
    )
    later = (await rotate(caller, follower, "once")).json()
    assert (later["signing_secret"], later["version"]) == (None, 2)
    assert "not shown any more" in later["note"]
    bare = await caller.http.post(f"/v1/followers/{follower}/webhook/secret/rotate")
    problem(bare, 400, "idempotency-key-missing", "Idempotency-Key")


async def test_rotations_at_once_give_each_its_own_version_until_too_many_sign(
    caller: Caller, receiver: Receiver
) -> None:
    follower, _ = await hooked(caller, receiver)
    answers = await asyncio.gather(*(rotate(caller, follower, f"k{n}") for n in range(6)))
    done = [answer.json() for answer in answers if answer.status_code == 200]
    assert sorted(item["version"] for item in done) == [2, 3, 4, 5]
    [refused, _] = [answer for answer in answers if answer.status_code != 200]
    problem(refused, 409, "too-many-keys", "follower_id")
    newest = max(done, key=lambda item: item["version"])["signing_secret"]
    receiver.expect(follower, key=signing.parse_secret(newest))
    assert (await try_out(caller, follower))["ok"]

"""Broker credentials over HTTP: replaced, tested, shown, and never told."""

import logging
from typing import Any

import pytest

from domain.errors import VenueUnavailable
from tests.api.conftest import Caller, FakeBank, problem

OLD, NEW = "S3CRET-OLD-7755", "S3CRET-NEW-8866"


async def bridged(caller: Caller, secret: str = OLD, **terms: Any) -> str:
    account = {"venue": "alpaca", "key_id": "KEY-9431", "secret": secret, **terms}
    body = {"label": "Bob", "bridged_brokers": {"equities": account}}
    made = await caller.post(f"/v1/vaults/{await caller.vault()}/followers", body)
    assert made.status_code == 201, made.text
    return str(made.json()["follower_id"])


def path(follower: str, more: str = "") -> str:
    return f"/v1/followers/{follower}/credentials{more}"


async def put(caller: Caller, follower: str, *, key: str = "k", which: str = "equities", **changes: Any) -> Any:
    body = {"venue": "alpaca", "key_id": "KEY-9432", "secret": NEW, **changes}
    return await caller.http.put(path(follower, f"/{which}"), json=body, headers={"Idempotency-Key": key})


async def try_out(caller: Caller, follower: str) -> dict[str, Any]:
    answer = await caller.post(path(follower, "/equities/test"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def shown(caller: Caller, follower: str) -> dict[str, Any]:
    (item,) = (await caller.get(path(follower))).json()["items"]
    return dict(item)


async def told(caller: Caller, follower: str) -> list[dict[str, Any]]:
    events = await caller.get("/v1/audit-events", entity="credential", entity_id=f"cred/{follower}/alpaca")
    return list(reversed(events.json()["items"]))


@pytest.fixture(autouse=True)
def _fresh_bank(bank: FakeBank) -> None:
    bank.secret, bank.down = OLD, None


async def test_what_is_shown_is_venue_environment_status_and_since(caller: Caller) -> None:
    follower = await bridged(caller)
    item = await shown(caller, follower)
    assert item.pop("since")
    assert item == {
        "which": "equities", "cred_ref": f"cred/{follower}/alpaca", "venue": "alpaca", "environment": "paper",
        "status": "active", "reason": None, "words": "in use", "expires_at": None, "refreshes": False,
    }  # fmt: skip


async def test_a_refused_key_breaks_and_an_update_mends(caller: Caller, bank: FakeBank) -> None:
    follower = await bridged(caller)
    bank.secret = NEW
    tried = await try_out(caller, follower)
    assert (tried["ok"], tried["code"], tried["mended"]) == (False, "bad_credentials", False)
    assert (tried["credential"]["status"], tried["credential"]["reason"]) == ("broken", "bad_credentials")
    assert "the broker refuses the key" in tried["credential"]["words"]
    before = await shown(caller, follower)
    updated = (await put(caller, follower)).json()
    assert (updated["status"], updated["reason"]) == ("active", None)
    assert updated["since"] > before["since"]
    tried = await try_out(caller, follower)
    assert (tried["ok"], tried["words"]) == (True, "alpaca answers for the paper account")
    events = await told(caller, follower)
    assert [event["action"] for event in events] == ["tested", "broken", "updated", "tested"]
    assert events[2]["payload"]["was"] == "broken"


async def test_a_test_that_succeeds_mends_what_was_taken_for_broken(caller: Caller, bank: FakeBank) -> None:
    follower = await bridged(caller)
    bank.secret = "elsewhere"
    await try_out(caller, follower)
    bank.secret = OLD
    tried = await try_out(caller, follower)
    assert (tried["ok"], tried["mended"], tried["credential"]["status"]) == (True, True, "active")
    assert (await shown(caller, follower))["status"] == "active"
    assert [event["action"] for event in await told(caller, follower)] == ["tested", "broken", "tested", "mended"]


async def test_a_venue_that_is_down_says_nothing_of_the_key(caller: Caller, bank: FakeBank) -> None:
    follower = await bridged(caller)
    bank.down = VenueUnavailable("no_answer", "the venue does not answer")
    tried = await try_out(caller, follower)
    assert (tried["ok"], tried["code"], tried["words"]) == (False, "no_answer", "the venue does not answer")
    assert tried["credential"]["status"] == "active"


async def test_a_repeat_gets_the_same_answer_and_changes_nothing(caller: Caller) -> None:
    follower = await bridged(caller)
    first, again = await put(caller, follower), await put(caller, follower)
    assert first.json() == again.json()
    assert (first.headers.get("Idempotent-Replay"), again.headers["Idempotent-Replay"]) == (None, "true")
    assert len(await told(caller, follower)) == 1
    problem(await put(caller, follower, secret="another"), 422, "idempotency-key-reused")
    problem(
        await caller.http.put(path(follower, "/equities"), json={}), 400, "idempotency-key-missing", "Idempotency-Key"
    )


async def test_venue_and_environment_stay_as_orders_under_way_are_asked_for_there(caller: Caller) -> None:
    follower = await bridged(caller)
    problem(await put(caller, follower, environment="live"), 422, "invalid-input", "credential.environment")
    moved = await put(caller, follower, key="2", venue="coinbase")
    problem(moved, 422, "invalid-input", "credential.venue")
    problem(await put(caller, follower, key="3", venue="nowhere"), 422, "invalid-input", "credential.venue")
    problem(await put(caller, follower, key="4", which="crypto"), 409, "no-account", "follower_id")
    assert await told(caller, follower) == []


async def test_where_the_key_id_is_the_account_it_stays(caller: Caller) -> None:
    follower = await bridged(caller, venue="tradier")
    moved = await put(caller, follower, venue="tradier", key_id="ANOTHER")
    problem(moved, 422, "invalid-input", "credential.key_id")
    assert (await put(caller, follower, venue="tradier", key_id="KEY-9431")).status_code == 200
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE credentials SET sealed = 'x'")
    mended = await put(caller, follower, key="2", venue="tradier", key_id="ANOTHER")
    assert mended.status_code == 200, "nobody can tell any more, and nothing else helps"


async def test_a_refresh_token_needs_the_time_of_expiry(caller: Caller) -> None:
    follower = await bridged(caller)
    problem(await put(caller, follower, refresh_token="R3FRESH"), 422, "invalid-input", "credential.expires_at")
    at = "2030-01-31T12:00:00Z"
    updated = (await put(caller, follower, key="2", refresh_token="R3FRESH", expires_at=at)).json()
    assert (updated["expires_at"], updated["refreshes"]) == (at, True)


async def test_another_tenant_finds_no_such_follower(caller: Caller, stranger: Caller) -> None:
    follower = await bridged(caller)
    problem(await stranger.get(path(follower)), 404, "not-found", "follower_id")
    problem(await put(stranger, follower), 404, "not-found", "follower_id")
    problem(await stranger.post(path(follower, "/equities/test")), 404, "not-found", "follower_id")


async def test_reading_needs_one_scope_and_changing_the_other(caller: Caller) -> None:
    follower = await bridged(caller)
    reader, manager = caller.only("vault:read"), caller.only("follower:manage")
    assert (await caller.http.get(path(follower), headers=reader)).status_code == 200
    problem(await caller.http.get(path(follower), headers=manager), 403, "insufficient-scope")
    problem(await caller.post(path(follower, "/equities/test"), **reader), 403, "insufficient-scope")


async def test_no_answer_event_stored_reply_or_log_holds_a_secret(
    caller: Caller, bank: FakeBank, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    follower = await bridged(caller)
    bank.secret = NEW
    answers = [
        (await caller.post(path(follower, "/equities/test"))).text,
        (await put(caller, follower, refresh_token="R3FRESH", expires_at="2030-01-31T12:00:00Z")).text,
        (await put(caller, follower, key="2", secret="multi\nline")).text,
        (await put(caller, follower, key="3", environment="neither")).text,
        (await put(caller, follower, key="4", key_id="KEY-9431" * 1_000)).text,
        (await caller.get(path(follower))).text,
        (await caller.get(f"/v1/followers/{follower}")).text,
        repr(await told(caller, follower)),
    ]
    answers.append(caplog.text)
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        for table in ("idempotency_keys", "audit_events", "credentials"):
            await cursor.execute(f"SELECT * FROM {table}")
            answers.append(repr(await cursor.fetchall()))
    for secret in (OLD, NEW, "R3FRESH", "KEY-9431", "KEY-9432", "multi\\nline"):
        assert all(secret not in answer for answer in answers), secret

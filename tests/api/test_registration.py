"""Creating vaults and followers: once, audited, without a secret where none belongs."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from domain.signing import parse_secret
from tests.api.conftest import Caller, problem

HOOK = {"label": "Bob", "scale": "0.25", "webhook": {"url": "https://follower.example/hook?token=t0k3n"}}
BRIDGED = {
    "label": "Ada",
    "bridged_brokers": {"equities": {"venue": "alpaca", "key_id": "KEY-9431", "secret": "S3CRET-7755"}},
}


async def test_a_vault_reads_back_as_it_was_created(caller: Caller) -> None:
    body = {
        "label": "Alpha",
        "rails": ["fiat", "crypto"],
        "personas": ["athena"],
        "nav_usd": 1000000.10,
        "risk_profile": {"allow_short": True, "max_order_qty": 500.5, "hedge": {"symbol": "SPY", "ratio": 0.3}},
    }
    made = await caller.post("/v1/vaults", body)
    assert made.status_code == 201
    vault = made.json()
    assert made.headers["location"] == f"/v1/vaults/{vault['vault_id']}"
    assert (await caller.get(made.headers["location"])).json() == vault
    # Numbers stay what was written, digit by digit.
    assert vault["nav_usd"] == "1000000.1"
    assert vault["risk_profile"]["hedge"] == {"symbol": "SPY", "ratio": "0.3"}
    assert vault["created_at"].endswith("Z")


async def test_a_webhook_follower_gets_its_secret_and_nothing_else_shows_it(caller: Caller) -> None:
    vault_id = await caller.vault()
    made = await caller.post(f"/v1/vaults/{vault_id}/followers", HOOK)
    follower = made.json()
    secret = follower["signing_secret"]
    assert len(parse_secret(secret)) == 32
    assert follower["webhook"]["url"] == "https://follower.example/hook"
    shown = [
        await caller.get(f"/v1/followers/{follower['follower_id']}"),
        await caller.get(f"/v1/vaults/{vault_id}/followers"),
        await caller.get("/v1/audit-events"),
    ]
    for answer in shown:
        assert answer.status_code == 200
        assert follower["follower_id"] in answer.text
        assert secret not in answer.text
        assert "t0k3n" not in answer.text


async def test_no_secret_is_stored_in_clear(caller: Caller) -> None:
    vault_id = await caller.vault()
    hooked = (await caller.post(f"/v1/vaults/{vault_id}/followers", HOOK)).json()
    await caller.post(f"/v1/vaults/{vault_id}/followers", BRIDGED)
    tables = ("followers", "webhook_keys", "credentials", "idempotency_keys", "audit_events")
    stored = ""
    async with caller.database.session(caller.tenant_id) as session:
        connection = await session.connection()
        for table in tables:
            rows = (await connection.execute(text(f"SELECT * FROM {table} WHERE is_mine(tenant_id)"))).all()
            assert rows
            stored += repr(rows)
    for secret in (hooked["signing_secret"], hooked["signing_secret"][6:], "S3CRET-7755", "KEY-9431"):
        assert secret not in stored
    assert repr(parse_secret(hooked["signing_secret"]))[2:-1] not in stored


@pytest.mark.parametrize("body", [HOOK, BRIDGED], ids=["webhook", "bridged"])
async def test_a_repeat_gets_the_same_answer_and_makes_no_second_follower(caller: Caller, body: dict[str, Any]) -> None:
    path = f"/v1/vaults/{await caller.vault()}/followers"
    first = await caller.post(path, body, key="k-1")
    after = await caller.counts()
    repeat = await caller.post(path, body, key="k-1")
    assert (repeat.status_code, repeat.json()) == (201, first.json())
    assert repeat.headers["idempotent-replay"] == "true"
    assert "idempotent-replay" not in first.headers
    assert await caller.counts() == after


async def test_after_a_day_a_repeat_no_longer_shows_the_secret(caller: Caller, owner_execute: Any) -> None:
    path = f"/v1/vaults/{await caller.vault()}/followers"
    first = (await caller.post(path, HOOK, key="k-1")).json()
    await owner_execute(
        "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE tenant_id = %s", caller.tenant_id
    )
    repeat = await caller.post(path, HOOK, key="k-1")
    assert repeat.status_code == 201
    assert repeat.json()["signing_secret"] is None
    assert "not shown" in repeat.json()["note"]
    assert repeat.json()["follower_id"] == first["follower_id"]


async def test_a_key_with_another_body_is_refused_and_changes_nothing(caller: Caller) -> None:
    path = f"/v1/vaults/{await caller.vault()}/followers"
    await caller.post(path, BRIDGED, key="k-1")
    before = await caller.counts()
    account = {"venue": "alpaca", "key_id": "KEY-9431", "secret": "another"}
    for other in (HOOK, {**BRIDGED, "bridged_brokers": {"equities": account}}):
        problem(await caller.post(path, other, key="k-1"), 422, "idempotency-key-reused")
    assert await caller.counts() == before


async def test_an_account_may_agree_that_its_money_is_changed_and_take_that_back(caller: Caller) -> None:
    path = f"/v1/vaults/{await caller.vault()}/followers"
    account = {"venue": "coinbase", "key_id": "organizations/1/apiKeys/2", "secret": "PEM", "convert": True}
    made = await caller.post(path, {"label": "Cleo", "bridged_brokers": {"crypto": account}})
    assert made.status_code == 201, made.text
    assert made.json()["bridged_brokers"]["crypto_convert"] is True
    own = f"/v1/followers/{made.json()['follower_id']}"
    changed = await caller.patch(own, {"convert": False})
    assert changed.status_code == 200, changed.text
    assert changed.json()["bridged_brokers"]["crypto_convert"] is False
    refused = await caller.post(path, {"label": "Ada", "bridged_brokers": {"crypto": {**account, "venue": "alpaca"}}})
    problem(refused, 422, "invalid-input", "bridged_brokers.crypto.convert")


async def test_a_key_is_free_for_another_route_and_another_tenant(caller: Caller, stranger: Caller) -> None:
    vault_id = (await caller.post("/v1/vaults", {"label": "A"}, key="k-1")).json()["vault_id"]
    assert (await caller.post(f"/v1/vaults/{vault_id}/followers", HOOK, key="k-1")).status_code == 201
    theirs = await stranger.post("/v1/vaults", {"label": "A"}, key="k-1")
    assert theirs.status_code == 201
    assert theirs.json()["vault_id"] != vault_id


async def test_many_at_once_under_one_key_make_one_vault(caller: Caller) -> None:
    answers = await asyncio.gather(*(caller.post("/v1/vaults", {"label": "A"}, key="same") for _ in range(8)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["vault_id"] for answer in made}) == 1
    assert sum("idempotent-replay" not in answer.headers for answer in made) == 1
    for answer in answers:
        if answer not in made:
            problem(answer, 409, "request-in-flight", "Idempotency-Key")
    assert (await caller.counts())["vaults"] == 1


async def test_each_creation_leaves_one_audit_event_by_its_user(caller: Caller) -> None:
    vault_id = await caller.vault()
    made = (await caller.post(f"/v1/vaults/{vault_id}/followers", HOOK)).json()
    events = (await caller.get("/v1/audit-events")).json()["items"]
    told = [(event["entity"], event["entity_id"], event["action"]) for event in events]
    assert told == [
        ("follower", made["follower_id"], "created"),
        ("vault", vault_id, "created"),
        ("tenant", caller.tenant_id, "created"),
    ]
    assert events[0]["actor"] == "user:developer"

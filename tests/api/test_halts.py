"""Halts over HTTP: pulled once, acknowledged, listed and lifted; flatten goes on to sell."""

import uuid
from typing import Any

import pytest

from domain.flattening import FlattenInput
from domain.kills import EVERYBODY
from tests.api.conftest import Caller, FakeFlattener, problem


async def pulled(caller: Caller, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await caller.post("/v1/halts", body, **more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def in_force(caller: Caller, path: str) -> Any:
    return (await caller.get(path)).json()["halt"]


async def test_a_vaults_halt_is_acknowledged_shown_and_lifted(caller: Caller) -> None:
    vault_id = await caller.vault()
    halt = await pulled(caller, {"scope": "vault", "id": vault_id, "level": "halt_all", "reason": "stop"})
    assert (halt["scope"], halt["vault_id"], halt["level"]) == ("vault", vault_id, "halt_all")
    assert halt["acknowledgement"]["in_flight"] == 0
    assert await in_force(caller, f"/v1/vaults/{vault_id}") == "halt_all"
    [shown] = (await caller.get("/v1/halts")).json()["items"]
    assert shown["halt_id"] == halt["halt_id"]
    for _ in range(2):
        lifted = await caller.http.delete(f"/v1/halts/{halt['halt_id']}")
        assert lifted.status_code == 200
        assert lifted.json()["ended_at"] is not None
    assert await in_force(caller, f"/v1/vaults/{vault_id}") is None
    assert (await caller.get("/v1/halts")).json()["items"] == []


async def test_a_repeat_is_the_same_halt(caller: Caller) -> None:
    body = {"scope": "tenant", "level": "halt_opens"}
    first, repeat = [await pulled(caller, body, key="same") for _ in range(2)]
    assert first["halt_id"] == repeat["halt_id"]
    other = await caller.post("/v1/halts", {**body, "level": "halt_all"}, key="same")
    problem(other, 422, "idempotency-key-reused")


async def test_flatten_of_a_follower_starts_its_selling_after_the_acknowledgement(
    caller: Caller, flattener: FakeFlattener
) -> None:
    vault_id = await caller.vault()
    made = await caller.post(f"/v1/vaults/{vault_id}/followers", {"label": "Bob", "mode": "shadow"})
    follower_id = made.json()["follower_id"]
    halt = await pulled(caller, {"scope": "follower", "id": follower_id, "level": "flatten"})
    [scope] = [s for s in flattener.started if s.tenant_id == caller.tenant_id]
    assert scope == FlattenInput(caller.tenant_id, halt["halt_id"], scope.actor, vault_id, follower_id)


async def test_an_overlay_of_level_flatten_sells_too(caller: Caller, flattener: FakeFlattener) -> None:
    vault_id = await caller.vault()
    answer = await caller.post(f"/v1/vaults/{vault_id}/overlay", {"kind": "halt", "level": "flatten"})
    assert answer.status_code == 201
    [scope] = [s for s in flattener.started if s.tenant_id == caller.tenant_id]
    assert (scope.vault_id, scope.follower_id) == (vault_id, None)


async def test_a_platform_halt_needs_admin_and_is_seen_by_every_tenant(caller: Caller) -> None:
    body = {"scope": "platform", "level": "halt_opens", "reason": "drill"}
    refused = await caller.post("/v1/halts", body)
    assert refused.status_code == 403
    headers = {**caller.only("admin", "mirror:manage"), "Idempotency-Key": uuid.uuid4().hex}
    answer = await caller.http.post("/v1/halts", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    halt_id = answer.json()["halt_id"]
    try:
        assert halt_id in {halt["halt_id"] for halt in (await caller.get("/v1/halts")).json()["items"]}
        assert (await caller.http.delete(f"/v1/halts/{halt_id}")).status_code == 403
    finally:
        lifted = await caller.http.delete(f"/v1/halts/{halt_id}", headers=caller.only("admin", "mirror:manage"))
    assert lifted.status_code == 200
    assert halt_id not in {halt["halt_id"] for halt in (await caller.get("/v1/halts")).json()["items"]}


async def test_a_platform_halts_key_does_not_serve_for_another_one(caller: Caller, flattener: FakeFlattener) -> None:
    headers = {**caller.only("admin", "mirror:manage"), "Idempotency-Key": uuid.uuid4().hex}
    body = {"scope": "platform", "level": "halt_opens", "reason": "drill"}
    first = (await caller.http.post("/v1/halts", json=body, headers=headers)).json()
    try:
        before, started = await kills(caller), len(flattener.started)
        for change in ({"level": "flatten"}, {"reason": "another"}):
            other = await caller.http.post("/v1/halts", json={**body, **change}, headers=headers)
            problem(other, 422, "idempotency-key-reused")
        assert (await kills(caller), len(flattener.started)) == (before, started)
        repeat = await caller.http.post("/v1/halts", json=body, headers=headers)
        assert (repeat.status_code, repeat.json()["halt_id"]) == (201, first["halt_id"])
    finally:
        await caller.http.delete(f"/v1/halts/{first['halt_id']}", headers=headers)


async def kills(caller: Caller) -> int:
    """Pulls of the platform's kill path so far."""
    async with caller.database.cursor(EVERYBODY) as cursor:
        cursor.filtered = False
        await cursor.execute("SELECT count(*) AS n FROM kills")
        row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "vault", "level": "halt_all"}, "id"),
        ({"scope": "tenant", "id": "V_x", "level": "halt_all"}, "id"),
        ({"scope": "tenant", "level": "loud"}, "level"),
        ({"scope": "tenant"}, "level"),
        ({"level": "halt_all"}, "scope"),
    ],
)
async def test_what_is_wrong_is_named_and_changes_nothing(caller: Caller, body: dict[str, Any], field: str) -> None:
    before = await caller.counts()
    problem(await caller.post("/v1/halts", body), 422, "invalid-input", field)
    assert await caller.counts() == before


async def test_an_unknown_vault_follower_or_halt_is_not_found(caller: Caller) -> None:
    for scope in ("vault", "follower"):
        answer = await caller.post("/v1/halts", {"scope": scope, "id": "V_unknown", "level": "halt_all"})
        assert answer.status_code == 404
    assert (await caller.http.delete("/v1/halts/OV-unknown")).status_code == 404

"""Public vaults of other tenants: shown where the plan allows it, redacted, and otherwise as unknown as any."""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain.entitlements import NOTHING
from tests.api.conftest import Caller, problem

SHOWN = {"owned", "vault_id", "label", "rails", "personas", "public", "status", "created_at"}
Execute = Callable[..., Awaitable[None]]


async def public_vault(caller: Caller, label: str = "Open") -> str:
    profile = {"max_order_notional_usd": "250000"}
    body = {"label": label, "public": True, "nav_usd": "1234567", "risk_profile": profile, "personas": ["athena"]}
    made = await caller.post("/v1/vaults", body)
    assert made.status_code == 201, made.text
    assert made.json()["owned"] is True
    return str(made.json()["vault_id"])


async def subscribe(owner_execute: Execute, caller: Caller, status: str = "active", **entitlements: Any) -> None:
    await owner_execute(
        "INSERT INTO subscriptions (subscription_id, tenant_id, plan_id, status, entitlements) "
        "VALUES (%s, %s, 'core', %s, %s)",
        f"SUB-{uuid.uuid4().hex}", caller.tenant_id, status, json.dumps(NOTHING.to_json() | entitlements),
    )  # fmt: skip


async def listed(caller: Caller, visibility: str | None = None) -> dict[str, dict[str, Any]]:
    """All pages, two by two; other tests' public vaults among them."""
    query: dict[str, Any] = {} if visibility is None else {"visibility": visibility}
    found: list[dict[str, Any]] = []
    while True:
        answer = await caller.get("/v1/vaults", limit=2, **query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            assert len({vault["vault_id"] for vault in found}) == len(found)
            return {vault["vault_id"]: vault for vault in found}
        query["cursor"] = answer.json()["next_cursor"]


async def test_a_public_vault_of_another_tenant_is_shown_without_what_is_its_owners(
    caller: Caller, stranger: Caller
) -> None:
    vault_id = await public_vault(caller)
    shown = (await stranger.get(f"/v1/vaults/{vault_id}")).json()
    assert set(shown) == SHOWN
    assert (shown["owned"], shown["label"], shown["personas"]) == (False, "Open", ["athena"])
    assert (await listed(stranger, "public"))[vault_id] == shown
    mine = (await caller.get(f"/v1/vaults/{vault_id}")).json()
    assert mine["owned"] is True
    assert mine["nav_usd"] == "1234567"


async def test_lists_are_of_own_vaults_unless_others_are_asked_for(caller: Caller, stranger: Caller) -> None:
    theirs, hidden = await public_vault(caller), await caller.vault()
    mine = await public_vault(stranger, "Mine")
    assert set(await listed(stranger)) == set(await listed(stranger, "own")) == {mine}
    everything, public = await listed(stranger, "all"), await listed(stranger, "public")
    assert {mine, theirs} <= set(everything)
    assert everything[mine]["owned"] is True
    assert mine not in public
    assert theirs in public
    assert hidden not in everything | public
    problem(await stranger.get("/v1/vaults", visibility="others"), 422, "invalid-input", "visibility")


async def test_a_vault_that_is_public_no_more_is_as_unknown_as_any(caller: Caller, stranger: Caller) -> None:
    vault_id = await public_vault(caller)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    changed = await caller.http.patch(f"/v1/vaults/{vault_id}", json={"public": False}, headers=headers)
    assert changed.status_code == 200, changed.text
    problem(await stranger.get(f"/v1/vaults/{vault_id}"), 404, "not-found", "vault_id")
    assert vault_id not in await listed(stranger, "all")


@pytest.mark.parametrize("status", ["active", "canceled"])
async def test_without_the_entitlement_there_are_no_public_vaults(
    caller: Caller, stranger: Caller, owner_execute: Execute, status: str
) -> None:
    vault_id, mine = await public_vault(caller), await stranger.vault()
    await subscribe(owner_execute, stranger, status, public_vaults=status != "active")
    theirs = problem(await stranger.get(f"/v1/vaults/{vault_id}"), 404, "not-found", "vault_id")
    made_up = problem(await stranger.get("/v1/vaults/V_nothing"), 404, "not-found", "vault_id")
    assert theirs["detail"].replace(vault_id, "V_nothing") == made_up["detail"]
    assert await listed(stranger, "public") == {}
    assert set(await listed(stranger, "all")) == {mine}


async def test_a_suspended_tenants_vaults_are_shown_to_nobody(
    caller: Caller, stranger: Caller, owner_execute: Execute
) -> None:
    vault_id = await public_vault(caller)
    await owner_execute("UPDATE tenants SET status = 'suspended' WHERE tenant_id = %s", caller.tenant_id)
    problem(await stranger.get(f"/v1/vaults/{vault_id}"), 404, "not-found", "vault_id")


async def test_a_public_vault_can_be_looked_at_and_nothing_else(caller: Caller, stranger: Caller) -> None:
    vault_id = await public_vault(caller)
    before = await caller.counts()
    for path in ("nav", "followers", "overlays"):
        problem(await stranger.get(f"/v1/vaults/{vault_id}/{path}"), 404, "not-found", "vault_id")
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    patched = await stranger.http.patch(f"/v1/vaults/{vault_id}", json={"label": "Mine"}, headers=headers)
    problem(patched, 404, "not-found", "vault_id")
    assert await caller.counts() == before


async def test_entitlements_are_those_of_the_subscription_and_without_one_the_installations(
    caller: Caller, owner_execute: Execute
) -> None:
    free = (await caller.get("/v1/entitlements")).json()
    assert (free["plan_id"], free["status"]) == (None, None)
    assert (free["entitlements"]["vaults"], free["entitlements"]["public_vaults"]) == (None, True)
    await subscribe(owner_execute, caller, "past_due", vaults=3, personas=["athena"])
    paid = (await caller.get("/v1/entitlements")).json()
    assert (paid["plan_id"], paid["status"]) == ("core", "past_due")
    assert paid["entitlements"] == NOTHING.to_json() | {"vaults": 3, "personas": ["athena"]}
    await subscribe(owner_execute, caller, "canceled", vaults=9)
    assert (await caller.get("/v1/entitlements")).json() == paid

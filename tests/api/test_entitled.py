"""What a plan does not allow is refused with a document that says what it lacks, and what would allow it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.payments.catalogue import load_catalogue
from models import Subscription
from tests.api.conftest import Caller, problem

CATALOGUE = load_catalogue()
NEW_VAULT = {"label": "Alpha", "rails": ["fiat"]}


async def subscribe(caller: Caller, plan: str = "core", **more: Any) -> None:
    """As long as the test lasts; `more` are entitlements that differ from the plan's."""
    whole: dict[str, Any] = CATALOGUE.current(plan).entitlements.to_json() | more
    async with caller.database.session(caller.tenant_id) as session:
        session.add(Subscription(
            subscription_id=f"SUB-{caller.tenant_id}", tenant_id=UUID(caller.tenant_id), plan_id=plan, status="active",
            entitlements=whole,
        ))  # fmt: skip


async def test_one_vault_too_many_is_refused_and_the_plan_named(caller: Caller) -> None:
    await subscribe(caller, vaults=1)
    assert (await caller.post("/v1/vaults", NEW_VAULT, key="one")).status_code == 201
    refused = problem(await caller.post("/v1/vaults", NEW_VAULT, key="two"), 403, "not-entitled")
    assert (refused["entitlement"], refused["plans"]) == ("vaults", ["core", "pro", "institutional"])
    assert refused["title"] == "The plan does not allow this"
    assert (await caller.post("/v1/vaults", NEW_VAULT, key="one")).status_code == 201


async def test_a_follower_with_what_the_plan_lacks_is_refused_and_nothing_is_made(caller: Caller) -> None:
    await subscribe(caller, followers=1)
    vault_id = await caller.vault()
    path, hook = f"/v1/vaults/{vault_id}/followers", {"label": "Bob", "webhook": {"url": "https://follower.example/"}}
    before = await caller.counts()
    refused = problem(await caller.post(path, {**hook, "persona": "ares"}), 403, "not-entitled")
    assert (refused["entitlement"], refused["plans"]) == ("personas", ["pro", "institutional"])
    assert await caller.counts() == before
    follower_id = (await caller.post(path, hook)).json()["follower_id"]
    assert problem(await caller.post(path, hook), 403, "not-entitled")["entitlement"] == "followers"
    changed = await caller.patch(f"/v1/followers/{follower_id}", {"persona": "ares"})
    assert problem(changed, 403, "not-entitled")["entitlement"] == "personas"
    assert (await caller.patch(f"/v1/followers/{follower_id}", {"kill_switch": True})).status_code == 200


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"kind": "flip", "amplify": "0.35", "ttl_minutes": 30}, True),
        ({"kind": "boost", "persona": "athena", "delta": "0.1", "ttl_minutes": 30}, True),
        ({"kind": "maintenance"}, False),
        ({"kind": "halt", "level": "halt_all"}, False),
    ],
)
async def test_flips_and_boosts_need_a_plan_and_what_stops_trade_never_does(
    caller: Caller, body: dict[str, Any], *, refused: bool
) -> None:
    await subscribe(caller)
    path = f"/v1/vaults/{await caller.vault()}/overlay"
    answer = await caller.post(path, body)
    if not refused:
        assert answer.status_code == 201
        return
    assert problem(answer, 403, "not-entitled")["entitlement"] == "flip_mode"


async def test_without_a_subscription_this_installation_gives_everything(caller: Caller) -> None:
    assert (await caller.get("/v1/entitlements")).json()["entitlements"]["vaults"] is None
    flip = {"kind": "flip", "persona": "ares", "amplify": "0.35", "ttl_minutes": 30}
    assert (await caller.post(f"/v1/vaults/{await caller.vault()}/overlay", flip)).status_code == 201


async def test_the_plans_rate_is_the_tenants_quota_and_kills_do_not_know_of_it(caller: Caller) -> None:
    await subscribe(caller, api_rate=12)
    follower_id = await caller.follower()
    answer = await caller.get(f"/v1/followers/{follower_id}")
    assert '"read-tenant";q=12;w=60' in answer.headers["ratelimit-policy"]
    while (answer := await caller.patch(f"/v1/followers/{follower_id}", {"scale": "2"})).status_code != 429:
        assert '"write-tenant";q=12;w=60' in answer.headers["ratelimit-policy"]
    assert problem(answer, 429, "rate-limited")["violated_policies"] == ["write-tenant"]
    assert (await caller.patch(f"/v1/followers/{follower_id}", {"kill_switch": True})).status_code == 200
    assert (
        '"read-tenant";q=12' not in (await caller.http.delete("/v1/manager-orders/M-none")).headers["ratelimit-policy"]
    )


async def test_without_a_subscription_the_platforms_own_limits_hold(caller: Caller) -> None:
    assert '"read-tenant";q=12;' not in (await caller.get("/v1/vaults")).headers["ratelimit-policy"]


async def test_the_past_is_replayed_and_a_whole_order_exported_where_the_plan_has_it(caller: Caller) -> None:
    follower_id = await caller.follower()
    preview, dag = f"/v1/followers/{follower_id}/preview", "/v1/manager-orders/M-none/dag"
    order = {"symbol": "AAPL", "side": "buy", "qty": "1"}
    then = "2026-01-31T12:00:00Z"
    assert (await caller.get(dag)).status_code == 404
    await subscribe(caller)
    refused = problem(await caller.get(preview, **order, asof=then), 403, "not-entitled")
    assert (refused["entitlement"], refused["plans"]) == ("replay", ["pro", "institutional"])
    assert (await caller.get(preview, **order)).status_code == 200
    assert problem(await caller.get(dag), 403, "not-entitled")["entitlement"] == "exports"


async def test_what_is_older_than_the_plan_shows_is_left_out_and_that_is_said(caller: Caller) -> None:
    vault_id = await caller.vault()
    answer = await caller.get("/v1/audit-events", entity_id=vault_id)
    assert "vanta-audit-since" not in answer.headers
    assert len(answer.json()["items"]) == 1
    await subscribe(caller, audit_retention_days=0)
    answer = await caller.get("/v1/audit-events", entity_id=vault_id)
    assert answer.json()["items"] == []
    assert datetime.fromisoformat(answer.headers["vanta-audit-since"]) <= datetime.now(UTC)
    far_back = await caller.get("/v1/audit-events", entity_id=vault_id, since="2020-01-01T00:00:00Z")
    assert far_back.json()["items"] == []

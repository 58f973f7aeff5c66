"""Changing a vault: what is named changes, its risk profile name by name; what is wrong changes nothing."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Caller, problem

HOURS = {"time_zone": "Europe/Berlin", "days": ["mon", "fri"], "open": "09:00", "close": "17:30"}


async def patch(caller: Caller, vault_id: str, body: Any, **more: Any) -> httpx.Response:
    return await caller.patch(f"/v1/vaults/{vault_id}", body, **more)


async def test_what_is_named_changes_and_the_rest_stays(caller: Caller) -> None:
    vault_id = await caller.vault()
    before = (await caller.get(f"/v1/vaults/{vault_id}")).json()
    answer = await patch(caller, vault_id, {"label": "Omega", "personas": ["ares", "ares"], "public": True})
    assert answer.status_code == 200
    assert answer.json() == {**before, "label": "Omega", "personas": ["ares"], "public": True}
    assert (await caller.get(f"/v1/vaults/{vault_id}")).json() == answer.json()


async def test_a_risk_profile_is_merged_and_null_takes_a_limit_away(caller: Caller) -> None:
    vault_id = await caller.vault()
    await patch(caller, vault_id, {"risk_profile": {"max_order_qty": 5.50, "trading_hours": HOURS, "mine": {"a": 1.5}}})
    answer = await patch(caller, vault_id, {"risk_profile": {"max_orders_per_minute": 30, "max_order_qty": None}})
    profile = answer.json()["risk_profile"]
    assert profile | {"duplicate_window_s": 0} == {
        "trading_hours": HOURS, "mine": {"a": "1.5"}, "max_orders_per_minute": 30, "duplicate_window_s": 0,
    }  # fmt: skip


async def test_each_change_is_told_once(caller: Caller) -> None:
    vault_id = await caller.vault()
    await patch(caller, vault_id, {"label": "Omega", "public": False})
    await patch(caller, vault_id, {"label": "Omega"})
    events = (await caller.get("/v1/audit-events", entity="vault", entity_id=vault_id)).json()["items"]
    told = [event["payload"] for event in events if event["action"] == "updated"]
    assert told == [{"changes": {"label": {"from": "Alpha", "to": "Omega"}}}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"label": ""}, "label"),
        ({"label": None}, "label"),
        ({"personas": ["zeus"]}, "personas"),
        ({"public": "yes"}, "public"),
        ({"nav_usd": "5"}, "nav_usd"),
        ({"risk_profile": None}, "risk_profile"),
        ({"risk_profile": {"max_orders_per_minute": "30"}}, "risk_profile.max_orders_per_minute"),
        ({"risk_profile": {"duplicate_window_s": -1}}, "risk_profile.duplicate_window_s"),
        ({"risk_profile": {"trading_hours": {**HOURS, "close": "9"}}}, "risk_profile.trading_hours.close"),
        ({"label": "Omega", "risk_profile": {"allow_short": "no"}}, "risk_profile.allow_short"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_changes(caller: Caller, body: dict[str, Any], field: str) -> None:
    vault_id = await caller.vault()
    made, before = (await caller.get(f"/v1/vaults/{vault_id}")).json(), await caller.counts()
    problem(await patch(caller, vault_id, body), 422, "invalid-input", field)
    assert (await caller.get(f"/v1/vaults/{vault_id}")).json() == made
    assert await caller.counts() == before


async def test_another_tenants_vault_is_unknown_and_a_reader_may_not_change_it(
    caller: Caller, stranger: Caller
) -> None:
    vault_id = await caller.vault()
    problem(await patch(stranger, vault_id, {"label": "Mine"}), 404, "not-found", "vault_id")
    answer = await patch(caller, vault_id, {"label": "Mine"}, **caller.only("vault:read"))
    problem(answer, 403, "insufficient-scope")

"""Marks of a vault's NAV, as they are read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx

from adapters.store.marks import MarkStore
from tests.api.conftest import Caller, problem


async def marked(caller: Caller, vault_id: str, cash: str, now: datetime) -> str:
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE vaults SET cash_usd = %s WHERE vault_id = %s", [cash, vault_id])
    store = MarkStore(caller.database, max_age=timedelta(days=1), event_bps=Decimal(10))
    return await store.mark(caller.tenant_id, vault_id, now)


async def test_marks_are_paged_newest_first_and_since(caller: Caller):
    vault_id, now = await caller.vault(), datetime.now(UTC)
    for hour in range(3):
        assert await marked(caller, vault_id, f"{100 + hour}.50", now + timedelta(hours=hour)) == "told"
    first = (await caller.get(f"/v1/vaults/{vault_id}/nav", limit=2)).json()
    assert [item["nav_usd"] for item in first["items"]] == ["102.5", "101.5"]
    assert first["items"][0]["positions"] == {}
    rest = (await caller.get(f"/v1/vaults/{vault_id}/nav", limit=2, cursor=first["next_cursor"])).json()
    assert [item["cash_usd"] for item in rest["items"]] == ["100.5"]
    assert rest["next_cursor"] is None
    since = await caller.get(f"/v1/vaults/{vault_id}/nav", since=(now + timedelta(hours=1)).isoformat())
    assert [item["nav_usd"] for item in since.json()["items"]] == ["102.5", "101.5"]


async def test_a_vault_tells_its_cash_and_what_is_wrong_with_its_nav(caller: Caller):
    vault = (await caller.get(f"/v1/vaults/{await caller.vault()}")).json()
    assert (vault["nav_usd"], vault["cash_usd"], vault["nav_fault"]) == ("1000000", "1000000", None)


async def put(caller: Caller, vault_id: str, nav_usd: str, **headers: str) -> httpx.Response:
    return await caller.http.put(f"/v1/vaults/{vault_id}/nav", json={"nav_usd": nav_usd}, headers=headers)


async def test_a_nav_is_said_once_however_often_it_is_sent(caller: Caller):
    vault_id = await caller.vault()
    for _ in range(2):
        vault = (await put(caller, vault_id, "250000.50")).json()
        assert (vault["nav_usd"], vault["cash_usd"]) == ("250000.5", "250000.5")
    events = (await caller.get("/v1/audit-events", entity_id=vault_id)).json()["items"]
    assert [event["action"] for event in events] == ["nav_updated", "created"]
    problem(await put(caller, vault_id, "0"), 422, "invalid-input", "nav_usd")


async def test_a_nav_is_the_tenants_to_say_and_needs_its_scope(caller: Caller, stranger: Caller):
    vault_id = await caller.vault()
    problem(await put(stranger, vault_id, "1"), 404, "not-found", "vault_id")
    assert (await put(caller, vault_id, "1", **caller.only("vault:read"))).status_code == 403


async def test_anothers_vault_has_no_marks(caller: Caller, stranger: Caller):
    vault_id = await caller.vault()
    problem(await stranger.get(f"/v1/vaults/{vault_id}/nav"), 404, "not-found", "vault_id")
    problem(await caller.get("/v1/vaults/V_none/nav"), 404, "not-found", "vault_id")

"""Runs over HTTP: read, and asked for at once."""

import uuid
from decimal import Decimal

from adapters.store.database import Database
from adapters.store.reconciliations import ReconciliationStore
from domain.runs import RunTotals
from tests.api.conftest import Caller, FakeReconciler


async def done(caller: Caller, vault_id: str, drifts: int = 0) -> str:
    """A run that is over, with so many drifts."""
    store, run_id = ReconciliationStore(caller.database), f"R-{uuid.uuid4().hex}"
    assert await store.open(caller.tenant_id, vault_id, run_id) is not None
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        for number in range(drifts):
            await cursor.execute(
                "INSERT INTO drifts (run_id, follower_id, symbol, tenant_id, vault_id, expected_qty, booked_qty, "
                "actual_qty, cause, action) VALUES (%s, %s, 'AAPL', %s, %s, 10, 10, 5.5, 'own_trade', 'adopt')",
                [run_id, f"F_{number}", caller.tenant_id, vault_id],
            )
    totals = RunTotals(followers=9, drifts=drifts, causes={"own_trade": drifts})
    await store.close(caller.tenant_id, run_id, totals, "done")
    return run_id


async def test_runs_are_listed_newest_first_by_vault(caller: Caller):
    mine, other = await caller.vault(), await caller.vault()
    runs = [await done(caller, mine) for _ in range(3)]
    await done(caller, other)
    first = (await caller.get("/v1/reconciliations", vault_id=mine, limit=2)).json()
    second = (await caller.get("/v1/reconciliations", vault_id=mine, cursor=first["next_cursor"])).json()
    assert [run["run_id"] for run in first["items"] + second["items"]] == runs[::-1]
    assert second["next_cursor"] is None
    since = first["items"][0]["started_at"]
    later = (await caller.get("/v1/reconciliations", vault_id=mine, since=since)).json()
    assert [run["run_id"] for run in later["items"]] == [runs[-1]]


async def test_a_run_shows_its_drifts_page_by_page(caller: Caller):
    run_id = await done(caller, await caller.vault(), drifts=3)
    first = (await caller.get(f"/v1/reconciliations/{run_id}", limit=2)).json()
    assert (first["state"], first["followers"], first["drifts"]) == ("done", 9, 3)
    assert first["summary"]["causes"] == {"own_trade": 3}
    drift = first["items"][0]
    assert (drift["follower_id"], drift["actual_qty"], drift["action"]) == ("F_0", "5.5", "adopt")
    second = (await caller.get(f"/v1/reconciliations/{run_id}", cursor=first["next_cursor"])).json()
    assert [d["follower_id"] for d in first["items"] + second["items"]] == ["F_0", "F_1", "F_2"]


async def test_a_run_of_somebody_else_is_not_found(caller: Caller, stranger: Caller):
    run_id = await done(caller, await caller.vault())
    assert (await stranger.get(f"/v1/reconciliations/{run_id}")).status_code == 404
    assert (await stranger.get("/v1/reconciliations")).json()["items"] == []


async def test_a_run_is_started_once_for_a_key(caller: Caller, reconciler: FakeReconciler):
    vault_id, key = await caller.vault(), uuid.uuid4().hex
    answers = [await caller.post(f"/v1/vaults/{vault_id}/reconcile", {}, key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    run_id = answers[0].json()["run_id"]
    assert answers[1].json()["run_id"] == run_id
    assert answers[0].headers["Location"] == f"/v1/reconciliations/{run_id}"
    assert {(vault, run) for vault, run, _ in reconciler.started} == {(vault_id, run_id)}


async def test_a_run_that_is_under_way_is_named(caller: Caller, reconciler: FakeReconciler, database: Database):
    vault_id = await caller.vault()
    await ReconciliationStore(database).open(caller.tenant_id, vault_id, "R-under-way-" + vault_id[-8:])
    refused = await caller.post(f"/v1/vaults/{vault_id}/reconcile", {})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:vanta:problem:reconciliation-running")
    assert refused.json()["run_id"].startswith("R-under-way-")
    assert reconciler.started == []


async def test_only_managers_may_ask_for_a_run_of_their_own_vaults(caller: Caller, reconciler: FakeReconciler):
    path = f"/v1/vaults/{await caller.vault()}/reconcile"
    headers = caller.only("orders:read") | {"Idempotency-Key": "k"}
    assert (await caller.http.post(path, headers=headers)).status_code == 403
    assert (await caller.post("/v1/vaults/V_unknown/reconcile", {})).status_code == 404
    assert reconciler.started == []


async def test_a_follower_s_policy_is_changed_and_shown(caller: Caller):
    vault_id = await caller.vault()
    body = {"label": "Bob", "webhook": {"url": "https://follower.example/hook"}, "scale": str(Decimal(1))}
    made = (await caller.post(f"/v1/vaults/{vault_id}/followers", body)).json()
    assert made["reconcile_policy"] == "observe"
    path, headers = f"/v1/followers/{made['follower_id']}", {"Idempotency-Key": "p", "Content-Type": "application/json"}
    changed = await caller.http.patch(path, content=b'{"reconcile_policy": "correct"}', headers=headers)
    assert (changed.status_code, changed.json()["reconcile_policy"]) == (200, "correct")
    refused = await caller.http.patch(path, content=b'{"reconcile_policy": "guess"}', headers=headers)
    assert refused.status_code == 422

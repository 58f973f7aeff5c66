"""Overlays over HTTP: started once, extended within their limits, ended; what is wrong changes nothing."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from temporal.orders import EngineUnavailable
from tests.api.conftest import Caller, FakeFlips, problem

FLIP = {"kind": "flip", "ttl_minutes": 45, "persona": "ares", "amplify": "0.35", "reason": "earnings tonight"}
BOOST = {"kind": "boost", "ttl_minutes": 60, "persona": "athena", "delta": "-0.10"}
OwnerExecute = Callable[..., Awaitable[None]]


async def follower(caller: Caller, vault_id: str) -> str:
    made = await caller.post(f"/v1/vaults/{vault_id}/followers", {"label": "Bob", "mode": "shadow"})
    return str(made.json()["follower_id"])


async def started(caller: Caller, vault_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await caller.post(f"/v1/vaults/{vault_id}/overlay", body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def path(overlay: dict[str, Any]) -> str:
    return f"/v1/vaults/{overlay['vault_id']}/overlays/{overlay['overlay_id']}"


async def listed(caller: Caller, vault_id: str, **query: Any) -> list[str]:
    answer = await caller.get(f"/v1/vaults/{vault_id}/overlays", **query)
    assert answer.status_code == 200, answer.text
    return [overlay["overlay_id"] for overlay in answer.json()["items"]]


async def told(caller: Caller) -> list[tuple[str, str]]:
    events = (await caller.get("/v1/audit-events")).json()["items"]
    return [(event["entity"], event["action"]) for event in events if event["action"].startswith("overlay_")]


async def test_a_flip_is_started_and_shown(caller: Caller) -> None:
    vault_id = await caller.vault()
    flip = await started(caller, vault_id, FLIP)
    assert (flip["kind"], flip["active"], flip["persona"], flip["amplify"]) == ("flip", True, "ares", "0.35")
    lasts = datetime.fromisoformat(flip["expires_at"]) - datetime.fromisoformat(flip["starts_at"])
    assert lasts == timedelta(minutes=45)
    assert flip["acknowledgement"] is None
    assert await listed(caller, vault_id) == [flip["overlay_id"]]
    assert await told(caller) == [("vault", "overlay_started")]


@pytest.mark.parametrize("body", [FLIP, BOOST, {"kind": "maintenance"}, {"kind": "halt", "level": "halt_all"}])
async def test_a_repeat_is_the_same_overlay_and_another_body_under_its_key_is_refused(
    caller: Caller, body: dict[str, Any]
) -> None:
    url = f"/v1/vaults/{await caller.vault()}/overlay"
    first = await caller.post(url, body, key="k")
    before = await caller.counts()
    repeat = await caller.post(url, body, key="k")
    assert (repeat.status_code, repeat.headers["Idempotent-Replay"]) == (201, "true")
    assert repeat.json()["overlay_id"] == first.json()["overlay_id"]
    other = await caller.post(url, {**body, "reason": "another"}, key="k")
    problem(other, 422, "idempotency-key-reused")
    assert await caller.counts() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**FLIP, "ttl_minutes": 29}, "ttl_minutes"),
        ({**FLIP, "ttl_minutes": 61}, "ttl_minutes"),
        ({**FLIP, "ttl_minutes": "45"}, "ttl_minutes"),
        ({**FLIP, "ttl_minutes": 45.5}, "ttl_minutes"),
        ({**FLIP, "ttl_minutes": None}, "ttl_minutes"),
        ({"kind": "flip", "ttl_minutes": 45}, "amplify"),
        ({**FLIP, "amplify": "-0.95"}, "amplify"),
        ({**FLIP, "amplify": "1.01"}, "amplify"),
        ({**FLIP, "persona": "zeus"}, "persona"),
        ({**FLIP, "delta": "0.1"}, "delta"),
        ({**FLIP, "kind": "flop"}, "kind"),
        ({**FLIP, "ttl": 45}, "ttl"),
        ({**BOOST, "ttl_minutes": 4}, "ttl_minutes"),
        ({**BOOST, "ttl_minutes": 10_081}, "ttl_minutes"),
        ({**BOOST, "persona": None}, "persona"),
        ({"kind": "halt"}, "level"),
        ({"kind": "halt", "level": "some"}, "level"),
        ({"kind": "halt", "level": "halt_all", "ttl_minutes": 45}, "ttl_minutes"),
        ({"kind": "maintenance", "ttl_minutes": 45}, "ttl_minutes"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_changes(
    caller: Caller, flips: FakeFlips, body: dict[str, Any], field: str
) -> None:
    vault_id = await caller.vault()
    before = await caller.counts()
    problem(await caller.post(f"/v1/vaults/{vault_id}/overlay", body), 422, "invalid-input", field)
    assert await caller.counts() == before
    assert flips.asked == []


async def test_whom_it_does_not_find_it_names(caller: Caller, stranger: Caller, flips: FakeFlips) -> None:
    vault_id = await caller.vault()
    for body in (FLIP, {"kind": "maintenance"}):
        unknown = {**body, "follower_id": "F_nobody"}
        problem(await caller.post(f"/v1/vaults/{vault_id}/overlay", unknown), 404, "not-found", "follower_id")
        problem(await stranger.post(f"/v1/vaults/{vault_id}/overlay", body), 404, "not-found", "vault_id")
    assert flips.asked == []
    flip = await started(caller, vault_id, FLIP)
    problem(await stranger.http.delete(path(flip)), 404, "not-found", "overlay_id")
    other = {**flip, "vault_id": await caller.vault()}
    problem(await caller.http.delete(path(other)), 404, "not-found", "overlay_id")
    problem(await caller.get("/v1/vaults/V_none/overlays"), 404, "not-found", "vault_id")


async def test_an_extension_never_lasts_past_an_hour_from_the_start(caller: Caller) -> None:
    flip = await started(caller, await caller.vault(), {**FLIP, "ttl_minutes": 30})
    answer = await caller.patch(path(flip), {"ttl_minutes": 60})
    assert answer.status_code == 200, answer.text
    until = datetime.fromisoformat(answer.json()["expires_at"])
    assert until - datetime.fromisoformat(flip["starts_at"]) == timedelta(minutes=60)
    before = await caller.counts()
    for minutes in (61, 59, 29, "60"):
        refused = await caller.patch(path(flip), {"ttl_minutes": minutes})
        problem(refused, 422, "invalid-input", "ttl_minutes")
    assert await caller.counts() == before
    halt = await started(caller, flip["vault_id"], {"kind": "halt", "level": "halt_opens"})
    problem(await caller.patch(path(halt), {"ttl_minutes": 60}), 422, "invalid-input", "overlay_id")


async def test_a_flip_ends_by_delete_and_a_repeat_is_no_error(caller: Caller, flips: FakeFlips) -> None:
    flip = await started(caller, await caller.vault(), FLIP)
    ended = (await caller.http.delete(path(flip))).json()
    assert (ended["active"], ended["end_reason"]) == (False, "cancelled")
    assert (await caller.http.delete(path(flip))).json() == ended
    assert flips.asked == ["start", "cancel"]
    problem(await caller.patch(path(flip), {"ttl_minutes": 60}), 422, "invalid-input", "overlay_id")
    assert await told(caller) == [("vault", "overlay_ended"), ("vault", "overlay_started")]


async def test_a_flip_whose_workflow_is_gone_is_ended_all_the_same(caller: Caller, flips: FakeFlips) -> None:
    flip = await started(caller, await caller.vault(), FLIP)
    flips.gone = True
    problem(await caller.patch(path(flip), {"ttl_minutes": 60}), 422, "invalid-input", "overlay_id")
    assert (await caller.http.delete(path(flip))).json()["end_reason"] == "cancelled"


async def test_maintenance_and_halts_show_on_the_vault_until_they_are_lifted(caller: Caller, flips: FakeFlips) -> None:
    vault_id = await caller.vault()
    maintenance = await started(caller, vault_id, {"kind": "maintenance", "reason": "moving accounts"})
    halt = await started(caller, vault_id, {"kind": "halt", "level": "halt_opens"})
    assert halt["acknowledgement"]["in_flight"] == 0
    assert halt["acknowledgement"]["kill_id"] > maintenance["acknowledgement"]["kill_id"]
    vault = (await caller.get(f"/v1/vaults/{vault_id}")).json()
    assert (vault["maintenance"], vault["halt"]) == (True, "halt_opens")
    for overlay in (maintenance, halt):
        assert (await caller.http.delete(path(overlay))).json()["end_reason"] == "lifted"
    vault = (await caller.get(f"/v1/vaults/{vault_id}")).json()
    assert (vault["maintenance"], vault["halt"]) == (False, None)
    assert flips.asked == []  # nothing but their end is to come, so they have no workflow


async def test_a_followers_overlay_leaves_its_vault_alone(caller: Caller) -> None:
    vault_id = await caller.vault()
    body = {"kind": "halt", "level": "halt_all", "follower_id": await follower(caller, vault_id)}
    assert (await started(caller, vault_id, body))["follower_id"] == body["follower_id"]
    assert (await caller.get(f"/v1/vaults/{vault_id}")).json()["halt"] is None
    assert await told(caller) == [("follower", "overlay_started")]


async def test_the_list_has_pages_and_a_filter(caller: Caller, owner_execute: OwnerExecute) -> None:
    vault_id = await caller.vault()
    made = [(await started(caller, vault_id, body))["overlay_id"] for body in (FLIP, BOOST, {"kind": "maintenance"})]
    newest_first = made[::-1]
    first = (await caller.get(f"/v1/vaults/{vault_id}/overlays", limit=2)).json()
    assert [overlay["overlay_id"] for overlay in first["items"]] == newest_first[:2]
    assert await listed(caller, vault_id, cursor=first["next_cursor"]) == newest_first[2:]
    # Its time is over, whether or not anybody has said so.
    await owner_execute("UPDATE overlays SET expires_at = now() WHERE overlay_id = %s", made[1])
    assert await listed(caller, vault_id, active=True) == [made[2], made[0]]
    assert await listed(caller, vault_id, active=False) == [made[1]]
    over = (await caller.get(f"/v1/vaults/{vault_id}/overlays", active=False)).json()["items"][0]
    assert (over["active"], over["ended_at"]) == (False, None)
    problem(await caller.get(f"/v1/vaults/{vault_id}/overlays", cursor="nonsense"), 422, "invalid-input", "cursor")


@pytest.mark.parametrize(("taken", "status"), [(True, 202), (False, 503)])
async def test_without_the_engine_it_says_whether_the_flip_was_taken(
    caller: Caller, flips: FakeFlips, taken: bool, status: int
) -> None:
    vault_id = await caller.vault()
    flips.away = EngineUnavailable("away", taken=taken)
    answer = await caller.post(f"/v1/vaults/{vault_id}/overlay", FLIP, key="k")
    assert answer.status_code == status
    if taken:
        flips.away = None
        repeat = await caller.post(f"/v1/vaults/{vault_id}/overlay", FLIP, key="k")
        assert repeat.json()["overlay_id"] == answer.json()["overlay_id"]
    else:
        assert await listed(caller, vault_id) == []
    halt = await started(caller, vault_id, {"kind": "halt", "level": "halt_all"})  # halts need no engine
    assert halt["active"]

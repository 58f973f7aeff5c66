"""Changing a follower: what is named changes, once, audited; what does not go together is refused whole."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.conftest import Caller, problem

HOOK = {"label": "Bob", "scale": "0.25", "persona": "athena", "webhook": {"url": "https://follower.example/hook"}}


async def follower(caller: Caller, **body: Any) -> dict[str, Any]:
    made = await caller.post(f"/v1/vaults/{await caller.vault()}/followers", {**HOOK, **body})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = (await caller.get(f"/v1/followers/{made.json()['follower_id']}")).json()
    return found


async def patch(caller: Caller, follower_id: str, body: Any) -> httpx.Response:
    return await caller.patch(f"/v1/followers/{follower_id}", body)


async def updates(caller: Caller) -> list[dict[str, Any]]:
    events = (await caller.get("/v1/audit-events")).json()["items"]
    return [event["payload"] for event in events if (event["entity"], event["action"]) == ("follower", "updated")]


async def test_what_is_named_changes_and_the_rest_stays(caller: Caller) -> None:
    before = await follower(caller, max_pos_usd="5000")
    answer = await patch(caller, before["follower_id"], {"kill_switch": True, "scale": "0.5", "persona": None})
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.pop("acknowledgement")["in_flight"] == 0
    assert shown == {**before, "kill_switch": True, "scale": "0.5", "persona": None}
    assert (await caller.get(f"/v1/followers/{before['follower_id']}")).json() == shown


async def test_whether_a_follower_may_be_short_is_said_when_it_is_made_and_changed_later(caller: Caller) -> None:
    assert not (await follower(caller))["allow_short"]
    made = await follower(caller, allow_short=True)
    assert made["allow_short"]
    answer = await patch(caller, made["follower_id"], {"allow_short": False})
    assert answer.json() == {**made, "allow_short": False, "acknowledgement": None}
    (told,) = await updates(caller)
    assert told["changes"] == {"allow_short": {"from": True, "to": False}}


async def test_each_change_is_told_with_what_it_was_and_what_it_is(caller: Caller) -> None:
    made = await follower(caller)
    await patch(caller, made["follower_id"], {"mode": "capped", "max_pos_usd": "100.50", "scale": "0.25"})
    (told,) = await updates(caller)
    assert told == {
        "vault_id": made["vault_id"],
        "changes": {
            "mode": {"from": "proportional", "to": "capped"},
            "max_pos_usd": {"from": None, "to": "100.5"},
        },
    }


async def test_a_repeat_changes_nothing_and_says_so_by_no_event(caller: Caller) -> None:
    made = await follower(caller)
    first = await patch(caller, made["follower_id"], {"kill_switch": True})
    before = await caller.counts()
    repeat = await patch(caller, made["follower_id"], {"kill_switch": True})
    one, other = first.json(), repeat.json()
    assert repeat.status_code == 200
    assert one.pop("acknowledgement")["kill_id"] == other.pop("acknowledgement")["kill_id"]
    assert one == other
    assert await caller.counts() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"scale": "0"}, "scale"),
        ({"scale": "1001"}, "scale"),
        ({"scale": None}, "scale"),
        ({"kill_switch": "yes"}, "kill_switch"),
        ({"kill_switch": None}, "kill_switch"),
        ({"mode": "capped"}, "max_pos_usd"),
        ({"mode": "loud"}, "mode"),
        ({"max_pos_usd": "-1"}, "max_pos_usd"),
        ({"persona": "no spaces"}, "persona"),
        ({"persona": "zeus"}, "persona"),
        ({"allow_short": "yes"}, "allow_short"),
        ({"webhook": {"url": "https://other.example/"}}, "webhook"),
        ({"kill_switch": True, "mode": "capped"}, "max_pos_usd"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_changes(caller: Caller, body: dict[str, Any], field: str) -> None:
    made = await follower(caller)
    before = await caller.counts()
    problem(await patch(caller, made["follower_id"], body), 422, "invalid-input", field)
    assert (await caller.get(f"/v1/followers/{made['follower_id']}")).json() == made
    assert await caller.counts() == before


async def test_a_cap_that_the_mode_needs_cannot_be_taken_away(caller: Caller) -> None:
    made = await follower(caller, mode="capped", max_pos_usd="100")
    problem(await patch(caller, made["follower_id"], {"max_pos_usd": None}), 422, "invalid-input", "max_pos_usd")
    both = await patch(caller, made["follower_id"], {"max_pos_usd": None, "mode": "proportional"})
    assert (both.status_code, both.json()["max_pos_usd"]) == (200, None)


async def test_a_shadow_without_a_route_stays_one(caller: Caller) -> None:
    vault_id = await caller.vault()
    made = await caller.post(f"/v1/vaults/{vault_id}/followers", {"label": "Eve", "mode": "shadow"})
    problem(await patch(caller, made.json()["follower_id"], {"mode": "proportional"}), 422, "invalid-input", "mode")


async def test_changes_of_different_settings_at_once_do_not_undo_each_other(caller: Caller) -> None:
    made = await follower(caller)
    bodies: list[dict[str, Any]] = [{"kill_switch": True}, {"scale": "3"}, {"persona": "apollo"}, {"max_pos_usd": "7"}]
    answers = await asyncio.gather(*(patch(caller, made["follower_id"], body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * 4
    after = (await caller.get(f"/v1/followers/{made['follower_id']}")).json()
    assert after == {**made, "kill_switch": True, "scale": "3", "persona": "apollo", "max_pos_usd": "7"}
    assert len(await updates(caller)) == 4


async def test_another_tenants_follower_is_unknown(caller: Caller, stranger: Caller) -> None:
    made = await follower(caller)
    problem(await patch(stranger, made["follower_id"], {"kill_switch": True}), 404, "not-found", "follower_id")
    assert (await caller.get(f"/v1/followers/{made['follower_id']}")).json() == made

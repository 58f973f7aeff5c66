"""Dead letters over HTTP: found by what they are, redriven and purged once, each id with a result of its own."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.expansion import ExpansionStore
from domain import ids
from domain.admission import Intent
from domain.mirroring import MirrorOrderInput
from domain.orders import Side
from models import DeadLetter
from temporal.orders import EngineUnavailable
from tests.adapters.store.orders import UNLIMITED
from tests.api.conftest import Caller, FakeRedriver, problem

PATH = "/v1/dead-letters"


@pytest.fixture
async def letters(caller: Caller) -> list[dict[str, Any]]:
    """Three, of two orders on two vaults; the last one has another reason."""
    for vault_id, followers in ((await caller.vault(), 2), (await caller.vault(), 1)):
        await _bury(caller, vault_id, followers)
    found = (await caller.get(PATH)).json()["items"]
    return list(reversed(found))


async def _bury(caller: Caller, vault_id: str, followers: int) -> None:
    for number in range(followers):
        body = {"label": f"f{number}", "webhook": {"url": "https://follower.example/hook"}}
        assert (await caller.post(f"/v1/vaults/{vault_id}/followers", body)).status_code == 201
    mo_id = ids.manager_order_id(caller.tenant_id, vault_id)
    intent = Intent(vault_id, "AAPL", Side.BUY, Decimal(10), reference_price=Decimal(200))
    order = MirrorOrderInput(caller.tenant_id, mo_id, intent, {}, "f" * 64, "api", "user:test")
    store = AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )
    assert (await store.admit(order, datetime.now(UTC))).accepted
    await ExpansionStore(caller.database).expand(caller.tenant_id, mo_id, 0)
    reason = "retries_exhausted" if followers == 2 else "endpoint_disabled"
    rows = (await caller.get("/v1/follower-orders", mo_id=mo_id)).json()["items"]
    async with caller.database.session(caller.tenant_id) as session:
        for row in sorted(rows, key=lambda row: str(row["follower_id"])):
            who: Any = {"tenant_id": caller.tenant_id, "fo_id": row["fo_id"], "follower_id": row["follower_id"]}
            session.add(DeadLetter(**who, mo_id=mo_id, reason=reason, context={"vault_id": vault_id}))


def numbers(letters: list[dict[str, Any]]) -> list[int]:
    return [letter["dead_letter_id"] for letter in letters]


async def found(caller: Caller, **query: Any) -> list[int]:
    answer = await caller.get(PATH, **query)
    assert answer.status_code == 200, answer.text
    return sorted(numbers(answer.json()["items"]))


async def test_letters_are_found_by_whom_they_concern_why_and_whether_they_are_over(
    caller: Caller, letters: list[dict[str, Any]]
) -> None:
    one, two, three = letters
    assert await found(caller, mo_id=one["mo_id"]) == numbers([one, two])
    assert await found(caller, vault_id=three["context"]["vault_id"]) == numbers([three])
    assert await found(caller, follower_id=two["follower_id"]) == numbers([two])
    assert await found(caller, reason="endpoint_disabled") == numbers([three])
    assert await found(caller, state="open") == numbers(letters)
    assert await found(caller, state="redriven") == []
    problem(await caller.get(PATH, state="gone"), 422, "invalid-input", "state")


async def test_a_letter_can_be_looked_at_but_not_by_another_tenant(
    caller: Caller, stranger: Caller, letters: list[dict[str, Any]]
) -> None:
    answer = await caller.get(f"{PATH}/{letters[0]['dead_letter_id']}")
    assert answer.json() == {**letters[0], "state": "open"}
    problem(await stranger.get(f"{PATH}/{letters[0]['dead_letter_id']}"), 404, "not-found", "dead_letter_id")
    problem(await caller.get(f"{PATH}/x"), 404, "not-found")


async def test_each_id_has_its_own_result(
    caller: Caller, letters: list[dict[str, Any]], redriver: FakeRedriver
) -> None:
    one, two, _ = numbers(letters)
    redriver.refusals[two] = ("kill_switch", "the follower's kill switch is on")
    answer = await caller.post(f"{PATH}/redrive", {"dead_letter_ids": [two, one, 10**12, two]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [(item["dead_letter_id"], item["outcome"], item["code"]) for item in body["items"]] == [
        (two, "refused", "kill_switch"), (one, "redriven", None), (10**12, "refused", "not_found"),
    ]  # fmt: skip
    assert (body["redriven"], body["refused"], body["pending"], body["more"]) == (1, 2, 0, False)
    assert body["items"][1]["state"] == "retry"
    assert body["items"][0]["reason"] == "the follower's kill switch is on"
    assert sorted(redriver.asked) == [(one, "user:developer"), (two, "user:developer")]


async def test_a_repeat_is_answered_from_the_first_and_starts_nothing(
    caller: Caller, letters: list[dict[str, Any]], redriver: FakeRedriver
) -> None:
    body = {"dead_letter_ids": numbers(letters)}
    first = await caller.post(f"{PATH}/redrive", body, key="again")
    repeat = await caller.post(f"{PATH}/redrive", body, key="again")
    assert (repeat.json(), repeat.headers["idempotent-replay"]) == (first.json(), "true")
    assert len(redriver.asked) == 3
    other = await caller.post(f"{PATH}/redrive", {"dead_letter_ids": numbers(letters)[:1]}, key="again")
    problem(other, 422, "idempotency-key-reused")


async def test_a_filter_takes_the_oldest_and_a_repeat_takes_the_same(
    caller: Caller, letters: list[dict[str, Any]], redriver: FakeRedriver
) -> None:
    body = {"filter": {"reason": "retries_exhausted"}, "limit": 1}
    redriver.silent = {numbers(letters)[0]}
    first = (await caller.post(f"{PATH}/redrive", body, key="oldest")).json()
    assert (numbers(first["items"]), first["pending"], first["more"]) == (numbers(letters)[:1], 1, True)
    redriver.silent = set()
    heard = (await caller.post(f"{PATH}/redrive", body, key="oldest")).json()
    assert (numbers(heard["items"]), heard["redriven"], heard["more"]) == (numbers(letters)[:1], 1, True)


async def test_without_the_engine_nothing_is_started_and_the_request_may_be_repeated(
    caller: Caller, letters: list[dict[str, Any]], redriver: FakeRedriver
) -> None:
    redriver.away = EngineUnavailable("the workflow engine does not answer", taken=False)
    body = {"dead_letter_ids": numbers(letters)}
    problem(await caller.post(f"{PATH}/redrive", body, key="k"), 503, "engine-unavailable")
    assert redriver.asked == []
    redriver.away = None
    assert (await caller.post(f"{PATH}/redrive", body, key="k")).json()["redriven"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "dead_letter_ids"),
        ({"dead_letter_ids": [1], "filter": {"mo_id": "M-1"}}, "dead_letter_ids"),
        ({"dead_letter_ids": []}, "dead_letter_ids"),
        ({"dead_letter_ids": list(range(1, 102))}, "dead_letter_ids"),
        ({"dead_letter_ids": ["1"]}, "dead_letter_ids.0"),
        ({"dead_letter_ids": [0]}, "dead_letter_ids.0"),
        ({"filter": {}}, "filter"),
        ({"filter": {"symbol": "AAPL"}}, "filter.symbol"),
        ({"filter": {"mo_id": "M-1"}, "limit": 101}, "limit"),
    ],
)
async def test_it_must_be_clear_which_letters_are_meant(caller: Caller, body: dict[str, Any], field: str) -> None:
    before = await caller.counts()
    problem(await caller.post(f"{PATH}/redrive", body), 422, "invalid-input", field)
    assert await caller.counts() == before


async def test_a_purge_closes_letters_once_tells_why_and_leaves_the_orders(
    caller: Caller, letters: list[dict[str, Any]]
) -> None:
    one, two, _ = numbers(letters)
    body = {"dead_letter_ids": [one, two, 10**12], "reason": "bought by hand"}
    first = await caller.post(f"{PATH}/purge", body, key="purge")
    assert first.status_code == 200, first.text
    assert [(item["outcome"], item["code"]) for item in first.json()["items"]] == [
        ("purged", None), ("purged", None), ("refused", "not_found"),
    ]  # fmt: skip
    repeat = await caller.post(f"{PATH}/purge", body, key="purge")
    assert (repeat.json(), repeat.headers["idempotent-replay"]) == (first.json(), "true")
    again = (await caller.post(f"{PATH}/purge", {**body, "dead_letter_ids": [one]})).json()
    assert (again["items"][0]["outcome"], again["items"][0]["code"]) == ("refused", "purged")
    assert await found(caller, state="purged") == [one, two]
    letter = (await caller.get(f"{PATH}/{one}")).json()
    assert (letter["state"], letter["purged_by"], letter["purge_reason"]) == (
        "purged", "user:developer", "bought by hand",
    )  # fmt: skip
    events = (await caller.get("/v1/audit-events", mo_id=letter["mo_id"], entity="follower_order")).json()["items"]
    told = [event for event in events if event["action"] == "dead_letter_purged"]
    assert sorted(event["payload"]["dead_letter_id"] for event in told) == [one, two]
    assert {event["payload"]["reason"] for event in told} == {"bought by hand"}


async def test_a_purge_needs_a_reason(caller: Caller, letters: list[dict[str, Any]]) -> None:
    body = {"dead_letter_ids": numbers(letters), "reason": ""}
    problem(await caller.post(f"{PATH}/purge", body), 422, "invalid-input", "reason")
    assert await found(caller, state="open") == numbers(letters)


async def test_another_tenants_letters_are_unknown(
    caller: Caller, stranger: Caller, letters: list[dict[str, Any]], redriver: FakeRedriver
) -> None:
    ids_ = numbers(letters)
    for path, body in (("redrive", {}), ("purge", {"reason": "mine"})):
        items = (await stranger.post(f"{PATH}/{path}", {"dead_letter_ids": ids_, **body})).json()["items"]
        assert {item["code"] for item in items} == {"not_found"}
    filtered = (await stranger.post(f"{PATH}/redrive", {"filter": {"mo_id": letters[0]["mo_id"]}})).json()
    assert filtered["items"] == []
    assert redriver.asked == []
    assert await found(caller, state="open") == ids_


@pytest.mark.parametrize("path", ["redrive", "purge"])
async def test_closing_letters_needs_the_right_to_write_orders(caller: Caller, path: str) -> None:
    body = {"dead_letter_ids": [1], "reason": "x"} if path == "purge" else {"dead_letter_ids": [1]}
    headers = {**caller.only("orders:read"), "Idempotency-Key": "k"}
    problem(await caller.http.post(f"{PATH}/{path}", json=body, headers=headers), 403, "insufficient-scope")

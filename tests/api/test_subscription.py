"""The subscription and its plans as an API: what is handed to the workflow, what is refused, what is told."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.store.database import Database
from api.subscribing import check_return_url
from domain.access import Role
from domain.billing import BillingRefused, BillingUnavailable, Outcome, SubscriptionState
from domain.errors import InvalidInput
from domain.periods import prorate
from models import User
from temporal.orders import EngineUnavailable
from tests.api.billing import Till
from tests.api.conftest import Caller, problem

ORDER = {
    "plan_id": "core", "provider": "stripe", "success_url": "https://app.example/done",
    "cancel_url": "https://app.example/",
}  # fmt: skip
PATH = "/v1/subscription"
SCOPES = ("billing:read", "billing:manage")


@pytest.fixture
async def payer(caller: Caller, database: Database, till: Till) -> Caller:
    """The caller, whose tenant has an owner who gets the receipts."""
    caller.http.headers.update(caller.only(*SCOPES))
    async with database.session(caller.tenant_id) as session:
        tenant = uuid.UUID(caller.tenant_id)
        session.add(User(user_id=uuid.uuid4(), tenant_id=tenant, email="ada@manager.example", role="owner"))
    return caller


async def status(caller: Caller) -> dict[str, Any]:
    answer = await caller.get(PATH)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def change(caller: Caller, what: str, body: Any = None) -> dict[str, Any]:
    answer = await caller.post(f"{PATH}/{what}", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_plans_are_shown_to_any_caller(caller: Caller) -> None:
    answer = await caller.http.get("/v1/plans", headers=caller.only("orders:read"))
    plans = answer.json()["items"]
    assert [(plan["plan_id"], plan["price"], plan["price_minor"]) for plan in plans] == [
        ("core", "49.00", 4_900), ("pro", "199.00", 19_900), ("institutional", "1499.00", 149_900)
    ]  # fmt: skip
    assert plans[0]["entitlements"]["vaults"] == 2
    assert plans[2]["entitlements"]["vaults"] is None


async def test_without_a_subscription_its_status_is_none_and_what_may_be_used_is_told(payer: Caller) -> None:
    found = await status(payer)
    assert (found["status"], found["plan"], found["subscription_id"], found["balance"]) == ("none", None, None, "0.00")
    assert found["entitlements"]["flip_mode"] is True  # of the embedded profile
    for what, body in (("change", {"plan_id": "pro"}), ("cancel", {}), ("keep", None), ("resume", None)):
        problem(await payer.post(f"{PATH}/{what}", body), 409, "no-subscription")


async def test_a_checkout_gives_a_page_and_is_paid_there(payer: Caller, till: Till) -> None:
    made = await payer.post(f"{PATH}/checkout", {**ORDER, "coupon": "LAUNCH"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["checkout_url"] == f"https://pay.example/{body['subscription_id']}"
    [(_, order)] = till.cards.asked
    assert (order.email, order.coupon, order.trial) == ("ada@manager.example", "LAUNCH", True)
    assert (await status(payer))["status"] == "incomplete"
    invoice = await till.pay(payer.tenant_id)
    found = await status(payer)
    assert (found["status"], found["plan"]["plan_id"], found["provider"]) == ("active", "core", "stripe")
    assert found["next_event"] == {"kind": "renewal", "at": found["renewal_at"]}
    assert found["entitlements"]["vaults"] == 2
    listed = (await payer.get("/v1/invoices")).json()["items"]
    assert [(each["invoice_id"], each["amount"], each["paid_minor"]) for each in listed] == [
        (invoice.invoice_id, "49.00", 4_900)
    ]


async def test_a_repeat_is_the_same_checkout_and_another_key_another_page_for_the_same(
    payer: Caller, till: Till
) -> None:
    first = await payer.post(f"{PATH}/checkout", ORDER, key="one")
    assert (await payer.post(f"{PATH}/checkout", ORDER, key="one")).json() == first.json()
    assert len(till.engine.asked) == 1
    await payer.forget()
    for key in ("one", "two"):
        again = await payer.post(f"{PATH}/checkout", ORDER, key=key)
        assert again.json()["subscription_id"] == first.json()["subscription_id"]
    other = {**ORDER, "plan_id": "pro"}
    problem(await payer.post(f"{PATH}/checkout", other, key="two"), 422, "idempotency-key-reused")
    problem(
        await payer.post(f"{PATH}/checkout", {**ORDER, "provider": "btcpay"}), 409, "other-provider", "subscription"
    )


async def test_a_tenant_has_one_subscription_at_a_time(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id)
    problem(await payer.post(f"{PATH}/checkout", ORDER), 409, "already-subscribed", "subscription")
    assert till.engine.asked == []
    assert (await change(payer, "cancel", {"at_period_end": False}))["status"] == "canceled"
    assert (await payer.post(f"{PATH}/checkout", ORDER)).status_code == 201


async def test_two_checkouts_at_once_open_one_subscription(payer: Caller) -> None:
    answers = await asyncio.gather(*(payer.post(f"{PATH}/checkout", ORDER) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["subscription_id"] for answer in answers if answer.status_code == 201}
    assert made == {(await status(payer))["subscription_id"]}


async def test_receipts_go_to_whoever_pays(payer: Caller, till: Till, database: Database) -> None:
    user_id = uuid.uuid4()
    async with database.session(payer.tenant_id) as session:
        session.add(User(user_id=user_id, tenant_id=uuid.UUID(payer.tenant_id), email="bo@x.example", role="owner"))
    token = await payer.session_token(Role.OWNER, user_id=str(user_id))
    headers = {"Authorization": f"Bearer {token}"}
    assert (await payer.post(f"{PATH}/checkout", ORDER, **headers)).status_code == 201
    assert till.cards.asked[0][1].email == "bo@x.example"


async def test_without_anybody_to_get_receipts_nothing_is_begun(caller: Caller, till: Till) -> None:
    caller.http.headers.update(caller.only(*SCOPES))
    problem(await caller.post(f"{PATH}/checkout", ORDER), 409, "no-payer")
    assert till.engine.asked == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"plan_id": "gold"}, "plan_id"),
        ({"provider": "cash"}, "provider"),
        ({"success_url": "http://app.example/"}, "success_url"),
        ({"cancel_url": "https://user:secret@app.example/"}, "cancel_url"),
        ({"cancel_url": "javascript:alert(1)"}, "cancel_url"),
        ({"coupon": "a b"}, "coupon"),
        ({"quantity": 3}, "quantity"),
    ],
)
async def test_a_checkout_that_is_wrong_begins_nothing(
    payer: Caller, till: Till, given: dict[str, Any], field: str
) -> None:
    problem(await payer.post(f"{PATH}/checkout", ORDER | given), 422, "invalid-input", field)
    assert till.engine.asked == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:3000/x", "http://localhost/", "http://[::1]:8080/"])
def test_payers_come_back_to_this_machine_on_the_embedded_stack_only(url: str) -> None:
    check_return_url("url", url, loopback=True)
    with pytest.raises(InvalidInput):
        check_return_url("url", url, loopback=False)


@pytest.mark.parametrize(
    "url", ["https://", "https://a b/", "https://a.example\\@b.example/", "https://a:99999/", "ftp://a/", "//a/", "x"]
)
def test_what_is_no_page_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_return_url("url", url, loopback=True)


async def test_an_upgrade_costs_what_the_preview_says_by_the_second(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "core")
    before = await status(payer)
    seen = (await payer.get(f"{PATH}/change", plan_id="pro")).json()
    start, end, at = (datetime.fromisoformat(t) for t in (before["period_start"], before["renewal_at"], seen["at"]))
    due = prorate(4_900, 19_900, start, end, at)
    assert (seen["when"], seen["due_minor"], seen["renewal"]) == ("now", due.due_minor, "199.00")
    assert seen["due"] == f"{due.due_minor // 100}.{due.due_minor % 100:02d}"
    assert till.engine.asked == []
    after = await change(payer, "change", {"plan_id": "pro"})
    assert (after["plan"]["plan_id"], after["entitlements"]["vaults"]) == ("pro", 10)


async def test_a_downgrade_waits_for_the_renewal_and_can_be_taken_back(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "pro")
    seen = (await payer.get(f"{PATH}/change", plan_id="core")).json()
    assert (seen["when"], seen["at"], seen["due"]) == ("at_renewal", seen["renewal_at"], "0.00")
    after = await change(payer, "change", {"plan_id": "core"})
    assert (after["plan"]["plan_id"], after["scheduled_plan"]["plan_id"]) == ("pro", "core")
    assert (await change(payer, "keep"))["scheduled_plan"] is None


async def test_the_preview_refuses_what_the_change_would(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "pro")
    problem(await payer.get(f"{PATH}/change", plan_id="pro"), 422, "invalid-input", "plan_id")
    problem(await payer.post(f"{PATH}/change", {"plan_id": "pro"}), 422, "invalid-input", "plan_id")
    assert (await change(payer, "cancel", {}))["cancel_at"] is not None
    problem(await payer.get(f"{PATH}/change", plan_id="core"), 409, "cancel-scheduled", "subscription")


async def test_a_pause_closes_and_ends(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id)
    until = datetime.now(UTC) + timedelta(days=30)
    paused = await change(payer, "pause", {"until": until.isoformat()})
    assert (paused["status"], paused["close_only"], paused["next_event"]["kind"]) == ("paused", True, "resume")
    assert paused["entitlements"]["vaults"] == 0
    problem(await payer.post(f"{PATH}/pause", {}), 409, "not-in-force", "subscription")
    resumed = await change(payer, "resume")
    assert (resumed["status"], resumed["close_only"]) == ("active", False)
    problem(await payer.post(f"{PATH}/resume"), 409, "not-paused", "subscription")


async def test_the_portal_is_the_payment_systems(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id)
    back = {"return_url": "https://app.example/"}
    assert (await payer.post(f"{PATH}/portal", back)).json() == {"url": "https://portal.example/p/1"}
    till.cards.error = BillingUnavailable("HTTP 503")
    away = await payer.post(f"{PATH}/portal", back)
    problem(away, 503, "billing-unavailable")
    assert away.headers["retry-after"] == "30"
    till.cards.error = BillingRefused("not_offered", "there is no portal")
    assert problem(await payer.post(f"{PATH}/portal", back), 422, "billing-refused")["code"] == "not_offered"


async def test_without_the_engine_nothing_changes_and_the_subscription_is_seen(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "core")
    before = await status(payer)
    till.engine.away = EngineUnavailable("nobody is there", taken=False)
    for what, body in (("change", {"plan_id": "pro"}), ("cancel", {}), ("pause", {}), ("keep", None)):
        answer = await payer.post(f"{PATH}/{what}", body)
        problem(answer, 503, "engine-unavailable")
        assert answer.headers["retry-after"]
    assert till.cards.asked == []
    assert await status(payer) == before


async def test_what_was_done_and_not_heard_of_is_said_to_be_in_doubt(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "core")
    till.engine.late = True
    problem(await payer.post(f"{PATH}/change", {"plan_id": "pro"}, key="k"), 504, "timed-out")
    till.engine.late = False
    assert (await status(payer))["plan"]["plan_id"] == "pro"


async def test_a_payment_system_that_is_down_or_refuses_is_told_apart(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "core")
    till.cards.error = BillingUnavailable("timed out")
    away = await payer.post(f"{PATH}/change", {"plan_id": "pro"})
    problem(away, 503, "billing-unavailable")
    assert away.headers["retry-after"] == "30"
    till.cards.error = BillingRefused("card-declined", "the card was declined")
    refused = problem(await payer.post(f"{PATH}/change", {"plan_id": "pro"}), 422, "billing-refused")
    assert refused["code"] == "card-declined"
    assert (await status(payer))["plan"]["plan_id"] == "core"


async def test_grace_and_close_only_are_told(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id, "pro")
    held = await till.store.live(payer.tenant_id)
    assert held is not None
    account, now = await till.store.account(payer.tenant_id, held.subscription_id), datetime.now(UTC)
    late = replace(
        account.subscription, status=SubscriptionState.PAST_DUE, past_due_since=now - timedelta(days=8),
        grace_until=now - timedelta(days=1), close_only=True,
    )  # fmt: skip
    await till.store.write(account, Outcome(late), (), now, actor="system:billing")
    found = await status(payer)
    assert (found["status"], found["close_only"], found["entitlements"]["followers"]) == ("past_due", True, 0)
    assert found["next_event"]["kind"] == "give_up"


async def test_a_reader_changes_nothing(payer: Caller, till: Till) -> None:
    await till.subscribe(payer.tenant_id)
    payer.http.headers.update(payer.only("billing:read"))
    assert (await status(payer))["status"] == "active"
    problem(await payer.post(f"{PATH}/cancel", {}), 403, "insufficient-scope")

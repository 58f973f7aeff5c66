"""Placing and cancelling manager orders: what the engine says, in the words of the API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from domain import ids
from domain.orders import ManagerState
from models import Price
from settings import Settings
from temporal.orders import EngineUnavailable
from tests.adapters.store.orders import UNLIMITED
from tests.api.conftest import Caller, FakeEngine, problem, utc

PATH = "/v1/manager-orders"


async def _order(caller: Caller, **changes: Any) -> dict[str, Any]:
    return {"vault_id": await caller.vault(), "symbol": "AAPL", "side": "buy", "qty": "10", **changes}


@pytest.fixture
def admission(caller: Caller, settings: Settings) -> AdmissionStore:
    guards = settings.guards
    return AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=guards.max_notional_usd, max_qty=guards.max_qty
    )


@pytest.fixture(autouse=True)
async def _price(registry: Registry) -> None:
    await registry.upsert_price(Price(symbol="AAPL", price=Decimal(200), asof=utc(), source="test"))


async def test_an_admitted_order_is_201_with_its_place(caller: Caller, engine: FakeEngine) -> None:
    body = await _order(caller, qty=10.5, meta={"conviction": {"score": 0.1}, "big": 2**70})
    answer = await caller.post(PATH, body, key="k-1")
    mo_id = ids.manager_order_id(caller.tenant_id, "user:developer k-1")
    assert answer.status_code == 201
    assert answer.json() == {"mo_id": mo_id, "state": "dispatching", "followers": 2, "waits_until": None}
    assert answer.headers["location"] == f"{PATH}/{mo_id}"
    (order,) = engine.admitted
    assert (order.tenant_id, order.mo_id, order.source, order.actor) == (
        caller.tenant_id, mo_id, "api", "user:developer",
    )  # fmt: skip
    assert str(order.intent.qty) == "10.5"
    assert str(order.meta["conviction"]["score"]) == "0.1"
    assert str(order.meta["big"]) == str(2**70)


async def test_a_refused_order_says_which_guard_and_which_field(caller: Caller, engine: FakeEngine) -> None:
    engine.verdict = {
        "accepted": False, "state": ManagerState.REJECTED,
        "code": "max-qty", "reason": "above the limit", "field": "qty",
    }  # fmt: skip
    body = problem(await caller.post(PATH, await _order(caller)), 422, "order-refused", "qty")
    assert (body["code"], body["detail"]) == ("max-qty", "above the limit")
    assert body["mo_id"] == engine.admitted[0].mo_id


async def test_an_order_that_waits_for_its_session_is_taken_and_says_until_when(
    caller: Caller, engine: FakeEngine
) -> None:
    opens = datetime(2026, 11, 27, 14, 30, tzinfo=UTC)
    engine.verdict = {"state": ManagerState.RECEIVED, "followers": 0, "waits_until": opens}
    answer = await caller.post(PATH, await _order(caller, meta={"outside_session": "queue"}))
    assert (answer.status_code, answer.json()["state"]) == (201, "received")
    assert datetime.fromisoformat(answer.json()["waits_until"]) == opens
    assert engine.admitted[0].intent.outside_session == "queue"


async def test_a_policy_that_there_is_not_is_named(caller: Caller) -> None:
    body = await _order(caller, meta={"outside_session": "whenever"})
    problem(await caller.post(PATH, body), 422, "invalid-input", "meta.outside_session")


async def test_without_an_engine_it_is_503_and_nothing_has_changed(caller: Caller, engine: FakeEngine) -> None:
    body = await _order(caller)
    before = await caller.counts()
    engine.error = EngineUnavailable("the workflow engine does not answer", taken=False)
    answer = await caller.post(PATH, body)
    problem(answer, 503, "engine-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await caller.counts() == before


async def test_an_order_that_nobody_has_admitted_in_time_is_202(caller: Caller, engine: FakeEngine) -> None:
    engine.error = EngineUnavailable("the order was handed over", taken=True)
    answer = await caller.post(PATH, await _order(caller), key="k-1")
    assert answer.status_code == 202
    assert answer.json()["state"] == "received"
    assert answer.headers["location"].endswith(answer.json()["mo_id"])


async def test_the_workflow_of_another_body_under_the_same_key_is_a_reused_key(
    caller: Caller, engine: FakeEngine
) -> None:
    engine.verdict = {"fingerprint": "of something else"}
    problem(await caller.post(PATH, await _order(caller)), 422, "idempotency-key-reused")


async def test_the_stored_order_answers_a_repeat_while_the_engine_is_away(
    caller: Caller, engine: FakeEngine, admission: AdmissionStore
) -> None:
    body = await _order(caller)
    await caller.post(PATH, body, key="k-1")
    await admission.admit(engine.admitted.pop(), utc())
    engine.error = EngineUnavailable("gone", taken=False)
    await caller.forget()

    repeat = await caller.post(PATH, {**body, "qty": "10"}, key="k-1")
    assert repeat.status_code == 201
    assert repeat.headers["idempotent-replay"] == "true"
    mo_id = ids.manager_order_id(caller.tenant_id, "user:developer k-1")
    assert repeat.json() == {"mo_id": mo_id, "state": "dispatching", "followers": 0, "waits_until": None}
    problem(await caller.post(PATH, {**body, "qty": "11"}, key="k-1"), 422, "idempotency-key-reused")
    assert engine.admitted == []


async def test_a_repeat_of_a_refused_order_is_refused_by_the_same_code(
    caller: Caller, engine: FakeEngine, admission: AdmissionStore
) -> None:
    body = await _order(caller, side="sell")
    await caller.post(PATH, body, key="k-1")
    assert not (await admission.admit(engine.admitted.pop(), utc())).accepted
    await caller.forget()
    answer = await caller.post(PATH, body, key="k-1")
    assert answer.json()["code"] == "nothing-held"
    assert answer.status_code == 422
    assert engine.admitted == []


async def test_an_order_whose_workflow_ended_without_a_record_asks_for_a_new_key(
    caller: Caller, engine: FakeEngine
) -> None:
    engine.ended = True
    problem(await caller.post(PATH, await _order(caller)), 409, "order-lost", "Idempotency-Key")


@pytest.fixture
async def placed(caller: Caller, engine: FakeEngine, admission: AdmissionStore) -> str:
    answer = await caller.post(PATH, await _order(caller))
    await admission.admit(engine.admitted.pop(), utc())
    return str(answer.json()["mo_id"])


async def test_a_cancel_says_how_many_were_stopped(caller: Caller, engine: FakeEngine, placed: str) -> None:
    answer = await caller.http.delete(f"{PATH}/{placed}")
    assert answer.status_code == 200
    assert answer.json() == {"mo_id": placed, "state": "cancelled", "cancelled": 3, "in_flight": 1}
    assert engine.cancelled == [(placed, "user:developer")]


async def test_only_the_orders_own_tenant_can_cancel_it(stranger: Caller, engine: FakeEngine, placed: str) -> None:
    problem(await stranger.http.delete(f"{PATH}/{placed}"), 404, "not-found", "mo_id")
    assert engine.cancelled == []


async def test_an_order_that_has_ended_otherwise_cannot_be_cancelled(
    caller: Caller, engine: FakeEngine, placed: str
) -> None:
    engine.ended = True
    problem(await caller.http.delete(f"{PATH}/{placed}"), 409, "order-ended", "mo_id")


async def test_a_cancel_without_an_engine_is_503_and_with_a_slow_one_202(
    caller: Caller, engine: FakeEngine, placed: str
) -> None:
    engine.error = EngineUnavailable("gone", taken=False)
    problem(await caller.http.delete(f"{PATH}/{placed}"), 503, "engine-unavailable")
    engine.error = EngineUnavailable("slow", taken=True)
    answer = await caller.http.delete(f"{PATH}/{placed}")
    assert answer.status_code == 202
    assert answer.json()["state"] == "dispatching"


async def test_an_order_that_has_expired_cannot_be_cancelled_and_its_repeat_is_no_refusal(
    caller: Caller, engine: FakeEngine, admission: AdmissionStore
) -> None:
    body = await _order(caller, meta={"expires_at": (utc() + timedelta(hours=1)).isoformat()})
    mo_id = (await caller.post(PATH, body, key="k-1")).json()["mo_id"]
    await admission.admit(engine.admitted.pop(), utc())
    await SettlementStore(caller.database).cancel(caller.tenant_id, mo_id, "system:expiry", ManagerState.EXPIRED)
    engine.ended = True
    problem(await caller.http.delete(f"{PATH}/{mo_id}"), 409, "order-ended", "mo_id")
    await caller.forget()
    repeat = await caller.post(PATH, body, key="k-1")
    assert (repeat.status_code, repeat.json()["state"]) == (201, "expired")


async def test_a_cancel_that_comes_after_the_expiry_says_so(caller: Caller, engine: FakeEngine, placed: str) -> None:
    engine.cancel_finds = ManagerState.EXPIRED
    problem(await caller.http.delete(f"{PATH}/{placed}"), 409, "order-ended", "mo_id")


async def test_a_settled_order_with_nothing_under_way_cannot_be_cancelled(
    caller: Caller, engine: FakeEngine, placed: str
) -> None:
    await SettlementStore(caller.database).settle(caller.tenant_id, placed)
    engine.ended = True
    before = await caller.counts()
    problem(await caller.http.delete(f"{PATH}/{placed}"), 409, "order-ended", "mo_id")
    assert await caller.counts() == before

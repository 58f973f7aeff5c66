"""Lists, single orders and the DAG, on orders that went through the real admission and expansion."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.expansion import ExpansionStore
from api.schemas.orders import Dag
from domain import ids
from domain.admission import Intent
from domain.mirroring import MirrorOrderInput
from domain.orders import Side
from models import Attempt, DeadLetter, Fill
from settings import Settings
from tests.adapters.store.orders import UNLIMITED
from tests.api.conftest import Caller, problem
from tests.api.test_entitled import subscribe

FOLLOWERS = 7
ORDERS = 5


async def _walk(caller: Caller, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every row, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(100):
        answer = await caller.get(path, limit=3, **query, **({} if cursor is None else {"cursor": cursor}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= 3
        rows += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return rows
    raise AssertionError("the pages have no end")


@pytest.fixture
async def orders(caller: Caller, settings: Settings) -> list[str]:
    """Five admitted orders on a vault with seven shadow followers; the first follower order has attempts and a fill."""
    vault_id = await caller.vault()
    for number in range(FOLLOWERS):
        body = {"label": f"f{number}", "mode": "shadow", "scale": "0.5"}
        made = await caller.post(f"/v1/vaults/{vault_id}/followers", body)
        assert made.status_code == 201
    store = AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )
    placed = []
    for number in range(ORDERS):
        mo_id = ids.manager_order_id(caller.tenant_id, f"k-{number}")
        intent = Intent(vault_id, "AAPL", Side.BUY, Decimal(10 + number), reference_price=Decimal(200))
        order = MirrorOrderInput(caller.tenant_id, mo_id, intent, {}, "f" * 64, "api", "user:test")
        assert (await store.admit(order, datetime.now(UTC))).accepted
        await ExpansionStore(caller.database).expand(caller.tenant_id, mo_id, 0)
        placed.append(mo_id)
    return placed


async def _deliver(caller: Caller, mo_id: str) -> str:
    """Give the order's first follower order two attempts, a fill and a dead letter."""
    row = (await caller.get("/v1/follower-orders", mo_id=mo_id)).json()["items"][0]
    tenant_id: Any = caller.tenant_id
    keys: dict[str, Any] = {"fo_id": row["fo_id"], "tenant_id": tenant_id}
    who = {"follower_id": row["follower_id"]}
    async with caller.database.session(caller.tenant_id) as session:
        session.add(Attempt(**keys, attempt_no=1, via="wave", outcome="retryable", code="http_503", http_status=503))
        session.add(Attempt(**keys, attempt_no=2, via="workflow"))
        session.add(
            Fill(**keys, **who, fill_id=row["fo_id"] + ":1", symbol="AAPL", side="buy", qty=Decimal("2.50"),
                 price=Decimal("200.125"), source="receiver")
        )  # fmt: skip
        session.add(DeadLetter(**keys, **who, mo_id=mo_id, reason="exhausted", context={"last_error": "http_503"}))
    return str(row["fo_id"])


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("/v1/manager-orders", "mo_id", ORDERS),
        ("/v1/follower-orders", "fo_id", ORDERS * FOLLOWERS),
        # Tenant, vault and followers; received and dispatching per order; one per follower order.
        ("/v1/audit-events", "event_id", 2 + FOLLOWERS + 2 * ORDERS + ORDERS * FOLLOWERS),
        ("/v1/vaults", "vault_id", 1),
    ],
)
async def test_the_pages_walk_every_row_once(
    caller: Caller, orders: list[str], path: str, key: str, expected: int
) -> None:
    rows = await _walk(caller, path)
    assert len(rows) == expected
    assert len({row[key] for row in rows}) == expected


async def test_the_followers_of_a_vault_are_walked_once(caller: Caller, orders: list[str]) -> None:
    (vault,) = (await caller.get("/v1/vaults")).json()["items"]
    rows = await _walk(caller, f"/v1/vaults/{vault['vault_id']}/followers")
    assert len({row["follower_id"] for row in rows}) == len(rows) == FOLLOWERS


async def test_dead_letters_are_walked_once_and_filtered(caller: Caller, orders: list[str]) -> None:
    buried = {await _deliver(caller, mo_id) for mo_id in orders}
    assert {row["fo_id"] for row in await _walk(caller, "/v1/dead-letters")} == buried
    (one,) = await _walk(caller, "/v1/dead-letters", mo_id=orders[0])
    assert (one["reason"], one["context"]) == ("exhausted", {"last_error": "http_503"})


async def test_orders_come_newest_first_and_rows_that_arrive_meanwhile_do_not_shift_pages(
    caller: Caller, orders: list[str]
) -> None:
    first = (await caller.get("/v1/manager-orders", limit=2)).json()
    assert [row["mo_id"] for row in first["items"]] == [orders[4], orders[3]]
    second = (await caller.get("/v1/manager-orders", limit=2, cursor=first["next_cursor"])).json()
    assert [row["mo_id"] for row in second["items"]] == [orders[2], orders[1]]


async def test_filters_narrow_a_list(caller: Caller, orders: list[str]) -> None:
    middle = (await caller.get(f"/v1/manager-orders/{orders[2]}")).json()["created_at"]
    assert len(await _walk(caller, "/v1/manager-orders", since=middle)) == 3
    assert len(await _walk(caller, "/v1/manager-orders", state="settled")) == 0
    rows = await _walk(caller, "/v1/follower-orders", mo_id=orders[1])
    assert {row["mo_id"] for row in rows} == {orders[1]}
    assert len(rows) == FOLLOWERS
    follower = rows[0]["follower_id"]
    assert len(await _walk(caller, "/v1/follower-orders", follower_id=follower)) == ORDERS
    assert len(await _walk(caller, "/v1/follower-orders", state="shadowed", since="2126-01-01T00:00:00Z")) == 0
    events = await _walk(caller, "/v1/audit-events", mo_id=orders[1], entity="manager_order")
    assert [event["action"] for event in events] == ["dispatching", "received"]


async def test_a_manager_order_counts_its_follower_orders_by_state(caller: Caller, orders: list[str]) -> None:
    order = (await caller.get(f"/v1/manager-orders/{orders[0]}")).json()
    assert order["follower_states"] == {"shadowed": FOLLOWERS}
    assert (order["qty"], order["type"], order["effect"]) == ("10", "market", "open")


async def test_a_follower_order_explains_its_size_and_what_happened(caller: Caller, orders: list[str]) -> None:
    fo_id = await _deliver(caller, orders[0])
    order = (await caller.get(f"/v1/follower-orders/{fo_id}")).json()
    assert order["qty"] == "5"
    assert [step["rule"] for step in order["trace"]] == ["manager_qty", "scale", "multiplier", "step"]
    told = order["explanation"]
    assert [reason["rule"] for reason in told["size"]][:4] == [step["rule"] for step in order["trace"]]
    assert [(moment["action"], moment["at"][-1]) for moment in told["timeline"]] == [
        ("received", "Z"), ("dispatching", "Z"), ("shadowed", "Z"),
    ]  # fmt: skip
    events = {event["event_id"] for event in (await caller.get("/v1/audit-events", limit=200)).json()["items"]}
    assert {item["event_id"] for part in ("why", "size", "timeline") for item in told[part]} <= events
    assert "Your mode is shadow, so nothing is sent." in told["text"]
    assert [(a["attempt_no"], a["outcome"]) for a in order["attempts"]] == [(1, "retryable"), (2, None)]
    assert [(f["qty"], f["price"]) for f in order["fills"]] == [("2.5", "200.125")]


async def test_an_order_that_is_older_than_the_plan_shows_is_not_explained(caller: Caller, orders: list[str]) -> None:
    fo_id = await _deliver(caller, orders[0])
    await subscribe(caller, "pro", audit_retention_days=0)
    order = (await caller.get(f"/v1/follower-orders/{fo_id}")).json()
    assert order["explanation"] is None
    assert order["created_at"] < order["explained_since"]
    dag = await caller.get(f"/v1/manager-orders/{orders[0]}/dag")
    assert "vanta-audit-since" in dag.headers
    assert [of["audit_events"] for of in dag.json()["follower_orders"]] == [[]] * FOLLOWERS
    assert dag.json()["audit_events"] == []


async def test_the_dag_holds_the_whole_order(caller: Caller, orders: list[str]) -> None:
    fo_id = await _deliver(caller, orders[0])
    answer = await caller.get(f"/v1/manager-orders/{orders[0]}/dag")
    dag = answer.json()
    Dag.model_validate(dag)
    assert dag["manager_order"]["qty"] == "10"
    assert dag["snapshot"]["body"]["price"] == "200"
    assert [event["action"] for event in dag["audit_events"]] == ["received", "dispatching"]
    assert len(dag["follower_orders"]) == FOLLOWERS
    (delivered,) = [order for order in dag["follower_orders"] if order["fo_id"] == fo_id]
    assert [attempt["attempt_no"] for attempt in delivered["attempts"]] == [1, 2]
    assert [(fill["qty"], fill["price"]) for fill in delivered["fills"]] == [("2.5", "200.125")]
    assert all(order["audit_events"] for order in dag["follower_orders"])
    assert all(datetime.fromisoformat(order["created_at"]).tzinfo for order in dag["follower_orders"])


async def test_nothing_of_it_shows_to_another_tenant(caller: Caller, stranger: Caller, orders: list[str]) -> None:
    fo_id = await _deliver(caller, orders[0])
    problem(await stranger.get(f"/v1/manager-orders/{orders[0]}"), 404, "not-found", "mo_id")
    problem(await stranger.get(f"/v1/manager-orders/{orders[0]}/dag"), 404, "not-found", "mo_id")
    problem(await stranger.get(f"/v1/follower-orders/{fo_id}"), 404, "not-found", "fo_id")
    for path in ("/v1/manager-orders", "/v1/follower-orders", "/v1/dead-letters"):
        assert (await stranger.get(path)).json() == {"items": [], "next_cursor": None}
    assert (await stranger.get("/v1/follower-orders", mo_id=orders[0])).json()["items"] == []
    cursor = (await caller.get("/v1/manager-orders", limit=1)).json()["next_cursor"]
    answer: httpx.Response = await stranger.get("/v1/manager-orders", cursor=cursor)
    assert answer.json()["items"] == []

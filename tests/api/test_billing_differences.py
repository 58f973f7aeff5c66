"""Differences of billing over HTTP."""

from datetime import UTC, datetime, timedelta

from adapters.payments.catalogue import load_catalogue
from adapters.store.billing_differences import DifferenceStore
from adapters.store.database import Database
from adapters.store.subscriptions import SubscriptionStore
from domain import ids
from domain.billing import Provider
from domain.billing_comparison import Difference, DifferenceKind
from domain.subscriptions import CheckoutWish
from tests.api.conftest import Caller, problem

NOW = datetime.now(UTC).replace(microsecond=0)


async def test_a_tenant_sees_its_own_differences_page_by_page(
    caller: Caller, stranger: Caller, database: Database
) -> None:
    tenant, stripe = caller.tenant_id, Provider.STRIPE
    mine = ids.subscription_id(tenant, "k")
    wish = CheckoutWish(tenant, mine, "user:test", "k", stripe, "core", 1, "x@example.com", "s", "c")
    await SubscriptionStore(database, load_catalogue()).open(wish, NOW)
    found = [Difference(DifferenceKind.PAID, f"in_{n}", {"paid_minor": 0}, {"paid_minor": n}) for n in (1, 2)]
    store = DifferenceStore(database)
    await store.settle(tenant, mine, stripe, found, NOW)
    await store.settle(tenant, mine, stripe, found[:1], NOW + timedelta(days=1))
    can = caller.only("billing:read")
    first = (await caller.http.get("/v1/billing/differences", params={"limit": 1}, headers=can)).json()
    query = {"limit": 1, "cursor": first["next_cursor"]}
    second = (await caller.http.get("/v1/billing/differences", params=query, headers=can)).json()
    assert second["next_cursor"] is None
    assert {one["ref"] for one in (*first["items"], *second["items"])} == {"in_1", "in_2"}
    lasting = await caller.http.get("/v1/billing/differences", params={"resolved": False}, headers=can)
    assert [(one["ref"], one["theirs"]) for one in lasting.json()["items"]] == [("in_1", {"paid_minor": 1})]
    others = await stranger.http.get("/v1/billing/differences", headers=stranger.only("billing:read"))
    assert others.json()["items"] == []
    problem(await caller.get("/v1/billing/differences"), 403, "insufficient-scope")

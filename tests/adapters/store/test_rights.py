"""Who may open, by what its subscriber has paid for; and that all may reduce, whatever that is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.database import Database
from adapters.store.door import Door
from adapters.store.preview import PreviewStore
from adapters.store.registry import Registry
from domain.enrolment import BrokerAccount
from domain.mirroring import CORRECTION, FLATTEN, Admission
from domain.sizing import Mode
from tests.adapters.store.orders import EQUITY, UNLIMITED, Floor, admission_store, manager_order
from tests.adapters.store.subscribers import CORE, OFFER, PLANS, override, subscribe, subscriber
from tests.adapters.store.test_freezing import expand, fill, hedge, overlay

D = Decimal
# By name: the subscription's status, and whether its grace is over.
STATES: dict[str, tuple[str | None, bool]] = {
    "active": ("active", False),
    "trialing": ("trialing", False),
    "past due, in its grace": ("past_due", False),
    "past due, past its grace": ("past_due", True),
    "unpaid": ("unpaid", True),
    "paused": ("paused", True),
    "canceled": ("canceled", False),
    "incomplete": ("incomplete", False),
    "incomplete, expired": ("incomplete_expired", False),
    "never subscribed": (None, False),
}
CLOSED = {"past due, past its grace", "unpaid", "paused", "canceled"}


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def admit(floor: Floor, **more: Any) -> Admission:
    """By what subscribers have, unlike `floor.admit`."""
    order = manager_order(floor.tenant_id, floor.vault_id, **more)
    admission = await admission_store(floor.database, offer=OFFER).admit(order, datetime.now(UTC))
    assert admission.accepted, admission
    return admission


async def place(floor: Floor, **more: Any) -> dict[str, dict[str, Any]]:
    return await expand(floor, await admit(floor, **more))


async def buy_before(floor: Floor) -> None:
    """Everybody buys ten, at a time at which nobody has a subscription yet, and everything is allowed."""
    await fill(floor, await expand(floor, await floor.admit()))


def outcomes(orders: dict[str, dict[str, Any]], names: dict[str, str]) -> dict[str, Any]:
    return {name: orders[f]["reason"] or orders[f]["qty"] for name, f in names.items()}


def why(row: dict[str, Any]) -> str:
    return str(row["trace"][-1]["why"])


async def test_exactly_those_open_who_may_and_all_reduce_to_nothing_and_come_back_when_paid(floor: Floor) -> None:
    database, registry = floor.database, floor.registry
    tenants = {name: await subscriber(database, registry) for name in STATES}
    names = {n: await floor.follower(subscriber_tenant_id=tenant) for n, tenant in tenants.items()}
    await buy_before(floor)
    for name, (status, close_only) in STATES.items():
        if status is not None:
            await subscribe(database, tenants[name], status, close_only=close_only)

    bought = await place(floor)
    assert outcomes(bought, names) == {n: "close_only" if n in CLOSED else 10 for n in STATES}
    assert all(why(bought[names[n]]) == "the subscription allows reductions only" for n in CLOSED)
    await fill(floor, bought)
    parted = await place(floor, side="sell", qty="5")  # of the vault's 20
    assert outcomes(parted, names) == {n: D("2") if n in CLOSED else 5 for n in STATES}
    await fill(floor, parted)
    await fill(floor, await place(floor, side="sell", qty="15"))
    held = await floor.rows("SELECT qty FROM positions WHERE holder_id = ANY(%s)", list(names.values()))
    assert [row["qty"] for row in held] == [0] * len(STATES)

    for tenant in tenants.values():
        await subscribe(database, tenant, "active")
    assert outcomes(await place(floor), names) == dict.fromkeys(STATES, 10)


async def test_a_suspended_subscriber_opens_nothing(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active")
    follower = await floor.follower(subscriber_tenant_id=tenant)
    async with floor.database.cursor(tenant) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE tenants SET status = 'suspended' WHERE tenant_id = %s", [tenant])
    assert (await place(floor))[follower]["reason"] == "close_only"


async def test_an_old_subscription_that_is_over_counts_until_another_one_is_paid(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry)
    follower = await floor.follower(subscriber_tenant_id=tenant)
    await subscribe(floor.database, tenant, "canceled")
    await subscribe(floor.database, tenant, "incomplete", n=1)
    assert (await place(floor))[follower]["reason"] == "close_only"
    await subscribe(floor.database, tenant, "trialing", n=1)
    assert (await place(floor))[follower]["qty"] == 10


async def test_those_beyond_the_number_of_the_plan_reduce_and_do_not_open_the_oldest_go_on(floor: Floor) -> None:
    two, none = [await subscriber(floor.database, floor.registry) for _ in range(2)]
    other = Floor(floor.database, floor.registry, floor.tenant_id, _once=100)
    await other.prepare()
    names = {"elsewhere": await other.follower(subscriber_tenant_id=two)}
    mine = {n: await floor.follower(subscriber_tenant_id=two) for n in ("second", "third", "fourth")}
    mine["of none"] = await floor.follower(subscriber_tenant_id=none)
    await buy_before(floor)
    await subscribe(floor.database, two, "active", plan=replace(CORE, followers=2))
    await subscribe(floor.database, none, "active", plan=replace(CORE, followers=0))
    orders = await place(floor)
    assert outcomes(orders, mine) == {"second": 10, **dict.fromkeys(("third", "fourth", "of none"), "not_entitled")}
    assert why(orders[mine["third"]]) == (
        "older followers of its subscriber are as many as it may have; plan core allows it"
    )
    assert outcomes(await place(other), names) == {"elsewhere": 10}
    assert outcomes(await place(floor, side="sell", qty="20"), mine)["third"] == 10


async def test_each_thing_that_a_plan_lacks_is_named_with_the_plan_that_has_it(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry)
    who: dict[str, Any] = {"subscriber_tenant_id": tenant}
    names = {
        "plain": await floor.follower(**who),
        "its persona": await floor.follower(persona="athena", **who),
        "persona": await floor.follower(persona="ares", **who),
        "mode": await floor.follower(mode=Mode.CAPPED, max_pos_usd=D(9_000), webhook_url="https://x.example/", **who),
        "shadow": await floor.follower(mode=Mode.SHADOW, **who),
    }
    await buy_before(floor)
    names["broker"] = await floor.follower(equities=BrokerAccount("tradier", "key", "secret"), **who)
    await subscribe(floor.database, tenant, "active", plan=replace(CORE, modes=(Mode.PROPORTIONAL,)))
    orders = await place(floor)
    missing = dict.fromkeys(("persona", "mode", "broker", "shadow"), "not_entitled")
    assert outcomes(orders, names) == {"plain": 10, "its persona": 6, **missing}
    assert {n: why(orders[names[n]]) for n in missing} == {
        "persona": "its subscriber may not use persona ares; plan pro allows it",
        "mode": "its subscriber may not have followers in mode capped; plan core allows it",
        "broker": "its subscriber may not have accounts at tradier; plan pro allows it",
        "shadow": "its subscriber may not have followers in mode shadow; plan core allows it",
    }
    assert orders[names["persona"]]["carry"] == 0
    reduced = await place(floor, side="sell", qty="20")
    held = {n: r["qty"] for n, f in names.items() for r in await floor.rows(
        "SELECT qty FROM positions WHERE holder_id = %s", f)}  # fmt: skip
    assert outcomes(reduced, names) == {**held, "broker": "nothing_held", "shadow": "nothing_held"}
    await subscribe(floor.database, tenant, "active", plan=PLANS["pro"])
    assert {r["reason"] for r in (await place(floor)).values()} == {None}


async def test_a_flip_to_a_persona_that_a_plan_lacks_keeps_its_followers_from_opening_while_it_lasts(
    floor: Floor,
) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active")
    core = await floor.follower(subscriber_tenant_id=tenant)
    free = await floor.follower()
    weighed = await floor.follower(subscriber_tenant_id=tenant, persona="athena")
    await override(floor.database, floor.tenant_id, "personas", ["apollo"])
    await overlay(floor, "flip", '{"persona": "apollo"}')
    await overlay(floor, "flip", '{"amplify": "0.5"}', follower=weighed)
    orders = await place(floor)
    assert (orders[core]["reason"], why(orders[core])) == (
        "not_entitled", "its subscriber may not use persona apollo; plan pro allows it",
    )  # fmt: skip
    assert (orders[free]["qty"], orders[weighed]["qty"]) == (12, 9)


async def test_an_override_counts_for_those_who_never_subscribed_while_it_lasts(floor: Floor) -> None:
    follower = await floor.follower(persona="ares")
    assert (await place(floor))[follower]["reason"] == "not_entitled"
    await override(floor.database, floor.tenant_id, "personas", ["ares"], datetime.now(UTC) + timedelta(hours=1))
    assert (await place(floor))[follower]["reason"] is None
    await floor.rows("UPDATE entitlement_overrides SET expires_at = now() WHERE tenant_id = %s", floor.tenant_id)
    assert (await place(floor))[follower]["reason"] == "not_entitled"


async def test_rights_that_change_after_the_snapshot_change_nothing_of_that_order(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active")
    follower = await floor.follower(subscriber_tenant_id=tenant)
    first = await admit(floor)
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    second = await admit(floor)
    await subscribe(floor.database, tenant, "active")
    assert (await expand(floor, first))[follower]["qty"] == 10
    assert (await expand(floor, second))[follower]["reason"] == "close_only"
    assert (await place(floor))[follower]["qty"] == 10


async def test_a_contrarian_that_takes_off_a_position_passes_and_one_that_opens_does_not(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active", plan=PLANS["pro"])
    holds, none = [await floor.follower(subscriber_tenant_id=tenant, persona="ares") for _ in range(2)]
    sure = {"conviction": {"score": D(1)}}
    await floor.rows("UPDATE followers SET allow_short = true WHERE vault_id = %s", floor.vault_id)
    await floor.rows(
        "INSERT INTO positions (tenant_id, holder_id, symbol, qty) VALUES (%s, %s, %s, 5)",
        floor.tenant_id, holds, EQUITY,
    )  # fmt: skip
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    orders = await place(floor, meta=sure)
    assert (orders[holds]["side"], orders[holds]["qty"]) == ("sell", 5)  # of eight: none crosses zero
    assert orders[none]["reason"] == "close_only"


async def test_a_hedge_is_not_opened_and_is_unwound(floor: Floor) -> None:
    await hedge(floor)
    tenant = await subscriber(floor.database, floor.registry, "active", plan=PLANS["pro"])
    follower = await floor.follower(subscriber_tenant_id=tenant, persona="nemesis")
    await floor.rows("UPDATE followers SET allow_short = true WHERE follower_id = %s", follower)
    bought = await place(floor)
    await fill(floor, {"main": bought[follower]})
    await fill(floor, {"leg": bought[f"{follower}/1"]})
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    again = await place(floor, qty="5")
    assert {f: row["reason"] for f, row in again.items()} == {follower: "close_only"}
    out = await place(floor, side="sell", qty="15")
    assert (out[follower]["qty"], out[f"{follower}/1"]["side"], out[f"{follower}/1"]["qty"]) == (8, "buy", 8)


async def test_corrections_that_open_are_held_and_those_that_reduce_and_flattens_pass(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active")
    follower = await floor.follower(subscriber_tenant_id=tenant)
    await fill(floor, await place(floor))
    await subscribe(floor.database, tenant, "past_due", close_only=True)
    only = {"kind": CORRECTION, "only_follower_id": follower}
    assert (await place(floor, qty="1", **only))[follower]["reason"] == "close_only"
    sold = await place(floor, side="sell", qty="4", **only)
    assert sold[follower]["qty"] == 4
    await fill(floor, sold)
    assert (await place(floor, side="sell", kind=FLATTEN))[follower]["qty"] == 6


async def test_what_is_frozen_tells_nothing_of_the_subscribers_plan_or_payments(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry)
    follower = await floor.follower(subscriber_tenant_id=tenant, persona="ares")
    await subscribe(floor.database, tenant, "active", plan=replace(CORE, personas=("nemesis",)))
    page = "SELECT body FROM snapshot_pages WHERE mo_id = %s"
    [frozen] = await floor.rows(page, (await admit(floor)).mo_id)
    [terms] = frozen["body"]
    assert (terms["close_only"], terms["lacks"]) == (False, {"persona": "pro"})
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    [frozen] = await floor.rows(page, (await admit(floor)).mo_id)
    [terms] = frozen["body"]
    assert (terms["close_only"], terms["lacks"]) == (True, None)
    for word in ("nemesis", "core", "unpaid", tenant):
        assert word not in str(frozen)
    assert follower in str(frozen)


async def test_the_application_reads_no_other_tenants_subscriptions_and_only_what_their_followers_may_do(
    floor: Floor,
) -> None:
    tenant = await subscriber(floor.database, floor.registry, "unpaid", close_only=True)
    nobody = "5ab5c81b-0000-4000-8000-00000000dead"
    asked = "SELECT * FROM subscriber_rights(%s::uuid[], NULL) ORDER BY entitlements IS NULL"
    theirs, unknown = await floor.rows(asked, [tenant, nobody])
    assert (theirs["subscribers"], theirs["closed"], theirs["overrides"]) == ([tenant], True, None)
    assert (unknown["subscribers"], unknown["closed"], unknown["entitlements"]) == ([nobody], True, None)
    assert theirs.keys() == {"subscribers", "closed", "entitlements", "overrides"}
    for table in ("subscriptions", "entitlement_overrides", "row_history"):
        found = await floor.rows(f"SELECT count(*) AS n FROM {table} WHERE tenant_id = %s", tenant)
        assert found == [{"n": 0}]


async def test_without_limits_nothing_is_looked_up_and_nothing_is_frozen_of_rights(floor: Floor) -> None:
    follower = await floor.follower(persona="ares")
    orders = await expand(floor, await floor.admit())
    assert UNLIMITED.limits(UNLIMITED.without, ["ares"]) == {}
    assert orders[follower]["reason"] is None


async def test_a_preview_tells_what_it_lacks_now_and_as_of_then(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry, "active")
    older = await floor.follower(subscriber_tenant_id=tenant)
    follower = await floor.follower(subscriber_tenant_id=tenant, persona="athena")
    moments = [await now(floor)]
    for change in (
        {"status": "past_due", "close_only": True},
        {"status": "active", "plan": replace(CORE, followers=1)},
        {"status": "active", "plan": replace(CORE, personas=())},
        {"status": "canceled"},
    ):
        await subscribe(floor.database, tenant, **change)
        moments.append(await now(floor))
    await subscribe(floor.database, tenant, "active")
    store = PreviewStore(floor.database, Door(max_notional_usd=D(10_000_000), max_qty=D(1_000_000)), OFFER)
    order = {"symbol": EQUITY, "side": "buy", "qty": "10"}
    seen = [await store.preview(floor.tenant_id, follower, order, moment) for moment in [*moments, None]]
    assert [leg.reason for found in seen for leg in found.legs] == [
        None, "close_only", "not_entitled", "not_entitled", "close_only", None,
    ]  # fmt: skip
    lacking = [found.terms["lacks"] for found in seen]
    assert lacking == [None, None, {"followers": "core"}, {"persona": "core"}, None, None]
    [leg] = (await store.preview(floor.tenant_id, older, order, moments[2])).legs
    assert leg.reason is None


async def now(floor: Floor) -> datetime:
    [row] = await floor.rows("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment

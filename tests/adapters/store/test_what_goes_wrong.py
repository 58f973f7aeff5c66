"""What goes wrong in systems like this one, each by its name: what belongs to claims, reservations and money."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.registry import Registry
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome, VenueOrder, VenueStatus
from tests.adapters.store.orders import Floor
from tests.adapters.store.test_freezing import SILENT, deliver, expand, fill, over

GONE = SendOutcome(OutcomeKind.FINAL, "gone", http_status=410, disable_endpoint=True)
BROKEN = SendOutcome(OutcomeKind.RETRYABLE, "http_500", http_status=500)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def test_a_reservation_is_not_released_on_a_time_out_so_no_second_order_slips_through(floor: Floor) -> None:
    follower = await floor.follower(max_pos_usd=Decimal(2_000))  # 10 at 200 USD
    first = (await expand(floor, await floor.admit()))[follower]
    assert await deliver(floor, first["fo_id"], SILENT) is FollowerState.UNKNOWN
    second = (await expand(floor, await floor.admit()))[follower]
    assert (second["state"], second["reason"]) == ("skipped", "at_cap")


async def test_a_stale_balance_does_not_overspend_on_the_second_copy(floor: Floor) -> None:
    follower = await floor.follower()
    await floor.rows("UPDATE followers SET funds_usd = 2100, funds_asof = now() WHERE follower_id = %s", follower)
    first = await floor.admit()
    await fill(floor, await expand(floor, first))
    await over(floor, first.mo_id)
    second = (await expand(floor, await floor.admit()))[follower]
    assert (second["state"], second["reason"]) == ("skipped", "no_funds")  # 100 USD are left; one costs 200


async def test_locked_funds_are_not_counted_as_free(floor: Floor) -> None:
    follower = await floor.follower()
    await floor.rows("UPDATE followers SET funds_usd = 3000, funds_asof = now() WHERE follower_id = %s", follower)
    first = (await expand(floor, await floor.admit()))[follower]
    working = VenueOrder("ref", first["fo_id"], VenueStatus.WORKING)
    outcome = SendOutcome(OutcomeKind.ACK, "accepted", venue_order=working)
    assert await deliver(floor, first["fo_id"], outcome) is FollowerState.ACK  # open: nothing filled, 2,000 locked
    second = (await expand(floor, await floor.admit()))[follower]
    assert second["qty"] == 5


async def test_a_partial_close_does_not_repeat(floor: Floor) -> None:
    follower = await floor.follower()
    await fill(floor, await expand(floor, await floor.admit()))
    half = await floor.admit(side="sell", qty="5")
    for _ in range(2):  # the page again, and its owner again
        orders = await expand(floor, half)
        assert await deliver(floor, orders[follower]["fo_id"]) is FollowerState.CONFIRMED
    held = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s", follower)
    assert [row["qty"] for row in held] == [5]


async def test_a_stale_signal_does_not_execute_hours_later(floor: Floor) -> None:
    follower = await floor.follower()
    until = datetime.now(UTC) + timedelta(minutes=5)
    order = (await expand(floor, await floor.admit(meta={"expires_at": until.isoformat()})))[follower]
    taken = await DispatchStore(floor.database).take(floor.tenant_id, order["fo_id"], until + timedelta(hours=3))
    assert (taken.state, taken.attempts) == (FollowerState.CANCELLED, 0)


async def test_a_reduction_executes_however_late(floor: Floor) -> None:
    follower = await floor.follower()
    await fill(floor, await expand(floor, await floor.admit()))
    until = datetime.now(UTC) + timedelta(minutes=5)
    sell = await floor.admit(side="sell", qty="10", meta={"expires_at": until.isoformat()})
    order = (await expand(floor, sell))[follower]
    taken = await DispatchStore(floor.database).take(floor.tenant_id, order["fo_id"], until + timedelta(hours=3))
    assert taken.state is FollowerState.SENT


async def test_events_to_a_disabled_endpoint_do_not_vanish(floor: Floor) -> None:
    follower = await floor.follower()
    first, second = await floor.admit(), await floor.admit(qty="3")
    waiting = (await expand(floor, second))[follower]
    assert await deliver(floor, (await expand(floor, first))[follower]["fo_id"], GONE) is FollowerState.REJECTED
    assert await deliver(floor, waiting["fo_id"]) is FollowerState.DEAD_LETTER
    later = (await expand(floor, await floor.admit(qty="4")))[follower]
    assert (later["state"], later["reason"]) == ("skipped", "endpoint_disabled")
    letters = await floor.rows("SELECT fo_id, reason FROM dead_letters")
    assert letters == [{"fo_id": waiting["fo_id"], "reason": "endpoint_disabled"}]


async def test_auto_disable_fires_and_does_not_fire_unnoticed(floor: Floor) -> None:
    follower = await floor.follower()
    disabled = "SELECT endpoint_disabled_at IS NOT NULL AS off FROM followers WHERE follower_id = %s"
    failures = 0
    while not (await floor.rows(disabled, follower))[0]["off"]:
        assert failures < 20
        order = (await expand(floor, await floor.admit(qty=str(failures + 1))))[follower]
        for _ in range(5):
            await deliver(floor, order["fo_id"], BROKEN)
            failures += 1
    of_follower = "SELECT action FROM audit_events WHERE entity_id = %s AND entity = 'follower' ORDER BY event_id"
    told = await floor.rows(of_follower, follower)
    assert [event["action"] for event in told] == ["created", "endpoint_disabled"]
    assert failures == 20

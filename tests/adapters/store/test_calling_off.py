"""A manager order that is cancelled or expires: what ends, what stays, and what the vault gets back."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.redrive import RedriveStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain.dispatch import Change, reported
from domain.mirroring import RedriveRequest
from domain.orders import FollowerState, ManagerState
from domain.ports import VenueStatus
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import UNLIMITED, Floor, Pause, SpiedDatabase, admission_store, manager_order
from tests.domain.pending import venue_order


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


def settlement(floor: Floor) -> SettlementStore:
    return SettlementStore(floor.database)


async def expire(floor: Floor, mo_id: str) -> Any:
    return await settlement(floor).cancel(floor.tenant_id, mo_id, "system:expiry", ManagerState.EXPIRED)


async def sent(floor: Floor, count: int = 1) -> tuple[str, list[Any]]:
    """An order whose `count` followers' orders are on their way."""
    for _ in range(count):
        await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    return mo_id, await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))


async def report(floor: Floor, fo_id: str, status: VenueStatus, filled: int = 0) -> None:
    store = DispatchStore(floor.database)
    async with store.locked(floor.tenant_id, fo_id) as (cursor, order):
        price = Decimal(200) if filled else None
        await store.change(cursor, reported(order, venue_order(status, filled, price), "test"))


async def manager(floor: Floor, mo_id: str) -> dict[str, Any]:
    [row] = await floor.rows("SELECT state, live, given_back_at FROM manager_orders WHERE mo_id = %s", mo_id)
    return row


async def states(floor: Floor, mo_id: str) -> list[tuple[str, str | None]]:
    rows = await floor.rows("SELECT state, reason FROM follower_orders WHERE mo_id = %s ORDER BY fo_id", mo_id)
    return [(row["state"], row["reason"]) for row in rows]


async def held(floor: Floor) -> Decimal:
    rows = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s", floor.vault_id)
    return rows[0]["qty"] if rows else Decimal(0)


async def cash(floor: Floor) -> Decimal:
    [row] = await floor.rows("SELECT cash_usd FROM vaults WHERE vault_id = %s", floor.vault_id)
    return Decimal(row["cash_usd"])


async def test_an_expiry_ends_what_was_never_sent_and_says_so(floor: Floor) -> None:
    await floor.follower()
    mo_id = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    before = await cash(floor)
    done = await expire(floor, mo_id)
    assert (done.cancelled, done.in_flight, done.state) == (1, 0, ManagerState.EXPIRED)
    assert await states(floor, mo_id) == [("cancelled", "expired")]
    assert (await manager(floor, mo_id))["state"] == "expired"
    assert await held(floor) == 0
    assert await cash(floor) == before + 2_000
    told = await floor.rows("SELECT actor, payload FROM audit_events WHERE mo_id = %s AND action = 'expired'", mo_id)
    assert [(event["actor"], event["payload"]["from"]) for event in told] == [("system:expiry", "dispatching")]


async def test_a_second_call_off_changes_nothing_whichever_it_is(floor: Floor) -> None:
    mo_id, _ = await sent(floor)
    first = await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    again = await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    late = await expire(floor, mo_id)
    assert (first.cancelled, first.in_flight) == (0, 1)
    assert first == again == late
    events = await floor.rows(
        "SELECT action FROM audit_events WHERE entity_id = %s AND action IN ('cancelled', 'expired')", mo_id
    )
    assert [event["action"] for event in events] == ["cancelled"]


async def test_an_expired_order_stays_expired_when_somebody_cancels_it(floor: Floor) -> None:
    mo_id, _ = await sent(floor)
    await expire(floor, mo_id)
    assert (await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)).state is ManagerState.EXPIRED
    assert (await manager(floor, mo_id))["state"] == "expired"


async def test_a_settled_order_stays_settled(floor: Floor) -> None:
    mo_id = (await floor.admit()).mo_id
    await settlement(floor).settle(floor.tenant_id, mo_id)
    done = await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    assert (done.cancelled, done.in_flight, done.state) == (0, 0, ManagerState.SETTLED)
    assert await held(floor) == 10


async def test_an_order_is_live_until_everything_of_it_is_over(floor: Floor) -> None:
    mo_id, [order] = await sent(floor)
    await expire(floor, mo_id)
    assert (await manager(floor, mo_id))["live"]
    await settlement(floor).settle(floor.tenant_id, mo_id)
    assert (await manager(floor, mo_id))["live"]  # its owner was lost: what is on its way still counts
    await report(floor, order.fo_id, VenueStatus.CANCELLED)
    await settlement(floor).settle(floor.tenant_id, mo_id)
    assert not (await manager(floor, mo_id))["live"]


async def test_fills_that_came_before_an_expiry_stay_and_the_vault_keeps_its_position(floor: Floor) -> None:
    mo_id, [order] = await sent(floor)
    await report(floor, order.fo_id, VenueStatus.PARTIALLY_FILLED, 4)
    await expire(floor, mo_id)
    await report(floor, order.fo_id, VenueStatus.CANCELLED, 4)
    await settlement(floor).settle(floor.tenant_id, mo_id)
    [row] = await floor.rows("SELECT state, filled_qty FROM follower_orders WHERE mo_id = %s", mo_id)
    assert (row["state"], row["filled_qty"]) == ("cancelled", 4)
    assert (await manager(floor, mo_id))["given_back_at"] is None
    assert await held(floor) == 10


@pytest.mark.parametrize("end", [VenueStatus.CANCELLED, VenueStatus.REJECTED])
async def test_the_vault_gets_its_quantity_back_when_it_turns_out_that_nobody_traded(
    floor: Floor, end: VenueStatus
) -> None:
    before = await cash(floor)
    mo_id, orders = await sent(floor, 2)
    await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    assert await held(floor) == 10
    for order in orders:
        await report(floor, order.fo_id, end)
    await settlement(floor).settle(floor.tenant_id, mo_id)
    await settlement(floor).settle(floor.tenant_id, mo_id)
    assert await held(floor) == 0
    assert await cash(floor) == before


async def test_no_more_comes_back_than_a_later_exit_has_left(floor: Floor) -> None:
    mo_id, [order] = await sent(floor)
    await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    await floor.admit(side="sell", qty="7")
    await report(floor, order.fo_id, VenueStatus.CANCELLED)
    await settlement(floor).settle(floor.tenant_id, mo_id)
    assert await held(floor) == 0


async def test_a_repeat_of_an_order_that_has_expired_since_is_no_refusal(floor: Floor) -> None:
    order = manager_order(
        floor.tenant_id, floor.vault_id, meta={"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    )
    store: AdmissionStore = admission_store(floor.database)
    first = await store.admit(order, datetime.now(UTC))
    assert first.expires_at == order.intent.expires_at
    await expire(floor, order.mo_id)
    again = await store.admit(order, datetime.now(UTC))
    assert (again.accepted, again.state, again.code) == (True, ManagerState.EXPIRED, None)


async def test_a_reduction_never_expires(floor: Floor) -> None:
    await floor.admit()
    meta = {"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    assert (await floor.admit(side="sell", qty="4", meta=meta)).expires_at is None


async def test_a_settle_that_comes_during_a_cancel_waits_and_leaves_it_cancelled(floor: Floor) -> None:
    mo_id, [order] = await sent(floor)
    await report(floor, order.fo_id, VenueStatus.FILLED, 10)
    pause = Pause("SELECT fo_id, state FROM follower_orders")
    slow = SettlementStore(SpiedDatabase(floor.database, pause))  # type: ignore[arg-type]
    cancelling = asyncio.create_task(slow.cancel(floor.tenant_id, mo_id, ACTOR))
    await asyncio.wait_for(pause.reached.wait(), 30)
    settling = asyncio.create_task(settlement(floor).settle(floor.tenant_id, mo_id))
    async with asyncio.timeout(60):
        while not await floor.rows("SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", pause.pid):
            await asyncio.sleep(0.01)
    pause.go_on.set()
    await cancelling
    assert (await settling).state is ManagerState.CANCELLED
    assert (await manager(floor, mo_id))["state"] == "cancelled"


async def test_a_settled_order_of_which_a_dead_letter_was_sent_again_can_be_cancelled(floor: Floor) -> None:
    mo_id, [order] = await sent(floor)
    buried = Change(order.fo_id, FollowerState.SENT, (FollowerState.DEAD_LETTER,), reason="unresolved")
    dispatch = DispatchStore(floor.database)
    async with dispatch.locked(floor.tenant_id, order.fo_id) as (cursor, _):
        await dispatch.change(cursor, buried)
    assert (await settlement(floor).settle(floor.tenant_id, mo_id)).state is ManagerState.SETTLED_WITH_ERRORS
    over = await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    assert over.state is ManagerState.SETTLED_WITH_ERRORS  # nothing of it is under way

    [letter] = await floor.rows("SELECT dead_letter_id FROM dead_letters WHERE fo_id = %s", order.fo_id)
    wanted = RedriveRequest(letter["dead_letter_id"], "user:ops")
    assert (
        await RedriveStore(floor.database, UNLIMITED).redrive(floor.tenant_id, order.fo_id, wanted, datetime.now(UTC))
    ).redriven
    done = await settlement(floor).cancel(floor.tenant_id, mo_id, ACTOR)
    assert (done.state, done.cancelled, done.in_flight) == (ManagerState.CANCELLED, 0, 1)
    again = await dispatch.take(floor.tenant_id, order.fo_id, datetime.now(UTC))
    # It may have arrived the first time, so it cannot be called cancelled; but nothing more is sent.
    assert again.state is FollowerState.DEAD_LETTER
    await RedriveStore(floor.database, UNLIMITED).close(floor.tenant_id, order.fo_id)
    assert not (await manager(floor, mo_id))["live"]


async def test_stale_signals_do_not_execute_hours_later(floor: Floor) -> None:
    """A worker that comes back after the order's time finds it in its line, and sends nothing."""
    await floor.follower()
    meta = {"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    mo_id = (await floor.admit(meta=meta)).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    [row] = await floor.rows("SELECT fo_id FROM follower_orders WHERE mo_id = %s", mo_id)
    store = DispatchStore(floor.database)
    late = await store.take(floor.tenant_id, row["fo_id"], datetime.now(UTC) + timedelta(hours=3))
    assert late.state is FollowerState.CANCELLED
    assert await states(floor, mo_id) == [("cancelled", "expired")]
    assert await floor.rows("SELECT 1 FROM attempts WHERE fo_id = %s", row["fo_id"]) == []

"""Orders outside their instrument's session, and of restricted instruments, at the door and at the moment of a send."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.calendars import CalendarStore
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.door import Door
from adapters.store.expansion import ExpansionStore
from adapters.store.preview import PreviewStore
from adapters.store.registry import Registry
from adapters.store.releasing import ReleaseStore
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain.errors import Conflict
from domain.mirroring import Admission, MirrorOrderInput
from domain.orders import FollowerState, ManagerState
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.markets import DAY, calendar, published, trades_by
from tests.adapters.store.orders import EQUITY, UNLIMITED, Floor, manager_order

HOUR = timedelta(hours=1)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> AsyncIterator[Floor]:
    made = Floor(database, registry, tenant)
    await made.prepare()
    yield made
    await trades_by(made, None)


def doors(floor: Floor) -> ReleaseStore:
    return ReleaseStore(
        floor.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )


async def queues(floor: Floor, **more: Any) -> None:
    changes = {"risk_profile": {"outside_session": "queue", **more}}
    await floor.registry.update_vault(floor.tenant_id, floor.vault_id, changes, actor=ACTOR)


async def place(floor: Floor, **more: Any) -> tuple[MirrorOrderInput, Admission]:
    order = manager_order(floor.tenant_id, floor.vault_id, **more)
    return order, await doors(floor).admit(order, datetime.now(UTC))


async def row(floor: Floor, mo_id: str) -> dict[str, Any]:
    [found] = await floor.rows("SELECT * FROM manager_orders WHERE mo_id = %s", mo_id)
    return found


async def told(floor: Floor, mo_id: str) -> list[str]:
    events = await floor.rows("SELECT action FROM audit_events WHERE mo_id = %s ORDER BY event_id", mo_id)
    return [event["action"] for event in events]


async def held(floor: Floor) -> int:
    found = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s AND symbol = %s", floor.vault_id, EQUITY)
    return int(found[0]["qty"]) if found else 0


async def test_an_open_is_refused_with_the_time_of_the_opening_and_recorded(floor: Floor) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    order, refused = await place(floor)
    assert (refused.code, refused.field) == ("market-closed", "symbol")
    assert "it opens at" in (refused.reason or "")
    assert (await row(floor, order.mo_id))["state"] == "rejected"


async def test_in_its_session_and_without_a_calendar_an_order_begins(floor: Floor) -> None:
    for code in (await calendar(floor.database, opens_in=-HOUR), "24/7", None):
        await trades_by(floor, code)
        assert (await place(floor))[1].state is ManagerState.DISPATCHING


async def test_a_calendar_that_nobody_stored_lets_nothing_pass(floor: Floor) -> None:
    await trades_by(floor, "NOBODYS")
    await queues(floor)
    assert (await place(floor))[1].code == "calendar-unknown"


async def test_an_order_waits_unsized_and_moves_nothing_until_it_is_released(floor: Floor) -> None:
    follower = await floor.follower()
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor)
    assert (waits.accepted, waits.state, waits.followers) == (True, ManagerState.RECEIVED, 0)
    assert waits.waits_until is not None
    assert await doors(floor).admit(order, datetime.now(UTC)) == waits
    assert await held(floor) == 0
    assert await floor.rows("SELECT 1 FROM snapshots WHERE mo_id = %s", order.mo_id) == []
    assert await told(floor, order.mo_id) == ["received", "waits"]

    begun = await doors(floor).release(order, waits.waits_until)
    assert (begun.state, begun.followers, begun.waits_until) == (ManagerState.DISPATCHING, 1, None)
    assert await doors(floor).release(order, waits.waits_until) == begun
    assert await held(floor) == 10
    assert await told(floor, order.mo_id) == ["received", "waits", "dispatching"]
    page = await floor.page(order.mo_id)
    assert [o.follower_id for o in page.orders] == [follower]
    # Its session has begun for the guards, too.
    sent = await WaveStore(floor.database).open(page, page.orders, waits.waits_until + timedelta(minutes=1))
    assert len(sent) == 1


async def test_the_snapshot_is_of_the_opening_and_not_of_the_night(floor: Floor) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor, meta={"reference_price": "201"})
    assert waits.waits_until is not None
    await floor.rows("UPDATE prices SET price = 205 WHERE symbol = %s", EQUITY)
    await doors(floor).release(order, waits.waits_until)
    [snapshot] = await floor.rows("SELECT body FROM snapshots WHERE mo_id = %s", order.mo_id)
    assert (snapshot["body"]["price"], snapshot["body"]["price_source"]) == ("205", "test")


async def test_what_has_changed_overnight_is_refused_at_the_opening(floor: Floor) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor)
    assert waits.waits_until is not None
    await floor.rows("UPDATE vaults SET halt = 'halt_opens' WHERE vault_id = %s", floor.vault_id)
    refused = await doors(floor).release(order, waits.waits_until)
    assert (refused.accepted, refused.code, refused.state) == (False, "vault-halted", ManagerState.REJECTED)
    stored = await row(floor, order.mo_id)
    assert (stored["state"], stored["live"], stored["effect"]) == ("rejected", False, None)
    again = await doors(floor).release(order, waits.waits_until)
    assert (again.accepted, again.code) == (False, "vault-halted")
    assert await told(floor, order.mo_id) == ["received", "waits", "rejected"]


async def test_at_the_opening_the_first_prices_are_waited_for_but_not_for_long(floor: Floor) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor)
    assert waits.waits_until is not None
    await floor.rows("UPDATE prices SET asof = asof - interval '3 days' WHERE symbol = %s", EQUITY)
    first = await doors(floor).release(order, waits.waits_until)
    assert first.waits_until is not None
    assert waits.waits_until < first.waits_until < waits.waits_until + timedelta(minutes=1)
    assert "last price is of" in (first.reason or "")
    late = await doors(floor).release(order, waits.waits_until + timedelta(minutes=10))
    assert (late.accepted, late.code) == (False, "stale-price")
    await floor.prepare()  # sets the price anew


async def test_once_a_price_has_come_the_order_begins(floor: Floor) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor)
    assert waits.waits_until is not None
    await floor.rows("UPDATE prices SET asof = asof - interval '3 days' WHERE symbol = %s", EQUITY)
    again = await doors(floor).release(order, waits.waits_until)
    await floor.rows("UPDATE prices SET asof = %s WHERE symbol = %s", waits.waits_until, EQUITY)
    assert again.waits_until is not None
    assert (await doors(floor).release(order, again.waits_until)).state is ManagerState.DISPATCHING
    assert await told(floor, order.mo_id) == ["received", "waits", "waits", "dispatching"]


async def test_a_session_that_was_moved_has_the_order_wait_on(floor: Floor) -> None:
    code = await calendar(floor.database, opens_in=HOUR)
    await trades_by(floor, code)
    await queues(floor)
    order, waits = await place(floor)
    assert waits.waits_until is not None
    later = datetime.now(UTC) + DAY
    await CalendarStore(floor.database).keep(published(code, (later, later + HOUR)))
    assert (await doors(floor).release(order, waits.waits_until)).waits_until == later
    assert (await row(floor, order.mo_id))["waits_until"] == later


async def test_a_reduction_waits_in_a_vault_that_refuses(floor: Floor) -> None:
    assert (await place(floor))[1].accepted
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    order, waits = await place(floor, side="sell", qty="4")
    assert (waits.state, await held(floor)) == (ManagerState.RECEIVED, 10)
    assert waits.waits_until is not None
    assert (await doors(floor).release(order, waits.waits_until)).state is ManagerState.DISPATCHING
    assert await held(floor) == 6


async def test_of_two_exits_that_wait_the_second_finds_nothing_left(floor: Floor) -> None:
    assert (await place(floor))[1].accepted
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    first, waits = await place(floor, side="sell")
    second, _ = await place(floor, side="sell")
    assert waits.waits_until is not None
    assert (await doors(floor).release(first, waits.waits_until)).accepted
    assert (await doors(floor).release(second, waits.waits_until)).code == "nothing-held"


@pytest.mark.parametrize("wanted", [ManagerState.CANCELLED, ManagerState.EXPIRED])
async def test_called_off_while_it_waits_it_gives_nothing_back_and_stays_off(
    floor: Floor, wanted: ManagerState
) -> None:
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    order, waits = await place(floor)
    assert waits.waits_until is not None
    assert (await row(floor, order.mo_id))["live"]  # a flatten finds it
    settlement = SettlementStore(floor.database)
    assert (await settlement.cancel(floor.tenant_id, order.mo_id, ACTOR, wanted)).state is wanted
    await settlement.settle(floor.tenant_id, order.mo_id)
    assert (await held(floor), (await row(floor, order.mo_id))["live"]) == (0, False)
    assert (await doors(floor).release(order, waits.waits_until)).state is wanted
    assert await told(floor, order.mo_id) == ["received", "waits", wanted.value]


async def test_at_the_close_an_open_is_claimed_no_more_and_a_reduction_still_is(floor: Floor) -> None:
    await floor.follower()
    code = await calendar(floor.database, opens_in=-HOUR, lasts=2 * HOUR)
    await trades_by(floor, code)
    opened = await floor.admit()
    late = datetime.now(UTC) + 2 * HOUR
    page = await floor.page(opened.mo_id)
    assert await WaveStore(floor.database).open(page, page.orders, late) == []
    await ExpansionStore(floor.database).expand(floor.tenant_id, opened.mo_id, 0)
    [ref] = await DispatchStore(floor.database).refs(floor.tenant_id, opened.mo_id, 0)
    # A calendar with nothing after the close is closed for good, as far as anybody knows.
    await CalendarStore(floor.database).keep(
        published(code, (late - 3 * HOUR, late - HOUR), (late + DAY, late + DAY + HOUR))
    )
    stopped = await DispatchStore(floor.database).take(floor.tenant_id, ref.fo_id, late)
    assert stopped.state is FollowerState.CANCELLED
    [ended] = await floor.rows("SELECT reason FROM follower_orders WHERE fo_id = %s", ref.fo_id)
    assert ended["reason"] == "market_closed"


async def test_a_halt_at_the_venue_stops_what_is_on_its_way_reductions_too(floor: Floor) -> None:
    await floor.follower()
    opened = await floor.admit()
    await trades_by(floor, None, "cancel_only")
    await ExpansionStore(floor.database).expand(floor.tenant_id, opened.mo_id, 0)
    [ref] = await DispatchStore(floor.database).refs(floor.tenant_id, opened.mo_id, 0)
    stopped = await DispatchStore(floor.database).take(floor.tenant_id, ref.fo_id, datetime.now(UTC))
    assert stopped.state is FollowerState.CANCELLED
    [ended] = await floor.rows("SELECT reason FROM follower_orders WHERE fo_id = %s", ref.fo_id)
    assert ended["reason"] == "instrument_halted"
    assert (await place(floor, side="sell", qty="1"))[1].code == "instrument-halted"


async def test_a_preview_says_that_the_order_would_wait_and_until_when(floor: Floor) -> None:
    follower = await floor.follower()
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await queues(floor)
    door = Door(max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6))
    previews = PreviewStore(floor.database, door, UNLIMITED)
    raw = {"symbol": EQUITY, "side": "buy", "qty": "10"}
    shown = await previews.preview(floor.tenant_id, follower, raw, None)
    assert (shown.verdict.accepted, shown.stop) == (True, None)
    assert shown.verdict.waits_until is not None
    raw["meta"] = {"outside_session": "refuse"}  # type: ignore[assignment]
    assert (await previews.preview(floor.tenant_id, follower, raw, None)).verdict.code == "market-closed"


async def test_a_calendar_is_replaced_from_its_first_day_on_and_kept_before_it(database: Database) -> None:
    store, now = CalendarStore(database), datetime.now(UTC).replace(microsecond=0)
    code = await calendar(database, opens_in=-40 * DAY)
    first, second = (now + DAY, now + DAY + HOUR), (now + 2 * DAY, now + 2 * DAY + HOUR)
    assert await store.keep(published(code, first, second)) == 2
    assert await store.keep(published(code, first, second)) == 0
    early = (second[0], second[1] - timedelta(minutes=30))  # and the first is a holiday after all
    assert await store.keep(published(code, early)) == 2
    days = await store.days(code, (now - 50 * DAY).date(), (now + 9 * DAY).date())
    assert [(day["opens_at"], day["closes_at"]) for day in days][1:] == [early]
    assert len(days) == 2


async def test_a_calendar_that_ends_soon_is_said_to(floor: Floor) -> None:
    store = CalendarStore(floor.database)
    await trades_by(floor, await calendar(floor.database, opens_in=HOUR))
    await store.require_ahead(59)
    with pytest.raises(Conflict, match="vanta calendars refresh"):
        await store.require_ahead(61)
    await trades_by(floor, "NOBODYS")
    with pytest.raises(Conflict, match="NOBODYS"):
        await store.require_ahead(1)

"""Orders' progress on the real Postgres, where events' numbers and their commits come in different orders."""

import asyncio
from datetime import UTC, datetime

import pytest

from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.progress import Piece, Place, ProgressStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain.dispatch import Change
from domain.errors import InvalidInput, NotFound
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome
from tests.adapters.store.orders import Floor

ACK = SendOutcome(OutcomeKind.ACK, "ack", "", 200)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def sent(floor: Floor, followers: int) -> tuple[str, list[str]]:
    """An order whose followers' orders are on the wire; their ids."""
    for _ in range(followers):
        await floor.follower()
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    pending = await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
    return mo_id, [order.fo_id for order in pending]


async def look(store: ProgressStore, floor: Floor, mo_id: str, seen: int = 0, most: int = 500) -> Piece:
    [piece] = await store.look([Place(floor.tenant_id, mo_id, seen)], most)
    return piece


async def whole(store: ProgressStore, floor: Floor, mo_id: str, seen: int = 0) -> Piece:
    """Once nobody's open transaction can hide anything."""
    async with asyncio.timeout(20):
        while not (piece := await look(store, floor, mo_id, seen)).whole:
            await asyncio.sleep(0.02)
    return piece


async def test_an_event_that_shows_before_one_with_a_lower_number_waits_for_it(floor: Floor) -> None:
    mo_id, (first, second) = await sent(floor, 2)
    store, orders = ProgressStore(floor.database), DispatchStore(floor.database)
    seen = (await whole(store, floor, mo_id)).events[-1].event_id

    async with orders.locked(floor.tenant_id, first) as (cursor, order):
        # Its number is given here; it shows only when the block ends.
        await orders.change(cursor, Change(order.fo_id, order.state, (FollowerState.ACK,)))
        async with orders.locked(floor.tenant_id, second) as (other, later):
            await orders.change(other, Change(later.fo_id, later.state, (FollowerState.ACK,)))
        rows = await floor.rows(
            "SELECT entity_id FROM audit_events WHERE mo_id = %s AND event_id > %s ORDER BY event_id", mo_id, seen
        )
        assert [row["entity_id"] for row in rows] == [second]  # the hole is real
        for _ in range(4):
            piece = await look(store, floor, mo_id, seen)
            assert (piece.events, piece.whole) == ((), False)

    piece = await whole(store, floor, mo_id, seen)
    assert [event.entity_id for event in piece.events] == [first, second]
    assert piece.events[0].event_id < piece.events[1].event_id


async def test_a_transaction_that_came_later_holds_nothing_back(floor: Floor) -> None:
    mo_id, [fo_id] = await sent(floor, 1)
    store, orders = ProgressStore(floor.database), DispatchStore(floor.database)
    seen = (await whole(store, floor, mo_id)).events[-1].event_id
    async with orders.locked(floor.tenant_id, fo_id) as (cursor, order):
        await orders.change(cursor, Change(order.fo_id, order.state, (FollowerState.ACK,)))
    await whole(store, floor, mo_id, seen)
    async with orders.locked(floor.tenant_id, fo_id) as (cursor, order):
        await orders.change(cursor, Change(order.fo_id, order.state, (FollowerState.CANCELLED,)))
        piece = await look(store, floor, mo_id, seen)
        assert [event.action for event in piece.events] == ["ack"]


async def test_the_whole_order_is_told_page_by_page_to_its_end(floor: Floor) -> None:
    mo_id, _ = await sent(floor, 3)
    page = await floor.page(mo_id)
    orders = DispatchStore(floor.database)
    for fo_id in [o.fo_id for o in page.orders]:
        async with orders.locked(floor.tenant_id, fo_id) as (_, order):
            pass
        await orders.record(floor.tenant_id, [(order, ACK)])
    await SettlementStore(floor.database).settle(floor.tenant_id, mo_id)
    store = ProgressStore(floor.database)
    everything = await whole(store, floor, mo_id)
    assert (everything.state, everything.live) == ("settled", False)
    pages, seen = [], 0
    while not (piece := await look(store, floor, mo_id, seen, most=4)).whole:
        pages += [event.event_id for event in piece.events]
        seen = pages[-1]
    pages += [event.event_id for event in piece.events]
    assert pages == [event.event_id for event in everything.events]
    assert all("trace" not in event.payload for event in everything.events)
    rows = await floor.rows("SELECT count(*) AS n FROM audit_events WHERE mo_id = %s", mo_id)
    assert len(pages) == rows[0]["n"]


async def test_orders_of_several_tenants_are_read_at_once_and_each_shows_its_own_only(
    floor: Floor, database: Database, registry: Registry
) -> None:
    mo_id, _ = await sent(floor, 1)
    store = ProgressStore(database)
    await whole(store, floor, mo_id)
    stranger = "11111111-2222-4333-8444-555555555555"
    theirs, mine, nothing = await store.look(
        [Place(stranger, mo_id, 0), Place(floor.tenant_id, mo_id, 0), Place(floor.tenant_id, "M-none", 0)], 100
    )
    assert theirs.events == nothing.events == ()
    assert mine.events[0].entity_id == mo_id
    assert not theirs.state


async def test_a_stream_begins_only_for_ones_own_order_and_after_one_of_its_events(floor: Floor) -> None:
    mo_id, _ = await sent(floor, 1)
    store = ProgressStore(floor.database)
    first = (await whole(store, floor, mo_id)).events[0].event_id
    await store.begin(floor.tenant_id, mo_id, 0)
    await store.begin(floor.tenant_id, mo_id, first)
    with pytest.raises(InvalidInput, match="Last-Event-ID"):
        await store.begin(floor.tenant_id, mo_id, first - 1)
    with pytest.raises(NotFound):
        await store.begin("11111111-2222-4333-8444-555555555555", mo_id, 0)

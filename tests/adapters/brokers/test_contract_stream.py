"""What every adapter with a stream promises of it (`domain.ports.Streaming`), and that nothing hangs on it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.orders import OrderType
from domain.ports import BrokerCredentials, Streaming, VenueOrder, VenueStatus
from tests.adapters.brokers.harness import accepted, found
from tests.adapters.brokers.venue import Venue

PATIENCE_S = 10


@pytest.fixture(autouse=True)
def streams(venue: Venue) -> None:
    if not venue.broker.capabilities.streams:
        pytest.skip("this venue has no stream")


@asynccontextmanager
async def listening(venue: Venue, credentials: BrokerCredentials | None = None) -> AsyncIterator[Any]:
    """A stream from which nothing is missed from now on."""
    assert isinstance(venue.broker, Streaming)
    reports: Any = venue.broker.reports(credentials or venue.credentials)
    try:
        assert await asyncio.wait_for(anext(reports), PATIENCE_S) is None
        yield reports
    finally:
        await reports.aclose()


async def heard_until(reports: Any, is_it: Callable[[VenueOrder], bool]) -> list[VenueOrder]:
    """Everything up to the report that is waited for; a stream may say None again when it has looked anew."""
    heard: list[VenueOrder] = []
    async with asyncio.timeout(PATIENCE_S):
        async for report in reports:
            if report is not None:
                heard.append(report)
                if is_it(report):
                    return heard
    raise AssertionError("a stream ended without saying why")


def has(client_order_id: str, status: VenueStatus) -> Callable[[VenueOrder], bool]:
    return lambda report: (report.client_order_id, report.status) == (client_order_id, status)


async def test_an_order_is_reported_as_it_stands_until_it_is_filled(venue: Venue):
    async with listening(venue) as reports:
        ref = (await accepted(venue, venue.order("FO-1"))).ref
        *_, last = await heard_until(reports, has("FO-1", VenueStatus.FILLED))
        assert (last.ref, last.filled_qty) == (ref, Decimal(10))
        assert last.avg_price == (await found(venue, "FO-1")).avg_price


async def test_reports_of_partial_fills_are_cumulative(venue: Venue):
    venue.live_next(steps=4, interval_s=10)
    async with listening(venue) as reports:
        await accepted(venue, venue.order("FO-1"))
        heard = await heard_until(reports, has("FO-1", VenueStatus.PARTIALLY_FILLED))
        venue.clock.advance(60)
        heard += await heard_until(reports, has("FO-1", VenueStatus.FILLED))
        filled = [report.filled_qty for report in heard]
        assert filled == sorted(filled)
        assert filled[-1] == Decimal(10)
        assert len(set(filled)) > 2


async def test_a_cancel_is_reported(venue: Venue):
    async with listening(venue) as reports:
        order = venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100))
        await venue.broker.cancel(venue.credentials, (await accepted(venue, order)).ref)
        await heard_until(reports, has("FO-1", VenueStatus.CANCELLED))


async def test_what_the_owner_orders_by_hand_is_reported_too(venue: Venue):
    async with listening(venue) as reports:
        ref = venue.trade_by_hand("sell", 4)
        await heard_until(reports, lambda report: report.ref == ref and report.status is VenueStatus.FILLED)


async def test_what_a_stream_loses_a_look_up_finds(venue: Venue):
    async with listening(venue) as reports:
        venue.simulator.lose_events(1_000)
        await accepted(venue, venue.order("FO-1"))
        assert (await found(venue, "FO-1")).status is VenueStatus.FILLED
        assert venue.simulator.exchange.feed.dropped > 0
        venue.simulator.end_streams()
        with pytest.raises(VenueUnavailable):
            await heard_until(reports, lambda report: report.client_order_id == "FO-1")


async def test_a_connection_that_ends_says_so_and_can_be_made_again(venue: Venue):
    async with listening(venue) as reports:
        venue.simulator.end_streams()
        with pytest.raises(VenueUnavailable):
            await heard_until(reports, lambda report: False)
    async with listening(venue) as reports:
        await accepted(venue, venue.order("FO-1"))
        await heard_until(reports, has("FO-1", VenueStatus.FILLED))


async def test_a_venue_that_is_down_is_unavailable(venue: Venue):
    venue.simulator.go_down(600)
    with pytest.raises(VenueUnavailable):
        async with listening(venue):
            pass
    venue.clock.advance(601)
    async with listening(venue):
        pass


async def test_wrong_credentials_are_refused(venue: Venue):
    with pytest.raises(VenueRefused):
        async with listening(venue, venue.wrong):
            pass


async def test_a_key_that_is_revoked_ends_its_stream_and_opens_none(venue: Venue):
    async with listening(venue) as reports:
        venue.simulator.revoke(venue.credentials.key_id)
        with pytest.raises(VenueError):
            await heard_until(reports, lambda report: False)
    with pytest.raises(VenueRefused):
        async with listening(venue):
            pass


async def test_each_account_hears_of_its_own_orders(venue: Venue):
    other = venue.enrol("AK2")
    async with listening(venue) as ours, listening(venue, other) as theirs:
        outcome = await venue.broker.submit(other, venue.order("FO-other"))
        assert outcome.venue_order is not None
        await accepted(venue, venue.order("FO-1"))
        heard = await heard_until(ours, has("FO-1", VenueStatus.FILLED))
        assert {report.client_order_id for report in heard} == {"FO-1"}
        heard = await heard_until(theirs, has("FO-other", VenueStatus.FILLED))
        assert {report.client_order_id for report in heard} == {"FO-other"}

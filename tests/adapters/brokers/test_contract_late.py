"""What comes late: bookings after the sender has gone, fills after a cancel was asked, rejections after acceptance."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.errors import VenueUnavailable
from domain.ports import OutcomeKind, VenueStatus
from tests.adapters.brokers.harness import accepted, found
from tests.adapters.brokers.venue import SLOW_MS, Breakage, Venue

SLOW_S = SLOW_MS / 1_000


async def test_an_order_that_is_booked_after_the_sender_gave_up_is_found_once_it_is_there(venue: Venue):
    venue.break_next("slow")
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.AMBIGUOUS, "no_answer")
    assert await venue.broker.look_up(venue.credentials, "FO-1") is None  # which proves nothing yet
    venue.clock.advance(SLOW_S)
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED
    assert (venue.booked("FO-1"), venue.submissions("FO-1")) == (1, 1)


async def test_absence_is_proven_no_sooner_than_a_slow_venue_books(venue: Venue):
    proven = venue.broker.capabilities.absence_proven_after_s
    assert proven > SLOW_S or venue.broker.capabilities.client_id_dedupes


async def test_an_order_sent_again_too_soon_is_refused_as_a_duplicate_where_the_venue_promises_so(venue: Venue):
    if not venue.broker.capabilities.client_id_dedupes:
        pytest.skip("nothing is ever a duplicate there: who sends again too soon buys twice")
    venue.break_next("duplicate_after_booking")
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.AMBIGUOUS, "duplicate_client_order_id")
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED


@pytest.mark.parametrize(
    ("late_steps", "status", "filled"),
    [(0, VenueStatus.CANCELLED, 2), (2, VenueStatus.CANCELLED, 6), (4, VenueStatus.FILLED, 10)],
)
async def test_what_fills_after_a_cancel_was_asked_is_filled(
    venue: Venue, late_steps: int, status: VenueStatus, filled: int
):
    venue.live_next(steps=5, ending="stuck", cancel_delay_ms=30_000, late_steps=late_steps)
    ref = (await accepted(venue, venue.order("FO-1"))).ref
    assert (await found(venue, "FO-1")).filled_qty == 2
    await venue.broker.cancel(venue.credentials, ref)
    waiting = await found(venue, "FO-1")
    assert (waiting.status, waiting.filled_qty) == (VenueStatus.PARTIALLY_FILLED, Decimal(2))
    await venue.broker.cancel(venue.credentials, ref)  # asking twice is no error
    venue.clock.advance(30)
    ended = await found(venue, "FO-1")
    assert (ended.status, ended.filled_qty) == (status, Decimal(filled))
    fills = await venue.broker.fills_since(venue.credentials, datetime.now(UTC) - timedelta(hours=1))
    assert sum((fill.qty for fill in fills if fill.ref == ref), Decimal(0)) == filled


@pytest.mark.parametrize("breakage", ["error_after_booking", "drop_after_booking", "hang_after_booking"])
async def test_a_cancel_whose_answer_is_lost_may_be_asked_again(venue: Venue, breakage: Breakage):
    venue.live_next(steps=2, ending="stuck")
    ref = (await accepted(venue, venue.order("FO-1"))).ref
    venue.break_reads(breakage)
    with suppress(VenueUnavailable):  # a transport may itself repeat what can be repeated
        await venue.broker.cancel(venue.credentials, ref)
    await venue.broker.cancel(venue.credentials, ref)
    assert (await found(venue, "FO-1")).status is VenueStatus.CANCELLED


async def test_an_order_that_is_rejected_after_it_was_accepted_has_no_fill(venue: Venue):
    venue.live_next(delay_s=30, ending="rejected", fill_steps=0)
    await accepted(venue, venue.order("FO-1"))
    assert (await found(venue, "FO-1")).status is VenueStatus.WORKING
    venue.clock.advance(30)
    rejected = await found(venue, "FO-1")
    assert (rejected.status, rejected.filled_qty) == (VenueStatus.REJECTED, Decimal(0))
    assert rejected.reason

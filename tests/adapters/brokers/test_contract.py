"""What every broker adapter promises (`domain.ports.Broker`), against its venue's simulator."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side
from domain.ports import OutcomeKind, VenueStatus
from tests.adapters.brokers.harness import SECRET, Breakage, Venue, accepted, found
from tests.adapters.brokers.venue import PRICE


async def test_a_market_order_is_acknowledged_and_then_filled(venue: Venue):
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert outcome.kind is OutcomeKind.ACK
    assert outcome.venue_order is not None
    assert outcome.venue_order.status is VenueStatus.WORKING
    report = await found(venue, "FO-1")
    assert (report.ref, report.status) == (outcome.venue_order.ref, VenueStatus.FILLED)
    assert (report.filled_qty, report.avg_price) == (Decimal(10), PRICE)


async def test_a_limit_order_away_from_the_market_stays_working_until_it_is_cancelled(venue: Venue):
    order = venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal("100.50"))
    ref = (await accepted(venue, order)).ref
    assert (await found(venue, "FO-1")).status is VenueStatus.WORKING
    await venue.broker.cancel(venue.credentials, ref)
    report = await found(venue, "FO-1")
    assert (report.status, report.filled_qty, report.avg_price) == (VenueStatus.CANCELLED, Decimal(0), None)


async def test_partial_fills_accumulate_to_the_whole(venue: Venue):
    venue.live_next(steps=4, interval_s=10)
    await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    seen = []
    for _ in range(4):
        report = await found(venue, "FO-1")
        seen.append((report.status, report.filled_qty))
        venue.clock.advance(10)
    partly = VenueStatus.PARTIALLY_FILLED
    assert [status for status, _ in seen] == [partly, partly, partly, VenueStatus.FILLED]
    assert [int(qty) for _, qty in seen] == [2, 5, 7, 10]


async def test_a_delayed_fill_is_working_until_its_time(venue: Venue):
    venue.live_next(delay_s=30)
    await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    venue.clock.advance(29)
    assert (await found(venue, "FO-1")).status is VenueStatus.WORKING
    venue.clock.advance(1)
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED


async def test_an_order_stuck_after_a_partial_fill_can_be_cancelled_and_keeps_its_fill(venue: Venue):
    venue.live_next(steps=2, ending="stuck")
    ref = (await accepted(venue, venue.order("FO-1"))).ref
    venue.clock.advance(3_600)
    assert (await found(venue, "FO-1")).status is VenueStatus.PARTIALLY_FILLED
    await venue.broker.cancel(venue.credentials, ref)
    report = await found(venue, "FO-1")
    assert (report.status, report.filled_qty) == (VenueStatus.CANCELLED, Decimal(5))


async def test_an_expired_order_keeps_its_fill(venue: Venue):
    venue.live_next(steps=2, ending="expired")
    await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    report = await found(venue, "FO-1")
    assert (report.status, report.filled_qty) == (VenueStatus.EXPIRED, Decimal(5))


async def test_cancelling_a_finished_or_unknown_order_is_not_an_error(venue: Venue):
    ref = (await accepted(venue, venue.order("FO-1"))).ref
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED
    await venue.broker.cancel(venue.credentials, ref)
    await venue.broker.cancel(venue.credentials, venue.unknown_ref)
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED


async def test_an_unknown_client_order_id_is_found_to_be_absent(venue: Venue):
    assert await venue.broker.look_up(venue.credentials, "FO-never-sent") is None


@pytest.mark.parametrize("again", ["live", "cancelled"])
async def test_a_second_submission_under_the_same_id_is_ambiguous_and_books_nothing(venue: Venue, again: str):
    if not venue.broker.capabilities.client_id_dedupes:
        pytest.skip("the venue promises nothing of a second order under an id: nobody may send one blindly")
    order = venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100))
    ref = (await accepted(venue, order)).ref
    if again == "cancelled":
        await venue.broker.cancel(venue.credentials, ref)
    outcome = await venue.broker.submit(venue.credentials, order)
    assert (outcome.kind, outcome.code) == (OutcomeKind.AMBIGUOUS, "duplicate_client_order_id")
    assert venue.booked("FO-1") == 1


@pytest.mark.parametrize("breakage", ["hang_after_booking", "drop_after_booking", "error_after_booking"])
async def test_no_usable_answer_after_booking_is_ambiguous_and_the_look_up_finds_the_order(
    venue: Venue, breakage: Breakage
):
    venue.break_next(breakage)
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert outcome.kind is OutcomeKind.AMBIGUOUS
    assert (await found(venue, "FO-1")).status is VenueStatus.FILLED
    assert (venue.booked("FO-1"), venue.submissions("FO-1")) == (1, 1)


@pytest.mark.parametrize("breakage", ["hang", "drop", "error"])
async def test_no_usable_answer_before_booking_is_ambiguous_and_a_resubmission_books_once(
    venue: Venue, breakage: Breakage
):
    venue.break_next(breakage)
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert outcome.kind is OutcomeKind.AMBIGUOUS
    assert await venue.broker.look_up(venue.credentials, "FO-1") is None
    assert (await venue.broker.submit(venue.credentials, venue.order("FO-1"))).kind is OutcomeKind.ACK
    assert (venue.booked("FO-1"), venue.submissions("FO-1")) == (1, 2)


async def test_a_rate_limit_is_retryable_carries_the_wait_and_books_nothing(venue: Venue):
    venue.break_next("rate_limited", times=2, retry_after_s=7)
    for _ in range(2):
        outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
        assert (outcome.kind, outcome.code, outcome.retry_after_s) == (OutcomeKind.RETRYABLE, "rate_limited", 7)
        assert venue.booked("FO-1") == 0
        venue.clock.advance(7)
    assert (await venue.broker.submit(venue.credentials, venue.order("FO-1"))).kind is OutcomeKind.ACK
    assert venue.booked("FO-1") == 1


async def test_a_submission_is_sent_once_whatever_happens(venue: Venue):
    breakages: list[Breakage] = ["error", "drop", "hang", "rate_limited", "error_after_booking"]
    for number, breakage in enumerate(breakages):
        venue.break_next(breakage, times=1_000)
        outcome = await venue.broker.submit(venue.credentials, venue.order(f"FO-{number}"))
        assert venue.submissions(f"FO-{number}") == 1
        venue.clock.advance(outcome.retry_after_s or 0)  # until then nothing is sent


@pytest.mark.parametrize("breakage", ["rate_limited", "error", "hang"])
async def test_a_broken_look_up_is_unavailable_and_not_absent(venue: Venue, breakage: Breakage):
    venue.break_reads(breakage)
    with pytest.raises(VenueUnavailable):
        await venue.broker.look_up(venue.credentials, "FO-1")


@pytest.mark.parametrize("breakage", ["rate_limited", "error", "hang"])
async def test_a_broken_cancel_is_unavailable(venue: Venue, breakage: Breakage):
    venue.break_reads(breakage)
    with pytest.raises(VenueUnavailable):
        await venue.broker.cancel(venue.credentials, "any-ref")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOSUCH"}, "unknown_symbol"),
        ({"qty": Decimal(1_000_000)}, "insufficient_funds"),
        ({"side": Side.SELL, "qty": Decimal(1_001)}, "insufficient_funds"),
    ],
)
async def test_a_refused_order_is_final_and_books_nothing(venue: Venue, changes: dict[str, object], code: str):
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1", **changes))
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, code)
    assert venue.booked("FO-1") == 0
    assert await venue.broker.look_up(venue.credentials, "FO-1") is None


async def test_wrong_credentials_are_final_and_the_secret_stays_secret(venue: Venue):
    wrong = venue.wrong
    outcome = await venue.broker.submit(wrong, venue.order("FO-1"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "bad_credentials")
    with pytest.raises(VenueRefused) as refused:
        await venue.broker.look_up(wrong, "FO-1")
    with pytest.raises(VenueRefused):
        await venue.broker.cancel(wrong, "any-ref")
    assert SECRET not in f"{wrong!r} {outcome!r} {refused.value!r} {refused.value}"
    assert venue.booked("FO-1") == 0


async def test_an_unknown_environment_reaches_no_venue(venue: Venue):
    astray = replace(venue.credentials, environment="prod")
    outcome = await venue.broker.submit(astray, venue.order("FO-1"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "bad_environment")
    assert venue.submissions("FO-1") == 0

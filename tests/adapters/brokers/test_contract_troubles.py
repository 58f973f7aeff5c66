"""The troubles that every venue has: each with its outcome, its words and its end."""

from collections.abc import Awaitable
from decimal import Decimal
from typing import Literal

import pytest

from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side
from domain.ports import BrokerCredentials, OutcomeKind, SendOutcome, VenueStatus
from tests.adapters.brokers.harness import accepted, found
from tests.adapters.brokers.venue import CASH, HELD, PRICE, SECRET, Venue

TEN_MINUTES = 600.0
FINAL = OutcomeKind.FINAL
Outage = Literal["unavailable", "drop"]


async def refused(asked: Awaitable[object]) -> VenueRefused:
    with pytest.raises(VenueRefused) as told:
        await asked
    return told.value


async def unavailable(asked: Awaitable[object]) -> VenueUnavailable:
    with pytest.raises(VenueUnavailable) as told:
        await asked
    return told.value


def assert_final(venue: Venue, outcome: SendOutcome, code: str, client_order_id: str = "FO-1") -> None:
    """Refused for good, with words for a person, and nothing booked."""
    assert (outcome.kind, outcome.code) == (FINAL, code), outcome
    assert outcome.detail
    assert len(outcome.detail) <= 500
    assert SECRET not in outcome.detail
    assert venue.booked(client_order_id) == 0


def restored(venue: Venue, credentials: BrokerCredentials) -> BrokerCredentials:
    venue.simulator.revoke(credentials.key_id, revoked=False)
    return credentials


async def test_a_key_that_is_taken_back_is_bad_credentials_everywhere_until_it_is_replaced(venue: Venue):
    """An expired key is answered as a revoked one: the venue knows it no more."""
    order = venue.order("FO-before", order_type=OrderType.LIMIT, limit_price=Decimal(100))
    ref = (await accepted(venue, order)).ref
    venue.simulator.revoke(venue.credentials.key_id)
    assert_final(venue, await venue.broker.submit(venue.credentials, venue.order("FO-1")), "bad_credentials")
    broker, mine = venue.broker, venue.credentials
    for asked in (broker.look_up(mine, "FO-before"), broker.positions(mine), broker.account(mine)):
        error = await refused(asked)
        assert error.code == "bad_credentials"
        assert mine.secret not in f"{error} {error!r}"
    assert (await refused(broker.cancel(mine, ref))).code == "bad_credentials"
    venue.credentials = restored(venue, mine)
    assert (await found(venue, "FO-before")).status is VenueStatus.WORKING
    await accepted(venue, venue.order("FO-1"))


async def test_a_broken_key_of_one_account_leaves_the_others_alone(venue: Venue):
    venue.simulator.revoke(venue.credentials.key_id)
    other = venue.enrol("AK2")
    outcome = await venue.broker.submit(other, venue.order("FO-1"))
    assert outcome.kind is OutcomeKind.ACK, outcome
    assert (await venue.broker.submit(venue.credentials, venue.order("FO-2"))).code == "bad_credentials"


async def test_a_wrong_key_is_bad_credentials(venue: Venue):
    assert_final(venue, await venue.broker.submit(venue.wrong, venue.order("FO-1")), "bad_credentials")
    assert (await refused(venue.broker.look_up(venue.wrong, "FO-1"))).code == "bad_credentials"


async def test_a_symbol_that_the_venue_lacks_is_named_so(venue: Venue):
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1", symbol="NOSUCH"))
    assert_final(venue, outcome, "unknown_symbol")


async def test_a_halted_instrument_trades_again_when_the_halt_is_over(venue: Venue):
    venue.simulator.set_instrument(venue.symbol, PRICE, halted=True)
    assert_final(venue, await venue.broker.submit(venue.credentials, venue.order("FO-1")), "halted")
    venue.simulator.set_instrument(venue.symbol, PRICE, halted=False)
    await accepted(venue, venue.order("FO-2"))


async def test_an_order_that_is_open_when_its_instrument_is_halted_can_be_cancelled(venue: Venue):
    order = venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100))
    ref = (await accepted(venue, order)).ref
    venue.simulator.set_instrument(venue.symbol, PRICE, halted=True)
    await venue.broker.cancel(venue.credentials, ref)
    assert (await found(venue, "FO-1")).status is VenueStatus.CANCELLED


async def test_too_little_money_is_told_apart_and_what_open_orders_hold_is_not_spent_twice(venue: Venue):
    half = venue.order("FO-1", qty=CASH // 100 // 2 + 1, order_type=OrderType.LIMIT, limit_price=Decimal(100))
    ref = (await accepted(venue, half)).ref
    second = venue.order("FO-2", qty=half.qty, order_type=OrderType.LIMIT, limit_price=Decimal(100))
    outcome = await venue.broker.submit(venue.credentials, second)
    assert_final(venue, outcome, "insufficient_funds", "FO-2")
    await venue.broker.cancel(venue.credentials, ref)
    assert (await found(venue, "FO-1")).status is VenueStatus.CANCELLED
    third = venue.order("FO-3", qty=half.qty, order_type=OrderType.LIMIT, limit_price=Decimal(100))
    await accepted(venue, third)


async def test_more_than_is_held_is_not_sold(venue: Venue):
    order = venue.order("FO-1", side=Side.SELL, qty=HELD + 1)
    assert_final(venue, await venue.broker.submit(venue.credentials, order), "insufficient_funds")


async def test_an_order_under_the_minimum_value_is_told_apart(venue: Venue):
    if not venue.broker.capabilities.fractional:
        pytest.skip("whole units have no minimum below one")
    venue.simulator.set_instrument(venue.symbol, PRICE, min_notional=Decimal(2_000))
    assert_final(venue, await venue.broker.submit(venue.credentials, venue.order("FO-1")), "below_minimum")
    await accepted(venue, venue.order("FO-2", qty=Decimal(11)))


@pytest.mark.parametrize("how", ["unavailable", "drop"])
async def test_a_venue_that_is_down_for_ten_minutes_has_everything_it_had_when_it_is_back(venue: Venue, how: Outage):
    venue.live_next(delay_s=300)
    await accepted(venue, venue.order("FO-before"))
    venue.simulator.go_down(TEN_MINUTES, how)
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    # An adapter that has to read something first knows that its order has not left.
    assert outcome.kind in {OutcomeKind.AMBIGUOUS, OutcomeKind.RETRYABLE}
    assert outcome.code == {"unavailable": "venue_error", "drop": "no_answer"}[how]
    for _ in range(10):
        for asked in (
            venue.broker.look_up(venue.credentials, "FO-1"),
            venue.broker.positions(venue.credentials),
            venue.broker.account(venue.credentials),
        ):
            await unavailable(asked)
        venue.clock.advance(TEN_MINUTES / 10)
    assert await venue.broker.look_up(venue.credentials, "FO-1") is None
    assert (await found(venue, "FO-before")).status is VenueStatus.FILLED
    await accepted(venue, venue.order("FO-1"))
    assert (venue.booked("FO-1"), venue.submissions("FO-1")) == (1, 1)


async def test_a_venue_that_refuses_connections_got_nothing_and_may_be_tried_again(venue: Venue):
    await accepted(venue, venue.order("FO-before"))
    await venue.simulator.close_port()
    # A connection that was open already may break only when it is used: then nobody knows.
    outcomes = [await venue.broker.submit(venue.credentials, venue.order("FO-1")) for _ in range(2)]
    assert (outcomes[-1].kind, outcomes[-1].code) == (OutcomeKind.RETRYABLE, "connect_failed")
    assert (await unavailable(venue.broker.look_up(venue.credentials, "FO-before"))).code == "connect_failed"
    await venue.simulator.open_port()
    assert await venue.broker.look_up(venue.credentials, "FO-1") is None
    await accepted(venue, venue.order("FO-1"))
    assert venue.booked("FO-1") == 1

"""What every broker adapter promises to reconciliation: positions, money, and every order whoever placed it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side
from domain.ports import BrokerCredentials, VenueStatus
from tests.adapters.brokers.harness import Breakage, Venue, accepted, found
from tests.adapters.brokers.venue import PRICE

READS = ("positions", "account", "orders_since")


async def read(venue: Venue, name: str, credentials: BrokerCredentials | None = None) -> object:
    more = [datetime.now(UTC)] if name == "orders_since" else []
    return await getattr(venue.broker, name)(credentials or venue.credentials, *more)


async def test_positions_follow_what_is_bought_and_sold_by_us_and_by_hand(venue: Venue):
    [before] = await venue.broker.positions(venue.credentials)
    assert (before.symbol, before.qty, before.price) == (venue.symbol, Decimal(1_000), PRICE)
    await accepted(venue, venue.order("FO-1"))
    venue.trade_by_hand("sell", 4)
    [after] = await venue.broker.positions(venue.credentials)
    assert after.qty == Decimal(1_006)


async def test_an_account_without_positions_has_an_empty_list(venue: Venue):
    venue.trade_by_hand("sell", 1_000)
    assert await venue.broker.positions(venue.credentials) == []


async def test_money_that_open_orders_hold_back_is_no_buying_power(venue: Venue):
    before = await venue.broker.account(venue.credentials)
    assert before.cash == before.buying_power == Decimal(10_000_000)
    assert before.equity == before.cash + 1_000 * PRICE
    await accepted(venue, venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100)))
    after = await venue.broker.account(venue.credentials)
    assert (after.cash, after.buying_power) == (before.cash, before.buying_power - 1_000)


async def test_orders_are_all_that_were_submitted_since_whoever_did_oldest_first(venue: Venue):
    await accepted(venue, venue.order("FO-before"))
    since = datetime.now(UTC)
    await accepted(venue, venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100)))
    by_hand = venue.trade_by_hand("sell", 4)
    ours, theirs = await venue.broker.orders_since(venue.credentials, since)
    assert (ours.order.client_order_id, ours.symbol, ours.side, ours.qty) == (
        "FO-1",
        venue.symbol,
        Side.BUY,
        Decimal(10),
    )
    assert ours.order == await found(venue, "FO-1")
    assert (theirs.order.ref, theirs.side, theirs.qty) == (by_hand, Side.SELL, Decimal(4))
    assert (theirs.order.status, theirs.order.filled_qty) == (VenueStatus.FILLED, Decimal(4))
    assert since - timedelta(seconds=1) < ours.submitted_at <= theirs.submitted_at <= datetime.now(UTC)


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("breakage", ["rate_limited", "error", "hang"])
async def test_a_broken_read_is_unavailable_and_not_empty(venue: Venue, name: str, breakage: Breakage):
    venue.break_reads(breakage)
    with pytest.raises(VenueUnavailable):
        await read(venue, name)


@pytest.mark.parametrize("name", READS)
async def test_wrong_credentials_are_refused(venue: Venue, name: str):
    with pytest.raises(VenueRefused):
        await read(venue, name, venue.wrong)

"""What every broker adapter promises of its market (`domain.ports.MarketBroker`): instruments, quotes, fills, money."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side
from domain.ports import BrokerCredentials, OutcomeKind
from domain.venues import Flag
from tests.adapters.brokers.harness import accepted, found
from tests.adapters.brokers.venue import PRICE, Breakage, Venue

READS = ("instruments", "quotes", "fills_since", "balances")
UNKNOWN = "NOSUCH"


async def read(venue: Venue, name: str, credentials: BrokerCredentials | None = None) -> object:
    more: dict[str, object] = {
        "instruments": [venue.symbol],
        "quotes": [venue.symbol],
        "fills_since": datetime.now(UTC),
    }
    return await getattr(venue.broker, name)(credentials or venue.credentials, *([more[name]] if name in more else []))


async def test_instruments_are_those_of_the_symbols_that_the_venue_knows(venue: Venue):
    symbols = [venue.symbol, UNKNOWN, venue.second_symbol]
    known = await venue.broker.instruments(venue.credentials, symbols)
    assert set(known) == {venue.symbol, venue.second_symbol}
    for symbol, instrument in known.items():
        assert (instrument.symbol, instrument.quote_currency, instrument.flags) == (symbol, "USD", frozenset())
        assert (instrument.qty_step < 1) == venue.broker.capabilities.fractional
        steps = (instrument.qty_step, instrument.price_step, instrument.min_qty, instrument.min_notional)
        assert all(step is None or step > 0 for step in steps)


async def test_an_order_of_whole_steps_is_taken(venue: Venue):
    instrument = (await venue.broker.instruments(venue.credentials, [venue.symbol]))[venue.symbol]
    price = 100 + (instrument.price_step or Decimal(0))
    qty = 1 + instrument.qty_step
    await accepted(venue, venue.order("FO-1", qty=qty, order_type=OrderType.LIMIT, limit_price=price))
    assert venue.booked("FO-1") == 1


async def test_a_halted_instrument_takes_no_order_and_says_so(venue: Venue):
    venue.simulator.set_instrument(venue.symbol, PRICE, halted=True)
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert (outcome.kind, outcome.code, venue.booked("FO-1")) == (OutcomeKind.FINAL, "halted", 0)
    instrument = (await venue.broker.instruments(venue.credentials, [venue.symbol]))[venue.symbol]
    assert instrument.flags <= {Flag.HALTED}  # a venue need not tell it before


async def test_an_order_below_the_minimum_is_final_and_says_so(venue: Venue):
    if not venue.broker.capabilities.fractional:
        pytest.skip("whole units have no minimum below one")
    venue.simulator.set_instrument(venue.symbol, PRICE, min_qty=Decimal(20))
    instrument = (await venue.broker.instruments(venue.credentials, [venue.symbol]))[venue.symbol]
    assert instrument.min_qty == 20
    outcome = await venue.broker.submit(venue.credentials, venue.order("FO-1"))
    assert (outcome.kind, outcome.code, venue.booked("FO-1")) == (OutcomeKind.FINAL, "below_minimum", 0)


async def test_quotes_are_those_of_the_symbols_that_the_venue_quotes(venue: Venue):
    quotes = await venue.broker.quotes(venue.credentials, [venue.symbol, UNKNOWN, venue.second_symbol])
    assert set(quotes) == {venue.symbol, venue.second_symbol}
    quote = quotes[venue.symbol]
    assert quote.bid is not None
    assert quote.ask is not None
    assert quote.bid <= PRICE <= quote.ask
    assert abs(datetime.now(UTC) - quote.asof) < timedelta(minutes=1)


async def test_every_execution_is_a_fill_whoever_ordered_it_and_none_is_there_twice(venue: Venue):
    venue.live_next(steps=4)
    ref = (await accepted(venue, venue.order("FO-1"))).ref
    filled = await found(venue, "FO-1")
    by_hand = venue.trade_by_hand("sell", 4)
    fills = await venue.broker.fills_since(venue.credentials, datetime.now(UTC) - timedelta(minutes=1))
    ours, theirs = [f for f in fills if f.ref == ref], [f for f in fills if f.ref == by_hand]
    told = 5 if venue.broker.capabilities.itemises_fills else 2
    assert len(ours) + len(theirs) == len(fills) == len({f.fill_id for f in fills}) == told
    assert sum(f.qty for f in ours) == filled.filled_qty == 10
    assert {(f.symbol, f.side, f.price) for f in ours} == {(venue.symbol, Side.BUY, PRICE)}
    assert {f.client_order_id for f in ours} <= {"FO-1", ""}
    assert [(f.side, f.qty) for f in theirs] == [(Side.SELL, Decimal(4))]
    assert [f.at for f in fills] == sorted(f.at for f in fills)
    assert all(f.at.tzinfo is not None and (f.fee is None or f.fee >= 0) for f in fills)


async def test_fills_before_the_time_are_left_out(venue: Venue):
    venue.trade_by_hand("sell", 1)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert await venue.broker.fills_since(venue.credentials, later) == []


async def test_an_open_order_is_not_in_what_may_be_spent(venue: Venue):
    before = await venue.broker.balances(venue.credentials)
    await accepted(venue, venue.order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal(100)))
    after = await venue.broker.balances(venue.credentials)
    assert set(before) == set(after)
    assert Decimal(1_000) <= before["USD"] - after["USD"] <= Decimal(1_100)  # fees included


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

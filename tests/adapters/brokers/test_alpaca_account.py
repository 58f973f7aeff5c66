"""Alpaca's positions, accounts and lists of orders, as its documents have them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.alpaca_account import read_account, read_orders, read_positions
from domain.errors import VenueUnavailable
from domain.orders import Side
from domain.ports import BrokerCredentials, VenueAccount
from simulators.alpaca.render import position_json
from tests.adapters.brokers.canned import Canned, fixture, fixtures, open_canned
from tests.adapters.brokers.harness import Venue
from tests.adapters.brokers.openapi import Description, needs_reference

CREDENTIALS = BrokerCredentials("cred-1", "AK1", "secret")
SINCE = datetime(2024, 3, 18, 14, 0, tzinfo=UTC)


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


async def test_positions_are_read_exactly_and_shorts_are_negative(canned: Canned):
    canned.answer(200, fixtures("positions"))
    long, short = await canned.broker.positions(CREDENTIALS)
    assert (long.symbol, long.qty, long.avg_price, long.price) == (
        "AAPL",
        Decimal(4),
        Decimal("172.08"),
        Decimal("172.08"),
    )
    assert (short.symbol, short.qty) == ("TSLA", Decimal("-2.5"))
    assert canned.seen[0][0] == "GET /paper/v2/positions"


def test_a_short_is_negative_whether_or_not_its_quantity_has_a_sign():
    unsigned = fixtures("positions")[1] | {"qty": "2.5"}
    positions = read_positions([unsigned])
    assert positions is not None
    assert positions[0].qty == Decimal("-2.5")


async def test_an_account_in_debt_has_cash_below_zero(canned: Canned):
    canned.answer(200, fixture("account"))
    assert await canned.broker.account(CREDENTIALS) == VenueAccount(
        Decimal("103820.56"), Decimal("-23140.20"), Decimal("262113.632")
    )


async def test_an_order_by_amount_has_no_quantity_and_each_side_a_direction(canned: Canned):
    canned.answer(200, fixtures("orders"))
    ours, theirs = await canned.broker.orders_since(CREDENTIALS, SINCE)
    assert (ours.qty, ours.side, ours.order.filled_qty) == (Decimal(10), Side.BUY, Decimal(10))
    assert (theirs.qty, theirs.side, theirs.order.filled_qty) == (None, Side.SELL, Decimal("1.25"))
    assert theirs.submitted_at == datetime(2024, 3, 18, 15, 0, 0, 123456, tzinfo=UTC)
    assert canned.seen[0][0] == ("GET /paper/v2/orders?status=all&direction=asc&limit=500&after=2024-03-18T14:00:00Z")


async def test_pages_go_on_until_one_is_short_and_an_order_counts_once(alpaca: Venue, monkeypatch: Any):
    monkeypatch.setattr("adapters.brokers.alpaca._ORDERS_PER_PAGE", 3)
    refs = [alpaca.trade_by_hand("sell", 1) for _ in range(8)]
    found = await alpaca.broker.orders_since(alpaca.credentials, datetime.now(UTC) - timedelta(minutes=1))
    assert [order.order.ref for order in found] == refs


async def test_a_venue_that_answers_the_same_page_for_ever_is_given_up(canned: Canned, monkeypatch: Any):
    monkeypatch.setattr("adapters.brokers.alpaca._ORDERS_PER_PAGE", 2)
    canned.answer(200, fixtures("orders"))
    with pytest.raises(VenueUnavailable):
        await canned.broker.orders_since(CREDENTIALS, SINCE)
    assert len(canned.seen) == 2


@pytest.mark.parametrize("body", ["", "{}", "null", '"x"', "[1]", '[{"symbol": "AAPL"}]'])
@pytest.mark.parametrize("name", ["positions", "account", "orders_since"])
async def test_a_200_that_cannot_be_read_is_unavailable_and_not_empty(canned: Canned, name: str, body: str):
    canned.answer(200, body)
    more = [SINCE] if name == "orders_since" else []
    with pytest.raises(VenueUnavailable):
        await getattr(canned.broker, name)(CREDENTIALS, *more)


@pytest.mark.parametrize("change", [{"qty": "NaN"}, {"qty": None}, {"symbol": 1}, {"current_price": "-1"}])
def test_one_position_that_cannot_be_read_spoils_the_list(change: dict[str, Any]):
    long, short = fixtures("positions")
    assert read_positions([long, short | change]) is None


@pytest.mark.parametrize("change", [{"side": "hold"}, {"submitted_at": "soon", "created_at": 1}, {"qty": "x"}])
def test_one_order_that_cannot_be_read_spoils_the_list(change: dict[str, Any]):
    first, second = fixtures("orders")
    assert read_orders([first, second | change]) is None


@pytest.mark.parametrize("name", ["equity", "cash", "buying_power"])
def test_an_account_without_one_of_its_numbers_is_none(name: str):
    assert read_account(fixture("account") | {name: None}) is None


@needs_reference
def test_the_simulator_answers_with_the_positions_that_the_vendor_describes(alpaca: Venue):
    account = alpaca.simulator.exchange.accounts["AK1"]
    [(symbol, position)] = account.positions.items()
    body = position_json(account, symbol, position, alpaca.simulator.exchange.instruments)
    described = Description("alpaca-trading-openapi.yml")
    assert described.properties("Position") <= body.keys()
    assert described.value_faults("Position", body) == []

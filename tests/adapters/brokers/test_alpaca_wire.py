"""The tables against the vendor's published description, and the order reader against its states."""

from decimal import Decimal

import pytest

from adapters.brokers.alpaca_wire import ORDER_STATES, read_order
from domain.orders import OrderType, TimeInForce
from domain.ports import VenueOrder, VenueStatus
from simulators.alpaca.render import order_json
from tests.adapters.brokers.harness import SYMBOL, Venue, child_order
from tests.adapters.brokers.openapi import Description, needs_reference

# The vendor's own example has nulls for trailing-stop fields that its schema forgets to call nullable.
UNSAID_NULLS = ("trail_percent: None", "trail_price: None", "hwm: None")


@needs_reference
async def test_the_simulator_answers_with_the_orders_that_the_vendor_describes(alpaca: Venue):
    described = Description("alpaca-orders-openapi.yml")
    account = alpaca.simulator.exchange.accounts["AK1"]
    await alpaca.broker.submit(alpaca.credentials, child_order("FO-1"))
    limit = child_order("FO-2", order_type=OrderType.LIMIT, limit_price=Decimal("185.20"), tif=TimeInForce.IOC)
    await alpaca.broker.submit(alpaca.credentials, limit)
    for order in alpaca.simulator.exchange.orders_of(account):
        body = order_json(order)
        assert described.properties("Order") <= body.keys()
        faults = described.value_faults("Order", body)
        assert [fault for fault in faults if not fault.startswith(UNSAID_NULLS)] == []


@needs_reference
def test_every_state_that_the_vendor_describes_is_mapped():
    described = set(Description("alpaca-orders-openapi.yml").schema("OrderStatus")["enum"])
    assert described <= ORDER_STATES.keys()
    assert ORDER_STATES.keys() - described == {"held", "pending_review"}


def body_in(state: str, filled: str = "0", average: str | None = None) -> dict[str, object]:
    return {
        "id": "ref",
        "client_order_id": "FO-1",
        "status": state,
        "filled_qty": filled,
        "filled_avg_price": average,
        "symbol": SYMBOL,
    }


def read(body: dict[str, object]) -> VenueOrder:
    order = read_order(body)
    assert order is not None
    return order


@pytest.mark.parametrize("state", [*ORDER_STATES, "brand_new_state"])
def test_a_working_order_with_fills_is_partially_filled_whatever_it_is_called(state: str):
    untouched, touched = read(body_in(state)), read(body_in(state, "2", "10.5"))
    assert untouched.status is ORDER_STATES.get(state, VenueStatus.WORKING)
    if untouched.status is VenueStatus.WORKING:
        assert (touched.status, touched.avg_price) == (VenueStatus.PARTIALLY_FILLED, Decimal("10.5"))
    else:
        assert touched.status is untouched.status


def test_an_unknown_state_is_working_and_says_so():
    order = read(body_in("brand_new_state"))
    assert (order.status, order.reason) == (VenueStatus.WORKING, "alpaca order state brand_new_state")


def test_a_zero_average_price_without_fills_is_no_price():
    assert read(body_in("accepted", "0", "0")).avg_price is None

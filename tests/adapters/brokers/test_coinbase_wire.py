"""Coinbase's tables against its description, and the forms of an order."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.coinbase_market import FLAGS, read_product
from adapters.brokers.coinbase_wire import ORDER_STATES, day_end, order_body, read_order
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import ChildOrder, VenueStatus
from domain.venues import Flag
from tests.adapters.brokers.coinbase_canned import fixture
from tests.adapters.brokers.openapi import REFERENCE, Description, needs_reference

NOW = datetime(2024, 5, 2, 14, 3, tzinfo=UTC)
ORDER = ChildOrder("FO-1", "BTC-USD", Side.BUY, Decimal("0.00000001"), OrderType.MARKET, TimeInForce.DAY)
LIMIT = replace(ORDER, order_type=OrderType.LIMIT, limit_price=Decimal("6.1E+4"))
# BROKERS.md and the vendor's reference; the description at hand lacks four of them.
STATES = {
    "PENDING", "OPEN", "FILLED", "CANCELLED", "EXPIRED", "FAILED", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED",
    "UNKNOWN_ORDER_STATUS",
}  # fmt: skip


@pytest.mark.parametrize(
    ("order", "configuration"),
    [
        (ORDER, {"market_market_ioc": {"base_size": "0.00000001"}}),
        (replace(ORDER, side=Side.SELL, tif=TimeInForce.GTC), {"market_market_ioc": {"base_size": "0.00000001"}}),
        (
            replace(LIMIT, tif=TimeInForce.GTC),
            {"limit_limit_gtc": {"base_size": "0.00000001", "limit_price": "61000", "post_only": False}},
        ),
        (
            LIMIT,
            {
                "limit_limit_gtd": {
                    "base_size": "0.00000001",
                    "limit_price": "61000",
                    "end_time": "2024-05-03T00:00:00Z",
                    "post_only": False,
                }
            },
        ),
        (replace(LIMIT, tif=TimeInForce.IOC), {"sor_limit_ioc": {"base_size": "0.00000001", "limit_price": "61000"}}),
        (replace(LIMIT, tif=TimeInForce.FOK), {"limit_limit_fok": {"base_size": "0.00000001", "limit_price": "61000"}}),
    ],
    ids=lambda value: "" if isinstance(value, ChildOrder) else next(iter(value)),
)
def test_an_order_has_the_form_of_its_type_and_time_in_force(order: ChildOrder, configuration: dict[str, Any]):
    body = order_body(order, NOW)
    assert body["order_configuration"] == configuration
    assert (body["client_order_id"], body["product_id"], body["side"]) == ("FO-1", "BTC-USD", order.side.value.upper())


@pytest.mark.parametrize(
    "changes",
    [{"client_order_id": ""}, {"client_order_id": "x" * 49}, {"qty": Decimal(0)}, {"qty": Decimal("NaN")}],
)
def test_an_order_that_no_venue_could_take_is_a_bug(changes: dict[str, Any]):
    with pytest.raises(ValueError):
        order_body(replace(ORDER, **changes), NOW)


def test_a_limit_order_needs_its_limit():
    with pytest.raises(ValueError):
        order_body(replace(LIMIT, limit_price=None), NOW)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2024-05-02T00:00:00+00:00", "2024-05-03T00:00:00Z"),
        ("2024-05-02T23:58:59+00:00", "2024-05-03T00:00:00Z"),
        ("2024-05-02T23:59:30+00:00", "2024-05-04T00:00:00Z"),
        ("2024-05-02T20:30:00-04:00", "2024-05-04T00:00:00Z"),
    ],
)
def test_a_day_order_ends_at_the_next_midnight_in_utc(now: str, end: str):
    assert day_end(datetime.fromisoformat(now)) == end


def test_every_state_of_the_vendor_has_a_meaning():
    assert set(ORDER_STATES) == STATES


@needs_reference
def test_the_description_at_hand_has_no_other_state():
    description = Description("coinbase-advanced-trade-openapi.yml")
    assert REFERENCE.is_dir()
    unknown = [s for s in ORDER_STATES if description.value_faults("Order", {"status": s})]
    assert set(unknown) == {"QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED", "UNKNOWN_ORDER_STATUS"}


@pytest.mark.parametrize(
    ("state", "filled", "status"),
    [
        ("OPEN", "0", VenueStatus.WORKING),
        ("OPEN", "0.005", VenueStatus.PARTIALLY_FILLED),
        ("CANCEL_QUEUED", "0.005", VenueStatus.PARTIALLY_FILLED),
        ("FILLED", "0.02", VenueStatus.FILLED),
        ("CANCELLED", "0.005", VenueStatus.CANCELLED),
        ("EXPIRED", "0", VenueStatus.EXPIRED),
        ("FAILED", "0", VenueStatus.REJECTED),
        ("A_NEW_STATE", "0", VenueStatus.WORKING),
    ],
)
def test_a_partial_fill_is_derived(state: str, filled: str, status: VenueStatus):
    body = fixture("order")["order"] | {"status": state, "filled_size": filled, "average_filled_price": "60990.5"}
    order = read_order(body)
    assert order is not None
    assert (order.status, order.filled_qty, order.avg_price is not None) == (status, Decimal(filled), filled != "0")


def test_a_failed_order_tells_why():
    order = read_order(fixture("order_failed")["order"])
    assert order is not None
    assert (order.status, order.reason) == (
        VenueStatus.REJECTED,
        "coinbase order state FAILED: INSUFFICIENT_FUNDS: Insufficient funds",
    )


@pytest.mark.parametrize(
    "changes",
    [{"order_id": ""}, {"client_order_id": None}, {"status": 3}, {"filled_size": "NaN"}, {"average_filled_price": "x"}],
)
def test_what_is_no_order_is_not_read(changes: dict[str, object]):
    assert read_order(fixture("order")["order"] | changes) is None


@pytest.mark.parametrize("name", FLAGS)
def test_each_flag_of_a_product_has_a_meaning(name: str):
    product = read_product(fixture("product") | {name: True})
    assert product is not None
    assert product.flags == {FLAGS[name]}


@pytest.mark.parametrize("changes", [{"status": "delisted"}, {"status": "offline", "trading_disabled": True}])
def test_a_product_that_is_not_online_is_halted(changes: dict[str, object]):
    product = read_product(fixture("product") | changes)
    assert product is not None
    assert product.flags == {Flag.HALTED}


@pytest.mark.parametrize("changes", [{"product_id": ""}, {"base_increment": "0"}, {"base_increment": None}])
def test_what_is_no_product_is_not_read(changes: dict[str, object]):
    assert read_product(fixture("product") | changes) is None

"""The tables against the vendor's published description, and the order reader against its states."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.brokers.alpaca_wire import ORDER_STATES, order_body, read_order
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import ChildOrder, VenueOrder, VenueStatus
from simulators.alpaca.render import order_json
from tests.adapters.brokers.harness import SYMBOL, Venue, child_order

REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "brokers"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the vendors' descriptions are not at hand")


def schemas(name: str) -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = yaml.safe_load((REFERENCE / name).read_text())["components"]["schemas"]
    return parsed


def resolve(schema: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return known[reference.rsplit("/", 1)[1]] if reference else schema


def faults_of(body: Mapping[str, object], schema: dict[str, Any], known: dict[str, dict[str, Any]]) -> list[str]:
    """What of `body` the OpenAPI object schema does not allow; reads the keywords that the vendor uses."""
    found = [f"{name} is unknown" for name in body.keys() - schema["properties"].keys()]
    types: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "boolean": bool,
        "array": list,
        "number": (int, Decimal),
    }
    for name in body.keys() & schema["properties"].keys():
        rule, value = resolve(schema["properties"][name], known), body[name]
        # The vendor's own example has nulls for trailing-stop fields that its schema forgets to call nullable.
        if value is None and (rule.get("nullable") or name in {"trail_percent", "trail_price", "hwm"}):
            continue
        if not isinstance(value, types[rule["type"]]):
            found.append(f"{name} is no {rule['type']}")
        elif value not in rule.get("enum", [value]):
            found.append(f"{name} is none of {rule['enum']}")
        elif isinstance(value, str) and len(value) > rule.get("maxLength", len(value)):
            found.append(f"{name} is too long")
    return found


ORDERS = [
    child_order("FO-1"),
    child_order("x" * 48, side=Side.SELL, tif=TimeInForce.GTC, qty=Decimal("0.000000001")),
    child_order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal("185.20"), tif=TimeInForce.IOC),
    child_order("FO-1", order_type=OrderType.LIMIT, limit_price=Decimal("0.1234"), tif=TimeInForce.FOK),
]


@needs_reference
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "schema", "required"),
    [
        ("alpaca-trading-openapi.yml", "CreateOrderRequest", True),
        # Describes the order that comes back as well, and so requires fields that exclude each other.
        ("alpaca-orders-openapi.yml", "Order", False),
    ],
)
def test_the_body_of_a_submission_is_what_the_vendor_describes(
    order: ChildOrder, name: str, schema: str, required: bool
):
    known = schemas(name)
    body = order_body(order)
    assert faults_of(body, known[schema], known) == []
    if required:
        assert set(known[schema]["required"]) <= body.keys()


@needs_reference
def test_the_check_above_notices_wrong_bodies():
    known = schemas("alpaca-orders-openapi.yml")
    wrong = {"qty": 1.5, "type": "iceberg", "colour": "red", "client_order_id": "x" * 49}
    assert len(faults_of(wrong, known["Order"], known)) == 4


@needs_reference
async def test_the_simulator_answers_with_the_orders_that_the_vendor_describes(alpaca: Venue):
    known = schemas("alpaca-orders-openapi.yml")
    account = alpaca.simulator.exchange.accounts["AK1"]
    await alpaca.broker.submit(alpaca.credentials, ORDERS[0])
    await alpaca.broker.submit(alpaca.credentials, ORDERS[2])
    for order in alpaca.simulator.exchange.orders_of(account):
        body = order_json(order)
        assert known["Order"]["properties"].keys() <= body.keys()
        assert faults_of({k: body[k] for k in known["Order"]["properties"]}, known["Order"], known) == []


@needs_reference
def test_every_state_that_the_vendor_describes_is_mapped():
    described = set(schemas("alpaca-orders-openapi.yml")["OrderStatus"]["enum"])
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

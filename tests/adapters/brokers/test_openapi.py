"""Every request that the Alpaca adapter makes, against the vendor's description; and that the check notices faults."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials
from tests.adapters.brokers.canned import Canned, fixture, fixtures, open_canned
from tests.adapters.brokers.harness import child_order
from tests.adapters.brokers.openapi import Description, needs_reference

CREDENTIALS = BrokerCredentials("cred-1", "AK1", "secret")
REF = "61e69015-8549-4bfd-b9c3-01e75843f47d"
# The description is of the order that comes back as well, and so requires what excludes each other.
EXCLUSIVE = frozenset({"notional", "qty"})
LIMIT = {"order_type": OrderType.LIMIT, "limit_price": Decimal("185.20")}

pytestmark = needs_reference


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


@pytest.fixture
def described() -> Description:
    return Description("alpaca-orders-openapi.yml", prefix="/paper", exclusive=EXCLUSIVE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"side": Side.SELL, "tif": TimeInForce.GTC},
        {**LIMIT, "tif": TimeInForce.IOC},
        {**LIMIT, "tif": TimeInForce.FOK, "limit_price": Decimal("0.1234")},
        {"qty": Decimal("0.000000001"), "client_order_id": "x" * 48},
    ],
)
async def test_a_submission_is_as_the_vendor_describes_it(
    canned: Canned, described: Description, changes: dict[str, Any]
):
    canned.answer(200, fixture("order_accepted"))
    await canned.broker.submit(CREDENTIALS, child_order(**({"client_order_id": "FO-1"} | changes)))
    [(line, headers, body)] = canned.seen
    assert described.faults(line, body) == []
    assert headers["Content-Type"] == "application/json"
    # The same order as the other description has it, under the path that brokers use.
    other = Description("alpaca-trading-openapi.yml")
    assert other.faults(f"POST /v1/trading/accounts/{REF}/orders", body) == []


async def test_cancels_and_lists_are_as_the_vendor_describes_them(canned: Canned, described: Description):
    canned.answer(204, "")
    await canned.broker.cancel(CREDENTIALS, REF)
    canned.answer(200, fixtures("orders"))
    await canned.broker.orders_since(CREDENTIALS, datetime(2024, 3, 18, 14, 0, tzinfo=UTC))
    assert [described.faults(line, body) for line, _, body in canned.seen] == [[], []]


@pytest.mark.parametrize(
    ("line", "body", "faults"),
    [
        ("PUT /paper/v2/orders", {}, 1),
        ("GET /paper/v2/ordres", None, 1),
        ("GET /v2/orders", None, 1),
        ("GET /paper/v2/orders?status=most&limit=x&colour=red", None, 3),
        ("DELETE /paper/v2/orders/not-a-uuid", None, 1),
        (f"DELETE /paper/v2/orders/{REF}", {"qty": "1"}, 1),
        ("POST /paper/v2/orders", None, 1),
        ("POST /paper/v2/orders", {"symbol": "AAPL"}, 3),
        ("POST /paper/v2/orders", {"qty": 1.5, "colour": "red", "symbol": "", "client_order_id": "x" * 49}, 7),
    ],
)
def test_the_check_notices_what_is_not_described(described: Description, line: str, body: object, faults: int):
    raw = b"" if body is None else json.dumps(body).encode()
    assert len(described.faults(line, raw)) == faults


def test_a_description_with_a_base_path_and_lists_in_the_query_is_read_too():
    coinbase = Description("coinbase-advanced-trade-openapi.yml", prefix="/api/v3/brokerage")
    assert coinbase.faults("GET /api/v3/brokerage/best_bid_ask?product_ids=BTC-USD&product_ids=ETH-USD") == []
    assert coinbase.faults("GET /api/v3/brokerage/orders/historical/fills?limit=100") == []
    assert len(coinbase.faults("GET /api/v3/brokerage/orders/historical/fills?limit=100&limit=1")) == 1
    assert coinbase.describes("POST", "/api/v3/brokerage/orders")
    assert not coinbase.describes("POST", "/api/v3/brokerage/orders/preview")

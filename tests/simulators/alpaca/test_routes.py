"""The vendor's surface: paths, statuses, codes, shapes."""

import pytest

from tests.simulators.alpaca.client import KEYS, MARKET, Client


async def test_a_market_order_is_accepted_then_new_then_filled(client: Client):
    status, posted = await client.order("FO-1")
    assert (status, posted["status"], posted["filled_qty"], posted["filled_avg_price"]) == (200, "accepted", "0", None)
    found = await client.find("FO-1")
    assert (found["id"], found["status"], found["filled_qty"]) == (posted["id"], "filled", "5")
    assert found["filled_avg_price"] == "100"
    assert found["filled_at"].endswith("Z")
    assert client.simulator.orders("FO-1")[0]["histories"] == [["accepted", "new", "filled"]]


@pytest.mark.parametrize("headers", [{}, KEYS | {"APCA-API-KEY-ID": "AK2"}, KEYS | {"APCA-API-SECRET-KEY": "no"}])
async def test_wrong_or_missing_keys_are_unauthorized(client: Client, headers: dict[str, str]):
    status, body = await client.call("GET", "/v2/account", headers=headers)
    assert (status, body["message"]) == (401, "unauthorized.")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"symbol": "NOSUCH"}, 422, 42210000),
        ({"symbol": None}, 422, 40010001),
        ({"qty": "1.5", "time_in_force": "gtc"}, 422, 42210000),
        ({"qty": "0.0000000001"}, 422, 42210000),
        ({"qty": "-1"}, 422, 42210000),
        ({"qty": "NaN"}, 422, 40010001),
        ({"qty": None}, 422, 40010001),
        ({"qty": ["1"]}, 422, 40010001),
        ({"side": "hold"}, 422, 40010001),
        ({"time_in_force": "forever"}, 422, 40010001),
        ({"type": "limit"}, 422, 42210000),
        ({"type": "limit", "limit_price": "100.001"}, 422, 42210000),
        ({"type": "limit", "limit_price": "0.00001"}, 422, 42210000),
        ({"limit_price": "100"}, 422, 42210000),
        ({"client_order_id": "x" * 49}, 422, 40010001),
        ({"qty": "1000"}, 403, 40310000),
        ({"side": "sell", "qty": "11"}, 403, 40310000),
    ],
)
async def test_what_the_vendor_refuses_is_refused_with_its_code(
    client: Client, changes: dict[str, object], status: int, code: int
):
    given, body = await client.order("FO-1", **changes)
    assert (given, body["code"]) == (status, code)
    assert (await client.call("GET", "/v2/orders?status=all"))[1] == []


@pytest.mark.parametrize("changes", [{"type": "limit", "limit_price": "0.1234"}, {"qty": "0.000000001"}])
async def test_what_the_vendor_allows_at_the_limits_is_allowed(client: Client, changes: dict[str, object]):
    assert (await client.order("FO-1", **changes))[0] == 200


async def test_a_body_that_is_no_json_object_is_a_bad_request(client: Client):
    assert (await client.call("POST", "/v2/orders", json=[1]))[0] == 400


async def test_an_asset_that_is_not_fractionable_takes_whole_shares_only(client: Client):
    client.simulator.set_asset("AAPL", client.simulator.exchange.prices["AAPL"], fractionable=False)
    assert (await client.order("FO-1", qty="0.5"))[0] == 403
    assert (await client.order("FO-1", qty="1"))[0] == 200


async def test_a_client_order_id_is_spent_even_after_a_cancel(client: Client):
    _, posted = await client.order("FO-1", type="limit", limit_price="50")
    assert (await client.call("DELETE", f"/v2/orders/{posted['id']}"))[0] == 204
    status, body = await client.order("FO-1")
    assert (status, body["code"], body["message"]) == (422, 40010001, "client_order_id must be unique")
    (row,) = client.simulator.orders("FO-1")
    assert (row["submissions"], row["duplicates"], row["booked"]) == (2, 1, 1)


async def test_a_finished_order_cannot_be_cancelled_and_an_unknown_one_is_not_found(client: Client):
    _, posted = await client.order("FO-1")
    status, body = await client.call("DELETE", f"/v2/orders/{posted['id']}")
    assert (status, body["code"]) == (422, 42210000)
    for path in ("/v2/orders/nope", "/v2/orders:by_client_order_id?client_order_id=nope"):
        status, body = await client.call("GET", path)
        assert (status, body["code"]) == (404, 40410000)


async def test_an_account_sees_only_its_own_orders(client: Client):
    client.simulator.add_account("AK2", "s2")
    _, posted = await client.order("FO-1")
    other = {"APCA-API-KEY-ID": "AK2", "APCA-API-SECRET-KEY": "s2"}
    assert (await client.call("GET", f"/v2/orders/{posted['id']}", headers=other))[0] == 404
    assert (await client.call("GET", "/v2/orders?status=all", headers=other))[1] == []
    assert (await client.call("POST", "/v2/orders", MARKET | {"client_order_id": "FO-1"}, other))[0] == 200


async def test_orders_are_listed_by_status_symbol_direction_and_limit(client: Client):
    await client.order("FO-1")
    await client.order("FO-2", type="limit", limit_price="50", qty="1")
    await client.order("FO-3", type="limit", limit_price="50", qty="1")

    async def ids(query: str) -> list[str]:
        return [o["client_order_id"] for o in (await client.call("GET", f"/v2/orders{query}"))[1]]

    assert await ids("") == ["FO-3", "FO-2"]
    assert await ids("?status=closed") == ["FO-1"]
    assert await ids("?status=all&direction=asc") == ["FO-1", "FO-2", "FO-3"]
    assert await ids("?status=all&limit=1") == ["FO-3"]
    assert await ids("?symbols=MSFT") == []
    assert (await client.call("GET", "/v2/orders?limit=501"))[0] == 422


async def test_the_request_budget_is_counted_per_account_and_renewed_after_a_minute(client: Client):
    url = client.simulator.url + "/v2/account"
    for left in range(199, -1, -1):
        async with client.session.get(url, headers=KEYS) as response:
            assert response.status == 200
            assert response.headers["X-Ratelimit-Limit"] == "200"
            assert response.headers["X-Ratelimit-Remaining"] == str(left)
    async with client.session.get(url, headers=KEYS) as response:
        assert (response.status, response.headers["X-Ratelimit-Remaining"]) == (429, "0")
        assert response.headers["X-Ratelimit-Reset"].isdecimal()
    assert (await client.order("FO-1"))[0] == 429
    assert client.simulator.orders() == []
    client.advance(60)
    assert (await client.order("FO-1"))[0] == 200

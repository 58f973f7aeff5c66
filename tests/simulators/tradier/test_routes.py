"""The vendor's surface: paths, forms, statuses, words, its oddities."""

import time
from base64 import b64encode
from decimal import Decimal

import aiohttp
import pytest

from simulators.tradier import TradierSimulator
from tests.simulators.tradier.client import ACCOUNT, JSON, TOKEN, Client

_REJECTED = "Backoffice rejected override of the order."


async def test_an_order_is_answered_with_its_id_alone_and_then_found_filled(client: Client):
    status, posted = await client.order("FO-1")
    assert (status, posted["order"]["status"]) == (200, "ok")
    found = (await client.get(f"{ACCOUNT}/orders/{posted['order']['id']}?includeTags=true"))["order"]
    assert (found["status"], found["exec_quantity"], found["avg_fill_price"], found["tag"]) == (
        "filled",
        5,
        100,
        "FO-1",
    )
    assert (found["side"], found["class"], found["duration"]) == ("buy", "equity", "day")


async def test_tags_are_told_only_where_they_are_asked_for(client: Client):
    await client.order("FO-1")
    assert "tag" not in (await client.get(f"{ACCOUNT}/orders"))["orders"]["order"]


async def test_none_is_the_word_null_one_is_no_list_and_more_are_a_list(client: Client):
    assert await client.get(f"{ACCOUNT}/orders") == {"orders": "null"}
    await client.order("FO-1")
    assert isinstance((await client.get(f"{ACCOUNT}/orders"))["orders"]["order"], dict)
    await client.order("FO-2")
    assert len((await client.get(f"{ACCOUNT}/orders"))["orders"]["order"]) == 2
    assert await client.get(f"{ACCOUNT}/orders?page=2") == {"orders": "null"}
    assert (await client.get(f"{ACCOUNT}/orders?filter=all&page=2&limit=1"))["orders"]["order"]["quantity"] == 5
    assert await client.get(f"{ACCOUNT}/orders?filter=all&start=2999-01-01") == {"orders": "null"}


async def test_a_tag_that_comes_twice_is_booked_twice(client: Client):
    for _ in range(2):
        await client.order("FO-1")
    assert client.simulator.orders("FO-1")[0]["booked"] == 2


async def test_who_does_not_ask_for_json_gets_xml(client: Client):
    await client.order("FO-1")
    bare = {"Authorization": f"Bearer {TOKEN}"}
    status, body, headers = await client.call("GET", f"{ACCOUNT}/orders", headers=bare)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "application/xml")
    assert "<orders><order><id>" in body
    assert "<symbol>AAPL</symbol>" in body


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{ACCOUNT}/orders", JSON | {"Authorization": "Bearer no"}),
        (f"{ACCOUNT}/orders", {"Accept": "application/json"}),
        ("/v1/accounts/VA2/orders", JSON),
        ("/v1/accounts/VA3/orders", JSON),
        ("/v1/markets/quotes?symbols=AAPL", {"Accept": "application/json"}),
    ],
)
async def test_a_wrong_token_is_told_in_plain_words(client: Client, path: str, headers: dict[str, str]):
    status, body, _ = await client.call("GET", path, headers=headers)
    assert (status, body) == (401, "Invalid Access Token")


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "NOSUCH"},
        {"quantity": "1.5"},
        {"quantity": "0"},
        {"quantity": "many"},
        {"side": "hold"},
        {"duration": "ioc"},
        {"type": "stop"},
        {"type": "limit"},
        {"class": "option"},
        {"tag": "FO_1"},
        {"tag": "x" * 256},
    ],
)
async def test_what_the_api_itself_refuses_is_a_400_with_words(client: Client, changes: dict[str, str]):
    status, body = await client.order("FO-1", **changes)
    assert status == 400
    assert isinstance(body["errors"]["error"], str)
    assert await client.get(f"{ACCOUNT}/orders") == {"orders": "null"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"quantity": "1000"}, "DayTradingBuyingPowerExceeded"),
        ({"side": "sell"}, "UnexpectedSellOrder"),
        ({"side": "sell", "symbol": "MSFT", "quantity": "11"}, "LongPositionCrossZero"),
        ({"side": "sell_short", "symbol": "MSFT"}, "UnexpectedSellShortOrder"),
        ({"side": "buy", "symbol": "TSLA"}, "UnexpectedBuyOrder"),
        ({"side": "buy_to_cover"}, "UnexpectedBuyToCoverOrder"),
        ({"side": "buy_to_cover", "symbol": "TSLA", "quantity": "11"}, "ShortPositionCrossZero"),
    ],
)
async def test_what_the_back_office_refuses_is_a_200_with_a_word_of_its_table(
    client: Client, changes: dict[str, str], word: str
):
    assert await client.order("FO-1", **changes) == (200, {"errors": {"error": [_REJECTED, word]}})


async def test_a_halted_share_and_an_account_without_shorts_have_their_words(client: Client):
    client.simulator.set_instrument("AAPL", Decimal(100), halted=True)
    assert (await client.order("FO-1"))[1]["errors"]["error"][1] == "TradingDeniedForSecurity"
    form = {"class": "equity", "symbol": "SPY", "side": "sell_short", "quantity": "1", "type": "market"}
    headers = JSON | {"Authorization": "Bearer token-2"}
    _, body, _ = await client.call("POST", "/v1/accounts/VA2/orders", data=form | {"duration": "day"}, headers=headers)
    assert body["errors"]["error"][1] == "ShortStockTradingDeniedForAccount"


@pytest.mark.parametrize(
    ("side", "symbol", "left"), [("sell", "MSFT", 5), ("buy_to_cover", "TSLA", -5), ("sell_short", "TSLA", -15)]
)
async def test_each_side_moves_the_position_its_way(client: Client, side: str, symbol: str, left: int):
    assert (await client.order("FO-1", side=side, symbol=symbol))[0] == 200
    positions = (await client.get(f"{ACCOUNT}/positions"))["positions"]["position"]
    assert {p["symbol"]: p["quantity"] for p in positions}[symbol] == left


async def test_a_cancel_ends_an_open_order_once(client: Client):
    _, posted = await client.order("FO-1", type="limit", price="50")
    path = f"{ACCOUNT}/orders/{posted['order']['id']}"
    assert (await client.get(path))["order"]["status"] == "open"
    assert (await client.call("DELETE", path))[1] == {"order": {"id": posted["order"]["id"], "status": "ok"}}
    assert (await client.get(path))["order"]["status"] == "canceled"
    assert (await client.call("DELETE", path))[0] == 400
    assert (await client.call("DELETE", f"{ACCOUNT}/orders/1"))[0] == 404


async def test_balances_are_where_the_type_of_the_account_has_them(client: Client):
    margin = (await client.get(f"{ACCOUNT}/balances"))["balances"]
    assert (margin["account_type"], margin["total_cash"]) == ("margin", 10_000)
    assert margin["margin"]["stock_buying_power"] == 10_000 - 2 * 10 * 242
    headers = JSON | {"Authorization": "Bearer token-2"}
    _, body, _ = await client.call("GET", "/v1/accounts/VA2/balances", headers=headers)
    assert body["balances"]["cash"]["cash_available"] == 10_000


async def test_quotes_name_what_they_do_not_know(client: Client):
    known = (await client.get("/v1/markets/quotes?symbols=AAPL,NOSUCH"))["quotes"]
    assert (known["quote"]["last"], known["unmatched_symbols"]) == (100, {"symbol": "NOSUCH"})
    assert await client.get("/v1/markets/quotes?symbols=NOSUCH") == {
        "quotes": {"unmatched_symbols": {"symbol": "NOSUCH"}}
    }
    assert (await client.get("/v1/markets/lookup?q=aap"))["securities"]["security"]["symbol"] == "AAPL"
    assert await client.get("/v1/markets/lookup?q=zzz") == {"securities": "null"}


async def test_orders_and_reads_have_budgets_of_their_own_with_an_end_in_milliseconds():
    async with TradierSimulator(rate_limit=1) as simulator, aiohttp.ClientSession() as http:
        simulator.add_account("VA1", TOKEN)
        client = Client(simulator, http)
        await client.order("FO-1")
        status, body = await client.order("FO-2")
        assert (status, body["fault"]["detail"]["errorcode"]) == (429, "policies.ratelimit.QuotaViolation")
        status, _, headers = await client.call("GET", f"{ACCOUNT}/orders")
        assert status == 200
        assert [headers[f"X-Ratelimit-{name}"] for name in ("Allowed", "Used", "Available")] == ["2", "1", "1"]
        assert 0 < int(headers["X-Ratelimit-Expiry"]) / 1_000 - time.time() <= 60


async def test_a_refresh_token_is_good_once_and_ends_the_access_token_before(client: Client):
    basic = {"Authorization": "Basic " + b64encode(b"simulated-application:simulated-secret").decode()}
    form = {"grant_type": "refresh_token", "refresh_token": "refresh-1"}
    path = "/v1/oauth/refreshtoken"
    assert (await client.call("POST", path, data=form, headers=basic))[0] == 400
    given = {"account": "VA1", "refresh_token": "refresh-1"}
    assert (await client.call("POST", "/_control/refresh-tokens", json=given))[0] == 204
    assert (await client.call("POST", path, data=form, headers={"Authorization": "Basic no"}))[0] == 401
    client.simulator.revoke("VA1")
    status, body, _ = await client.call("POST", path, data=form, headers=basic)
    assert (status, body["expires_in"]) == (200, 86_399)
    assert (await client.call("POST", path, data=form, headers=basic))[0] == 400
    assert (await client.call("GET", f"{ACCOUNT}/orders"))[0] == 401
    renewed = JSON | {"Authorization": f"Bearer {body['access_token']}"}
    assert (await client.call("GET", f"{ACCOUNT}/orders", headers=renewed))[0] == 200
    again = form | {"refresh_token": body["refresh_token"]}
    assert (await client.call("POST", path, data=again, headers=basic))[0] == 200


@pytest.mark.parametrize(
    "given", [{}, {"account": "VA9", "refresh_token": "x"}, {"account": "VA1", "refresh_token": ""}]
)
async def test_nonsense_about_refresh_tokens_is_a_bad_request(client: Client, given: dict[str, str]):
    assert (await client.call("POST", "/_control/refresh-tokens", json=given))[0] == 400

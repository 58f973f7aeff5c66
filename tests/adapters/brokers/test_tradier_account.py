"""Tradier's positions, balances, lists of orders, quotes and events, as its documents have them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.brokers.tradier_account import read_orders, read_positions
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import Side
from domain.ports import BrokerCredentials, VenueAccount, VenueOrder, VenueStatus
from tests.adapters.brokers.tradier_canned import ACCOUNT, Canned, fixture, fixture_text, open_canned

CREDENTIALS = BrokerCredentials("cred-1", "VA000000", "token-of-the-follower")
LIST, QUOTES, SESSION = f"GET {ACCOUNT}/orders", "GET /v1/markets/quotes", "POST /v1/accounts/events/session"


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


async def test_positions_are_read_exactly_and_priced_by_the_last_trade(canned: Canned):
    canned.answer(f"GET {ACCOUNT}/positions", fixture_text("positions"))
    canned.answer(QUOTES, fixture_text("quotes"))
    long, short = await canned.broker.positions(CREDENTIALS)
    assert (long.symbol, long.qty, long.avg_price, long.price) == (
        "AAPL", Decimal(4), Decimal("51.7525"), Decimal("185.25"),
    )  # fmt: skip
    assert (short.symbol, short.qty, short.avg_price, short.price) == ("TSLA", Decimal(-2), Decimal("935.35"), None)
    assert canned.lines[1] == "GET paper /v1/markets/quotes?symbols=AAPL%2CTSLA&greeks=false"


async def test_no_position_is_the_word_null_and_one_is_no_list(canned: Canned):
    canned.answer(f"GET {ACCOUNT}/positions", fixture("positions_none"))
    assert await canned.broker.positions(CREDENTIALS) == []
    assert len(canned.seen) == 1
    found = read_positions(json.loads(fixture_text("positions_single"), parse_float=Decimal))
    assert found is not None
    assert [position.symbol for position in found] == ["AAPL"]


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("balances_margin", VenueAccount(Decimal("17798.36"), Decimal("6363.86"), Decimal("12727.72"))),
        ("balances_cash", VenueAccount(Decimal("5653.38"), Decimal("5653.38"), Decimal("4343.38"))),
    ],
)
async def test_buying_power_is_where_the_type_of_the_account_keeps_it(canned: Canned, name: str, account: VenueAccount):
    canned.answer(f"GET {ACCOUNT}/balances", fixture_text(name))
    assert await canned.broker.account(CREDENTIALS) == account
    assert await canned.broker.balances(CREDENTIALS) == {"USD": account.buying_power}


@pytest.mark.parametrize(
    "body",
    ["", "{}", '{"balances": "null"}', '{"balances": {"account_type": "margin"}}', '{"balances": {"total_cash": 1}}'],
)
async def test_balances_that_cannot_be_read_are_unavailable(canned: Canned, body: str):
    canned.answer(f"GET {ACCOUNT}/balances", body)
    with pytest.raises(VenueUnavailable):
        await canned.broker.account(CREDENTIALS)


@pytest.mark.parametrize("body", ["", "{}", '{"positions": 1}', '{"positions": {"position": [1]}}'])
async def test_positions_that_cannot_be_read_are_unavailable_and_not_empty(canned: Canned, body: str):
    canned.answer(f"GET {ACCOUNT}/positions", body)
    with pytest.raises(VenueUnavailable):
        await canned.broker.positions(CREDENTIALS)


def test_options_and_legs_are_orders_of_their_own_symbols():
    found = read_orders(json.loads(fixture_text("orders"), parse_float=Decimal))
    assert found is not None
    assert [(one.order.order.ref, one.order.symbol, one.order.side, one.order.qty) for one in found] == [
        ("228175", "AAPL", Side.BUY, Decimal(50)),
        ("228749", "SPY240720C00274000", Side.BUY, Decimal(1)),
        ("229064", "SPY", Side.BUY, Decimal(100)),
        ("229065", "SPY240720C00274000", Side.SELL, Decimal(1)),
        ("229123", "AAPL", Side.SELL, Decimal(10)),
    ]


async def test_orders_since_are_all_of_the_time_in_order_of_submission(canned: Canned):
    now = datetime.now(UTC)
    items = fixture("orders")["orders"]["order"]
    early, late, ours = items[0], items[1], items[3]
    for item, ago in ((early, 3_700), (late, 10), (ours, 20)):
        item["create_date"] = item["transaction_date"] = (now - timedelta(seconds=ago)).isoformat()
    canned.answer(LIST, {"orders": {"order": [late, early, ours]}})
    since = now - timedelta(hours=1)
    found = await canned.broker.orders_since(CREDENTIALS, since)
    assert [order.order.ref for order in found] == ["229123", "228749"]
    day = (since - timedelta(days=1)).date()
    assert canned.lines[0].endswith(f"?includeTags=true&filter=all&start={day}&page=1&limit=100")


async def test_a_time_that_the_vendors_list_does_not_reach_is_unavailable(canned: Canned):
    with pytest.raises(VenueUnavailable) as told:
        await canned.broker.orders_since(CREDENTIALS, datetime.now(UTC) - timedelta(days=30))
    assert (told.value.code, canned.seen) == ("too_many_orders", [])


async def test_a_venue_with_pages_without_end_is_given_up(canned: Canned):
    one = fixture("orders_single")["orders"]["order"]
    for number in range(51):
        page = [{**one, "id": 25 * number + n + 1, "tag": "FO-other"} for n in range(25)]
        canned.answer(LIST, {"orders": {"order": page}})
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert len(canned.seen) == 50


async def test_fills_are_told_once_for_each_order_that_is_over(canned: Canned):
    now = datetime.now(UTC)
    items = fixture("orders")["orders"]["order"]
    working = {**fixture("order_partially_filled")["order"], "id": 7}
    for item in (*items, working):
        item["create_date"] = item["transaction_date"] = now.isoformat()
    canned.answer(LIST, json.dumps({"orders": {"order": [*items, working]}}))
    option, short = await canned.broker.fills_since(CREDENTIALS, now - timedelta(minutes=1))
    assert (option.symbol, option.client_order_id, option.qty) == ("SPY240720C00274000", "", Decimal(1))
    assert (short.fill_id, short.ref, short.client_order_id) == ("229123", "229123", "FO-fixture-1")
    assert (short.side, short.qty, short.price, short.fee) == (Side.SELL, Decimal(10), Decimal("185.25"), None)


async def test_instruments_are_the_shares_that_the_vendor_quotes(canned: Canned):
    canned.answer(QUOTES, fixture_text("quotes"))
    found = await canned.broker.instruments(CREDENTIALS, ["AAPL", "PENNY", "VXX240719P00016000", "NOSUCH"])
    assert set(found) == {"AAPL", "PENNY"}
    assert (found["AAPL"].qty_step, found["AAPL"].price_step) == (Decimal(1), Decimal("0.01"))
    assert found["PENNY"].price_step == Decimal("0.0001")


async def test_quotes_have_their_newest_time_and_no_side_at_zero(canned: Canned):
    canned.answer(QUOTES, fixture_text("quotes"))
    found = await canned.broker.quotes(CREDENTIALS, ["AAPL", "PENNY"])
    assert (found["AAPL"].bid, found["AAPL"].ask) == (Decimal("185.24"), Decimal("185.26"))
    assert found["AAPL"].asof == datetime(2024, 6, 3, 14, 0, 1, 456_000, tzinfo=UTC)
    assert (found["PENNY"].bid, found["PENNY"].ask) == (None, Decimal("0.53"))


async def test_symbols_that_nobody_knows_have_no_quote_and_none_asked_for_costs_no_request(canned: Canned):
    canned.answer(QUOTES, fixture("quotes_unmatched"))
    assert await canned.broker.quotes(CREDENTIALS, ["NOSUCH"]) == {}
    assert await canned.broker.instruments(CREDENTIALS, []) == {}
    assert len(canned.seen) == 1


async def test_reports_begin_with_the_first_frame_and_are_cumulative(canned: Canned):
    canned.answer(SESSION, fixture("session"))
    canned.frames = [json.dumps(event) for event in fixture("events")]
    canned.stays = False
    reports = canned.broker.reports(CREDENTIALS)
    seen = [await anext(reports) for _ in range(3)]
    with pytest.raises(VenueUnavailable):
        await anext(reports)
    working = VenueOrder("1107075", "FO-fixture-1", VenueStatus.WORKING)
    filled = VenueOrder("1107075", "FO-fixture-1", VenueStatus.FILLED, Decimal(2), Decimal(10))
    assert seen == [None, working, filled]
    [subscription] = canned.subscriptions
    assert json.loads(subscription) == {
        "events": ["order"], "sessionid": "9D1C7018CFEB6F8ECF8CAA58B33", "excludeAccounts": [],
    }  # fmt: skip


@pytest.mark.parametrize("lacks", ["tag", "avg_fill_price", "exec_quantity"])
async def test_where_an_event_lacks_something_the_order_is_asked_for(canned: Canned, lacks: str):
    event = fixture("events")[2] | {"id": 257459}
    del event[lacks]
    canned.answer(SESSION, fixture("session"))
    canned.answer(f"GET {ACCOUNT}/orders/257459", fixture_text("order_partially_filled"))
    canned.frames = [json.dumps(event)]
    reports = canned.broker.reports(CREDENTIALS)
    assert await anext(reports) is None
    report = await anext(reports)
    assert report is not None
    assert (report.client_order_id, report.filled_qty) == ("FO-fixture-1", Decimal(3))
    await reports.aclose()  # type: ignore[attr-defined]


async def test_events_of_other_accounts_and_frames_of_no_meaning_are_passed_over(canned: Canned):
    canned.answer(SESSION, fixture("session"))
    unknown = fixture("events")[1] | {"id": 1, "tag": None}
    canned.frames = ["[]", "no json", json.dumps(unknown), '{"event": "trade"}', json.dumps(fixture("events")[2])]
    reports = canned.broker.reports(CREDENTIALS)
    assert await anext(reports) is None
    report = await anext(reports)
    assert report is not None
    assert report.ref == "1107075"
    await reports.aclose()  # type: ignore[attr-defined]


async def test_a_subscription_that_is_not_refused_stands_before_the_first_heartbeat(
    canned: Canned, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("adapters.brokers.tradier_stream._STANDS_AFTER_S", 0.05)
    canned.answer(SESSION, fixture("session"))
    reports = canned.broker.reports(CREDENTIALS)
    assert await anext(reports) is None
    await reports.aclose()  # type: ignore[attr-defined]


async def test_a_silent_stream_is_given_up():
    async with open_canned(silence_ms=200) as canned:
        canned.answer(SESSION, fixture("session"))
        with pytest.raises(VenueUnavailable) as silent:
            await anext(canned.broker.reports(CREDENTIALS))
        assert silent.value.code == "stream_silent"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(401, "Invalid Access Token", VenueRefused), (503, "", VenueUnavailable), (200, "{}", VenueUnavailable)],
)
async def test_without_a_session_there_is_no_stream(canned: Canned, status: int, body: str, error: type[Exception]):
    canned.answer(SESSION, body, status=status)
    with pytest.raises(error):
        await anext(canned.broker.reports(CREDENTIALS))
    assert canned.subscriptions == []


async def test_an_error_on_the_socket_ends_the_stream(canned: Canned):
    canned.answer(SESSION, fixture("session"))
    canned.frames = ['{"error": "too many sessions"}']
    with pytest.raises(VenueUnavailable):
        await anext(canned.broker.reports(CREDENTIALS))

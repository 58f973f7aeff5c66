"""Alpaca's assets, quotes and executions, as its documents have them; and what is refused before it is sent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.alpaca_market import read_fills, read_instrument, refusal
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, OutcomeKind
from domain.venues import Flag, VenueFill, VenueInstrument, VenueQuote
from tests.adapters.brokers.canned import Canned, fixture, fixtures, open_canned
from tests.adapters.brokers.harness import child_order

CREDENTIALS = BrokerCredentials("cred-1", "AK1", "secret")
SINCE = datetime(2024, 3, 18, 14, 0, tzinfo=UTC)
CENT, FRACTION = Decimal("0.01"), Decimal("0.000000001")


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


@pytest.mark.parametrize(
    ("name", "symbol", "expected"),
    [
        ("asset_fractionable", "AAPL", VenueInstrument("AAPL", "USD", FRACTION, CENT, shortable=True)),
        ("asset_whole", "BRK.A", VenueInstrument("BRK.A", "USD", Decimal(1), CENT)),
        ("asset_inactive", "GONE", VenueInstrument("GONE", "USD", Decimal(1), CENT, flags=frozenset({Flag.HALTED}))),
        (
            "asset_crypto",
            "BTC-USD",
            VenueInstrument("BTC-USD", "USD", Decimal("0.0001"), Decimal(1), min_qty=Decimal("0.0001")),
        ),
    ],
)
async def test_an_asset_has_its_steps_minimum_and_flags(
    canned: Canned, name: str, symbol: str, expected: VenueInstrument
):
    canned.answer(200, fixture(name))
    assert await canned.broker.instruments(CREDENTIALS, [symbol, symbol]) == {symbol: expected}
    assert [line for line, _, _ in canned.seen] == [f"GET /paper/v2/assets/{symbol.replace('-', '%2F')}"]


async def test_a_symbol_that_the_venue_lacks_is_left_out_and_a_bare_404_proves_nothing(canned: Canned):
    canned.answer(404, fixture("error_not_found"))
    assert await canned.broker.instruments(CREDENTIALS, ["NOSUCH"]) == {}
    canned.answer(404, "")
    with pytest.raises(VenueUnavailable):
        await canned.broker.instruments(CREDENTIALS, ["NOSUCH"])


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": None},
        {"class": "us_option"},
        {"fractionable": "yes"},
        {"price_increment": "0"},
        {"min_order_size": "x"},
    ],
)
def test_an_asset_that_cannot_be_read_is_none(change: dict[str, Any]):
    assert read_instrument("BTC-USD", fixture("asset_crypto") | change) is None


async def test_quotes_are_exact_and_a_price_of_zero_is_nobody(canned: Canned):
    canned.answer(200, fixture("quotes_stocks"))
    quotes = await canned.broker.quotes(CREDENTIALS, ["GONE", "AAPL", "NOT A SYMBOL"])
    asof = datetime(2022, 8, 17, 10, 7, 40, 286587, tzinfo=UTC)
    assert quotes["AAPL"] == VenueQuote("AAPL", Decimal("172.62"), Decimal("172.7"), asof)
    assert (quotes["GONE"].bid, quotes["GONE"].ask) == (None, None)
    assert [line for line, _, _ in canned.seen] == ["GET /data/v2/stocks/quotes/latest?symbols=AAPL,GONE"]


async def test_quotes_of_pairs_are_asked_for_in_the_vendors_symbols(canned: Canned):
    canned.answer(200, fixture("quotes_crypto"))
    quotes = await canned.broker.quotes(CREDENTIALS, ["BTC-USD"])
    assert (quotes["BTC-USD"].bid, quotes["BTC-USD"].ask) == (Decimal("27128.9"), Decimal("27138.2"))
    assert [line for line, _, _ in canned.seen] == ["GET /data/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD"]


async def test_one_symbol_that_the_venue_does_not_take_costs_the_others_nothing(canned: Canned):
    canned.answer(400, {"message": "invalid symbol: XX"})
    assert await canned.broker.quotes(CREDENTIALS, ["AAPL", "XX", "TSLA"]) == {}
    assert len(canned.seen) == 5


async def test_fills_are_read_exactly_and_asked_for_in_order(canned: Canned):
    canned.answer(200, fixtures("fills"))
    first, second = await canned.broker.fills_since(CREDENTIALS, SINCE)
    assert first == VenueFill(
        "20190524113406977::8efc7b9a-8b2b-4000-9955-d36e7db0df74",
        "904837e3-3b76-47ec-b432-046db621571b",
        "",
        "LPCN",
        Side.BUY,
        Decimal(1),
        Decimal("1.63"),
        datetime(2019, 5, 24, 15, 34, 6, 977000, tzinfo=UTC),
    )
    assert (second.side, second.qty, second.price) == (Side.SELL, Decimal("2.5"), Decimal("10.005"))
    assert [line for line, _, _ in canned.seen] == [
        "GET /paper/v2/account/activities/FILL?after=2024-03-18T14:00:00Z&direction=asc&page_size=100"
    ]


async def test_a_venue_that_answers_the_same_page_of_fills_for_ever_is_given_up(canned: Canned, monkeypatch: Any):
    monkeypatch.setattr("adapters.brokers.alpaca._FILLS_PER_PAGE", 2)
    canned.answer(200, fixtures("fills"))
    with pytest.raises(VenueUnavailable):
        await canned.broker.fills_since(CREDENTIALS, SINCE)
    assert "page_token=20190524113407001::" in canned.seen[1][0]
    assert len(canned.seen) == 2


@pytest.mark.parametrize(
    "change", [{"side": "hold"}, {"qty": "0"}, {"price": None}, {"id": ""}, {"transaction_time": "now"}]
)
def test_one_fill_that_cannot_be_read_spoils_the_list(change: dict[str, Any]):
    first, second = fixtures("fills")
    assert read_fills([first, second | change]) is None


async def test_what_may_be_spent_is_the_buying_power(canned: Canned):
    canned.answer(200, fixture("account"))
    assert await canned.broker.balances(CREDENTIALS) == {"USD": Decimal("262113.632")}


READS: list[tuple[str, list[Any]]] = [("instruments", [["AAPL"]]), ("quotes", [["AAPL"]]), ("fills_since", [SINCE]),
                                      ("balances", [])]  # fmt: skip


@pytest.mark.parametrize("body", ["", "{}", "null", '"x"', "[1]"])
@pytest.mark.parametrize(("name", "more"), READS)
async def test_a_200_that_cannot_be_read_is_unavailable_and_not_empty(
    canned: Canned, name: str, more: list[Any], body: str
):
    canned.answer(200, body)
    with pytest.raises(VenueUnavailable):
        await getattr(canned.broker, name)(CREDENTIALS, *more)


@pytest.mark.parametrize(("name", "more"), READS)
async def test_an_environment_that_is_none_reaches_no_venue(canned: Canned, name: str, more: list[Any]):
    with pytest.raises(VenueRefused):
        await getattr(canned.broker, name)(BrokerCredentials("cred-1", "AK1", "secret", environment="prod"), *more)
    assert canned.seen == []


def limit(price: str) -> dict[str, Any]:
    return {"order_type": OrderType.LIMIT, "limit_price": Decimal(price)}


@pytest.mark.parametrize(
    "changes",
    [
        limit("1.001"),
        limit("0.12345"),
        {"qty": Decimal("0.0000000001")},
        {"qty": Decimal("1.5"), "tif": TimeInForce.GTC},
        {"symbol": "BTC-USD", "qty": Decimal("0.0000000001")},
    ],
)
async def test_what_the_venue_is_known_to_refuse_is_not_sent(canned: Canned, changes: dict[str, Any]):
    outcome = await canned.broker.submit(CREDENTIALS, child_order("FO-1", **changes))
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "invalid_order")
    assert outcome.detail.startswith("not sent: ")
    assert canned.seen == []


@pytest.mark.parametrize(
    "changes",
    [
        limit("1.01"),
        limit("1.0100"),
        limit("0.1234"),
        limit("1E+3"),
        {"qty": Decimal("0.000000001")},
        {"qty": Decimal("2.0"), "tif": TimeInForce.GTC},
        {"qty": Decimal("1E+2"), "tif": TimeInForce.GTC},
        {"symbol": "BTC-USD", "qty": Decimal("0.5"), "tif": TimeInForce.GTC, **limit("27128.123")},
    ],
)
def test_what_the_venue_may_take_is_left_to_it(changes: dict[str, Any]):
    assert refusal(child_order("FO-1", **changes)) is None


async def test_a_pair_is_ordered_and_reported_by_symbols_that_fit_each_side(canned: Canned):
    canned.answer(200, [fixtures("positions")[0] | {"symbol": "BTCUSD", "asset_class": "crypto"}])
    [position] = await canned.broker.positions(CREDENTIALS)
    assert position.symbol == "BTC-USD"
    await canned.broker.submit(CREDENTIALS, child_order("FO-1", symbol="BTC-USD", tif=TimeInForce.GTC))
    assert b'"symbol": "BTC/USD"' in canned.seen[1][2]

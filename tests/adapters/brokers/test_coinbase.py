"""Coinbase's own words: fixtures from its documents, and answers that no simulator should have to give."""

import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import formatdate
from typing import Any

import jwt
import pytest

from adapters.brokers.coinbase import CoinbaseBroker
from adapters.brokers.coinbase_auth import stream_token
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueStatus
from domain.venues import ConversionStatus
from tests.adapters.brokers.coinbase_canned import (
    CREDENTIALS,
    KEY_NAME,
    PRIVATE,
    PUBLIC,
    CoinbaseCanned,
    fixture,
    open_canned,
)
from tests.adapters.brokers.openapi import Description, needs_reference

ORDER = ChildOrder("FO-fixture-1", "BTC-USD", Side.BUY, Decimal("0.015"), OrderType.MARKET, TimeInForce.DAY)
LIMIT = replace(ORDER, order_type=OrderType.LIMIT, limit_price=Decimal("61000.50"))
SINCE = datetime(2024, 5, 2, 14, 0, tzinfo=UTC)
ACK, RETRYABLE, FINAL, AMBIGUOUS = OutcomeKind


@pytest.fixture
async def canned() -> AsyncIterator[CoinbaseCanned]:
    async with open_canned() as server:
        yield server


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (200, "order_created", ACK, "accepted"),
        (200, "refused_insufficient_fund", FINAL, "insufficient_funds"),
        (200, "refused_product", FINAL, "unknown_symbol"),
        (200, "refused_disabled", FINAL, "halted"),
        (200, "refused_too_small", FINAL, "below_minimum"),
        (200, "refused_precision", FINAL, "invalid_order"),
        (200, "refused_duplicate", AMBIGUOUS, "duplicate_client_order_id"),
        (200, "refused_without_reason", AMBIGUOUS, "venue_error"),
        (400, "error_no_wallet", FINAL, "insufficient_funds"),
        (400, "error_invalid_argument", FINAL, "invalid_order"),
        (401, "error_permission", FINAL, "bad_credentials"),
        (403, "error_permission", FINAL, "forbidden"),
        (418, "error_permission", FINAL, "invalid_order"),
        (408, "error_permission", AMBIGUOUS, "no_answer"),
        (429, "error_rate_limited", RETRYABLE, "rate_limited"),
        (500, "error_permission", AMBIGUOUS, "venue_error"),
        (503, "refused_insufficient_fund", AMBIGUOUS, "venue_error"),
    ],
)
async def test_each_answer_to_a_submission_has_its_verdict(
    canned: CoinbaseCanned, status: int, name: str, kind: OutcomeKind, code: str
):
    canned.answer("/orders", status, fixture(name))
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.http_status) == (kind, code, status)
    assert (outcome.venue_order is not None) == (name == "order_created")


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", {"success": True}, {"success": True, "order_id": "x"}])
async def test_a_200_without_our_order_is_ambiguous(canned: CoinbaseCanned, body: object):
    canned.answer("/orders", 200, body)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (AMBIGUOUS, "unreadable_answer")


async def test_an_answer_about_another_order_is_ambiguous(canned: CoinbaseCanned):
    canned.answer("/orders", 200, fixture("order_created"))
    outcome = await canned.broker.submit(CREDENTIALS, replace(ORDER, client_order_id="FO-other"))
    assert (outcome.kind, outcome.code) == (AMBIGUOUS, "unreadable_answer")


async def test_a_request_carries_a_token_for_itself_alone_and_no_secret(canned: CoinbaseCanned):
    canned.answer("/orders", 200, fixture("order_created"))
    await canned.broker.submit(CREDENTIALS, ORDER)
    [(line, headers, body)] = canned.seen
    assert line == "POST /api/v3/brokerage/orders"
    token = headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, PUBLIC, algorithms=["ES256"])
    assert claims["uri"] == f"POST {canned.url.removeprefix('http://')}/api/v3/brokerage/orders"
    assert (claims["sub"], claims["iss"], claims["exp"] - claims["nbf"]) == (KEY_NAME, "cdp", 120)
    assert abs(claims["nbf"] - time.time()) < 5
    assert jwt.get_unverified_header(token)["kid"] == KEY_NAME
    assert "PRIVATE" not in f"{headers}{body!r}"


async def test_a_token_is_never_good_for_longer_than_the_vendor_allows(monkeypatch: pytest.MonkeyPatch):
    seconds = itertools.count(1_700_000_000)  # each reading of the clock falls into another second
    monkeypatch.setattr("time.time", lambda: float(next(seconds)))
    claims = jwt.decode(stream_token(CREDENTIALS), options={"verify_signature": False})
    assert claims["exp"] - claims["nbf"] == 120


async def test_a_token_is_made_anew_for_each_request(canned: CoinbaseCanned):
    canned.answer("/accounts", 200, fixture("accounts"))
    for _ in range(2):
        await canned.broker.balances(CREDENTIALS)
    first, second = (headers["Authorization"] for _, headers, _ in canned.seen)
    assert first != second


async def test_a_key_with_written_out_line_breaks_is_taken(canned: CoinbaseCanned):
    canned.answer("/orders", 200, fixture("order_created"))
    written = replace(CREDENTIALS, secret=PRIVATE.replace("\n", "\\n"))
    assert (await canned.broker.submit(written, ORDER)).kind is ACK


@pytest.mark.parametrize(("key", "secret"), [("", PRIVATE), ("k", ""), ("k", "s3cret"), ("k", PRIVATE[:120])])
async def test_a_key_that_is_none_is_refused_before_anything_is_sent(canned: CoinbaseCanned, key: str, secret: str):
    outcome = await canned.broker.submit(BrokerCredentials("cred-1", key, secret), ORDER)
    assert (outcome.kind, outcome.code) == (FINAL, "bad_credentials")
    assert canned.seen == []
    assert not secret or secret not in outcome.detail


async def test_an_environment_without_an_address_is_refused(canned: CoinbaseCanned):
    outcome = await canned.broker.submit(replace(CREDENTIALS, environment="live"), ORDER)
    assert (outcome.kind, outcome.code) == (FINAL, "bad_environment")


async def test_a_market_order_that_must_fill_whole_is_refused_here(canned: CoinbaseCanned):
    outcome = await canned.broker.submit(CREDENTIALS, replace(ORDER, tif=TimeInForce.FOK))
    assert (outcome.kind, outcome.code) == (FINAL, "invalid_order")
    assert canned.seen == []


async def test_an_account_whose_budget_is_used_up_is_told_to_wait_before_anything_is_sent(canned: CoinbaseCanned):
    canned.answer("/orders", 429, fixture("error_rate_limited"), Retry_After="3")
    assert (await canned.broker.submit(CREDENTIALS, ORDER)).retry_after_s == 3
    again = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (again.kind, again.code, again.http_status) == (RETRYABLE, "rate_limited", None)
    assert again.retry_after_s is not None
    assert 0 < again.retry_after_s <= 3
    assert len(canned.seen) == 1
    other = await canned.broker.submit(replace(CREDENTIALS, ref="cred-2"), ORDER)
    assert other.http_status == 429


@pytest.mark.parametrize("reset", ["1", "60", "4714658760", "4714658760000"])
async def test_no_reset_of_the_request_budget_is_farther_than_the_vendors_second(canned: CoinbaseCanned, reset: str):
    spent = {"x_ratelimit_limit": "30", "x_ratelimit_remaining": "0", "x_ratelimit_reset": reset}
    canned.answer("/orders", 200, fixture("order_created"), **spent)
    await canned.broker.submit(CREDENTIALS, ORDER)
    again = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (again.code, again.retry_after_s) == ("rate_limited", 1)


async def test_a_budget_that_is_not_near_its_end_holds_nothing_up(canned: CoinbaseCanned):
    canned.answer("/accounts", 200, fixture("accounts"), x_ratelimit_limit="30", x_ratelimit_remaining="4",
                  x_ratelimit_reset="1")  # fmt: skip
    for _ in range(40):
        await canned.broker.balances(CREDENTIALS)


async def test_a_token_that_our_clock_has_spoilt_is_no_wrong_key(canned: CoinbaseCanned):
    for when in (time.time() - 300, time.time() + 300, time.time()):
        canned.answer("/orders", 401, "Unauthorized", Date=formatdate(when, usegmt=True))
        canned.answer("/accounts", 401, "Unauthorized", Date=formatdate(when, usegmt=True))
    for kind, code in [(RETRYABLE, "clock_skew")] * 2 + [(FINAL, "bad_credentials")]:
        outcome = await canned.broker.submit(CREDENTIALS, ORDER)
        assert (outcome.kind, outcome.code) == (kind, code)
    for error in (VenueUnavailable, VenueUnavailable, VenueRefused):
        with pytest.raises(error):
            await canned.broker.balances(CREDENTIALS)


async def test_a_look_up_asks_by_the_venues_id_where_it_is_known(canned: CoinbaseCanned):
    canned.answer("/orders", 200, fixture("order_created"))
    canned.answer("/orders/historical/", 200, fixture("order"))
    await canned.broker.submit(CREDENTIALS, ORDER)
    report = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert report is not None
    assert (report.status, report.filled_qty) == (VenueStatus.PARTIALLY_FILLED, Decimal("0.005"))
    assert report.avg_price == Decimal("60990.5")
    assert canned.seen[1][0] == f"GET /api/v3/brokerage/orders/historical/{report.ref}"


async def test_an_id_that_the_venue_forgot_is_searched_for(canned: CoinbaseCanned):
    canned.answer("/orders", 200, fixture("order_created"))
    canned.answer("/orders/historical/", 404, fixture("error_not_found"))
    canned.answer("/orders/historical/batch", 200, fixture("orders"))
    await canned.broker.submit(CREDENTIALS, ORDER)
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is not None


async def test_a_look_up_searches_page_by_page_and_then_among_open_orders(canned: CoinbaseCanned):
    first = fixture("orders") | {"orders": fixture("orders")["orders"][1:], "has_next": True, "cursor": "c1"}
    empty = fixture("orders") | {"orders": []}
    for page in (first, empty, fixture("orders")):
        canned.answer("/orders/historical/batch", 200, page)
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is not None
    lines = [line.partition("?")[2] for line, _, _ in canned.seen]
    assert [("start_date" in q, "cursor=c1" in q, "order_status=OPEN" in q) for q in lines] == [
        (True, False, False),
        (True, True, False),
        (False, False, True),
    ]


async def test_a_search_that_finds_nothing_in_both_proves_absence(canned: CoinbaseCanned):
    canned.answer("/orders/historical/batch", 200, fixture("orders"))
    assert await canned.broker.look_up(CREDENTIALS, "FO-never-sent") is None
    assert len(canned.seen) == 2


async def test_a_search_without_end_proves_nothing(canned: CoinbaseCanned):
    canned.answer("/orders/historical/batch", 200, fixture("orders") | {"has_next": True, "cursor": "again"})
    with pytest.raises(VenueUnavailable) as unavailable:
        await canned.broker.look_up(CREDENTIALS, "FO-never-sent")
    assert unavailable.value.code == "too_many_orders"


@pytest.mark.parametrize("body", ["<html>", {"orders": "none"}])
async def test_an_unreadable_search_is_unavailable_and_not_absent(canned: CoinbaseCanned, body: object):
    canned.answer("/orders/historical/batch", 200, body)
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-1")


@pytest.mark.parametrize("name", ["cancel", "cancel_unknown"])
async def test_a_cancel_is_asked_for_with_the_result_of_its_order(canned: CoinbaseCanned, name: str):
    canned.answer("/orders/batch_cancel", 200, fixture(name))
    await canned.broker.cancel(CREDENTIALS, "ref-1")
    assert json.loads(canned.seen[0][2]) == {"order_ids": ["ref-1"]}


async def test_a_refused_cancel_counts_by_whether_the_order_is_over(canned: CoinbaseCanned):
    canned.answer("/orders/batch_cancel", 200, fixture("cancel_rejected"))
    for name in ("order", "order_cancelled"):
        canned.answer("/orders/historical/", 200, fixture(name))
    with pytest.raises(VenueUnavailable):
        await canned.broker.cancel(CREDENTIALS, "ref-1")
    await canned.broker.cancel(CREDENTIALS, "ref-1")


async def test_crypto_wallets_are_positions_and_money_is_not(canned: CoinbaseCanned):
    canned.answer("/accounts", 200, fixture("accounts"))
    canned.answer("/best_bid_ask", 200, fixture("best_bid_ask"))
    btc, dust = await canned.broker.positions(CREDENTIALS)
    assert (btc.symbol, btc.qty, btc.price) == ("BTC-USD", Decimal(1), Decimal(61_001))
    assert (dust.symbol, dust.qty, dust.price) == ("DUST-USD", Decimal(12), None)


async def test_an_accounts_value_counts_what_has_a_price_in_dollars(canned: CoinbaseCanned):
    canned.answer("/accounts", 200, fixture("accounts"))
    canned.answer("/best_bid_ask", 200, fixture("best_bid_ask"))
    account = await canned.broker.account(CREDENTIALS)
    assert account.cash == Decimal("1620.75")
    assert account.buying_power == Decimal("1500.25")
    assert account.equity == account.cash + 61_001


async def test_balances_are_what_may_be_spent_of_each_currency(canned: CoinbaseCanned):
    canned.answer("/accounts", 200, fixture("accounts"))
    balances = await canned.broker.balances(CREDENTIALS)
    assert (balances["BTC"], balances["USD"], balances["USDC"]) == (Decimal("0.75"), Decimal("1000.25"), Decimal(500))


async def test_a_wallet_that_cannot_be_read_spoils_the_whole_list(canned: CoinbaseCanned):
    broken = fixture("accounts")
    broken["accounts"][0]["available_balance"]["value"] = "n/a"
    canned.answer("/accounts", 200, broken)
    for read in (canned.broker.positions, canned.broker.account, canned.broker.balances):
        with pytest.raises(VenueUnavailable):
            await read(CREDENTIALS)


async def test_orders_are_read_oldest_first_and_those_by_money_have_no_quantity(canned: CoinbaseCanned):
    canned.answer("/orders/historical/batch", 200, fixture("orders"))
    theirs, ours = await canned.broker.orders_since(CREDENTIALS, SINCE)
    assert (theirs.symbol, theirs.side, theirs.qty) == ("ETH-USDC", Side.SELL, None)
    assert (ours.order.client_order_id, ours.side, ours.qty) == ("FO-fixture-1", Side.BUY, Decimal("0.02"))
    assert ours.submitted_at == datetime(2024, 5, 2, 14, 3, 11, 482913, tzinfo=UTC)


async def test_fills_are_read_in_the_base_currency_and_reversals_are_none(canned: CoinbaseCanned):
    canned.answer("/orders/historical/fills", 200, fixture("fills"))
    first, second = await canned.broker.fills_since(CREDENTIALS, SINCE)
    assert (first.symbol, first.qty, first.price, first.fee) == (
        "ETH-USDC",
        Decimal("0.2"),
        Decimal(3000),
        Decimal("3.6"),
    )
    assert (second.fill_id, second.qty, second.client_order_id) == ("e1f0c9a3b7d84e5f", Decimal("0.005"), "")


async def test_instruments_are_those_that_the_venue_knows(canned: CoinbaseCanned):
    canned.answer("/products/BTC-USD", 200, fixture("product"))
    canned.answer("/products/", 404, fixture("error_not_found"))
    found = await canned.broker.instruments(CREDENTIALS, ["BTC-USD", "NO-SUCH"])
    assert list(found) == ["BTC-USD"]
    product = found["BTC-USD"]
    assert (product.quote_currency, product.qty_step, product.price_step) == ("USD", Decimal("1E-8"), Decimal("0.01"))
    assert (product.min_qty, product.min_notional, product.flags) == (Decimal("1E-8"), Decimal(1), frozenset())


async def test_a_bare_404_says_nothing_of_a_product(canned: CoinbaseCanned):
    canned.answer("/products/", 404, "not here")
    with pytest.raises(VenueUnavailable):
        await canned.broker.instruments(CREDENTIALS, ["BTC-USD"])


async def test_quotes_have_none_where_nobody_bids(canned: CoinbaseCanned):
    canned.answer("/best_bid_ask", 200, fixture("best_bid_ask"))
    quotes = await canned.broker.quotes(CREDENTIALS, ["BTC-USD", "ETH-USD", "NO-SUCH"])
    assert {s: (q.bid, q.ask) for s, q in quotes.items()} == {
        "BTC-USD": (Decimal(61_000), Decimal(61_002)),
        "ETH-USD": (None, Decimal("3012.5")),
    }


async def test_a_product_that_spoils_the_request_for_all_is_left_out(canned: CoinbaseCanned):
    one = fixture("best_bid_ask") | {"pricebooks": fixture("best_bid_ask")["pricebooks"][:1]}
    canned.answer("/best_bid_ask", 400, fixture("error_invalid_argument"))
    canned.answer("/best_bid_ask", 200, one)
    canned.answer("/best_bid_ask", 400, fixture("error_invalid_argument"))
    assert len(await canned.broker.quotes(CREDENTIALS, ["BTC-USD", "NO-SUCH"])) <= 1
    assert len(canned.seen) == 3


async def test_a_conversion_is_quoted_committed_and_looked_up(canned: CoinbaseCanned):
    canned.answer("/convert/quote", 200, fixture("convert_quote"))
    canned.answer("/convert/trade/", 200, fixture("convert_trade"))
    quoted = await canned.broker.quote_conversion(CREDENTIALS, "USD", "USDC", Decimal(1_000))
    assert (quoted.received, quoted.fee, quoted.status) == (Decimal("999.5"), Decimal("0.5"), ConversionStatus.QUOTED)
    done = await canned.broker.commit_conversion(CREDENTIALS, quoted)
    assert done.status is ConversionStatus.COMPLETED
    assert await canned.broker.look_up_conversion(CREDENTIALS, quoted) == done
    assert [line.partition("?")[0] for line, _, _ in canned.seen] == [
        "POST /api/v3/brokerage/convert/quote",
        f"POST /api/v3/brokerage/convert/trade/{quoted.ref}",
        f"GET /api/v3/brokerage/convert/trade/{quoted.ref}",
    ]
    assert json.loads(canned.seen[0][2]) == {"from_account": "USD", "to_account": "USDC", "amount": "1000"}


@pytest.mark.parametrize(
    ("total", "fee", "rate", "received", "fee_in_target"),
    [
        (("999.5", "USDC"), ("0.5", "USDC"), ("1", "USDC"), "999.5", "0.5"),
        (("1000", "USD"), ("0.5", "USD"), ("1", "USD"), "999.5", "0.5"),
        (("1000", "USD"), ("2", "USD"), ("0.99", "USDC"), "988.02", "1.98"),
    ],
)
async def test_a_conversion_is_told_in_the_targets_units(
    canned: CoinbaseCanned, total: Any, fee: Any, rate: Any, received: str, fee_in_target: str
):
    def money(pair: tuple[str, str]) -> dict[str, str]:
        return {"value": pair[0], "currency": pair[1]}

    body = fixture("convert_quote")
    body["trade"] |= {"total": money(total), "total_fee": {"amount": money(fee)}, "exchange_rate": money(rate)}
    canned.answer("/convert/quote", 200, body)
    quoted = await canned.broker.quote_conversion(CREDENTIALS, "USD", "USDC", Decimal(1_000))
    assert (quoted.received, quoted.fee) == (Decimal(received), Decimal(fee_in_target))


async def test_a_conversion_that_the_venue_does_not_offer_is_refused(canned: CoinbaseCanned):
    canned.answer("/convert/quote", 400, fixture("error_invalid_argument"))
    with pytest.raises(VenueRefused):
        await canned.broker.quote_conversion(CREDENTIALS, "BRL", "USD", Decimal(100))


async def test_a_venue_that_is_down_is_tried_again():
    broker = CoinbaseBroker(live_url="", paper_url="http://127.0.0.1:9", timeout_ms=500)
    outcome = await broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (RETRYABLE, "connect_failed")
    with pytest.raises(VenueUnavailable):
        await broker.look_up(CREDENTIALS, "FO-1")
    await broker.close()


# The description at hand names two paths shorter than the vendor's reference and SDK do.
_SHORTER = {"/orders/historical/batch": "/orders", "/orders/historical/6": "/orders/6"}


@needs_reference
async def test_requests_are_as_the_vendor_describes_them(canned: CoinbaseCanned):
    description = Description("coinbase-advanced-trade-openapi.yml", prefix="/api/v3/brokerage")
    canned.answer("/orders", 200, fixture("order_created"))
    canned.answer("/orders/historical/", 200, fixture("order"))
    canned.answer("/orders/batch_cancel", 200, fixture("cancel"))
    for name, path in {"orders": "/orders/historical/batch", "fills": "/orders/historical/fills"}.items():
        canned.answer(path, 200, fixture(name))
    for name in ("accounts", "best_bid_ask"):
        canned.answer(f"/{name}", 200, fixture(name))
    canned.answer("/products/BTC-USD", 200, fixture("product"))
    for tif in TimeInForce:
        await canned.broker.submit(CREDENTIALS, replace(LIMIT, tif=tif))
    await canned.broker.submit(CREDENTIALS, ORDER)
    await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    await canned.broker.look_up(CREDENTIALS, "FO-other")
    await canned.broker.cancel(CREDENTIALS, "ref-1")
    await canned.broker.account(CREDENTIALS)
    await canned.broker.orders_since(CREDENTIALS, SINCE)
    await canned.broker.fills_since(CREDENTIALS, SINCE)
    await canned.broker.instruments(CREDENTIALS, ["BTC-USD"])
    assert len(canned.seen) == 14
    for line, _, body in canned.seen:
        described = line
        for longer, shorter in _SHORTER.items():
            described = described.replace(longer, shorter)
        assert description.faults(described, body) == [], line

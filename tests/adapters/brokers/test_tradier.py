"""Tradier's own words: fixtures from its documents, and answers that no simulator should have to give."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.tradier import TradierBroker
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder, VenueStatus
from simulators.tradier import TradierSimulator
from tests.adapters.brokers.tradier_canned import ACCOUNT, Canned, fixture, fixture_text, open_canned, open_silent
from tests.adapters.brokers.tradier_venue import open_tradier

SECRET = "token-of-the-follower"
CREDENTIALS = BrokerCredentials("cred-1", "VA000000", SECRET)
ORDER = ChildOrder(
    "FO-fixture-1", "AAPL", Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY, closes=False
)  # fmt: skip
ACK, RETRYABLE, FINAL, AMBIGUOUS = OutcomeKind
POST, LIST, ONE = f"POST {ACCOUNT}/orders", f"GET {ACCOUNT}/orders", f"GET {ACCOUNT}/orders/257459"
HELD = f"GET {ACCOUNT}/positions"


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (200, "order_placed", ACK, "accepted"),
        (200, "order_rejected", FINAL, "rejected"),
        (200, "error_buying_power", FINAL, "insufficient_funds"),
        (200, "error_short_while_long", FINAL, "invalid_order"),
        (200, "error_halted", FINAL, "halted"),
        (200, "error_backoffice_alone", FINAL, "rejected"),
        (200, "error_unknown_word", AMBIGUOUS, "venue_error"),
        (200, "error_oms", AMBIGUOUS, "venue_error"),
        (400, "error_quantity", FINAL, "invalid_order"),
        (400, "error_symbol", FINAL, "unknown_symbol"),
        (400, "error_oms", AMBIGUOUS, "venue_error"),
        (400, "error_buying_power", FINAL, "insufficient_funds"),
        (403, "error_quantity", FINAL, "forbidden"),
        (404, "error_quantity", FINAL, "invalid_order"),
        (408, "error_quantity", AMBIGUOUS, "no_answer"),
        (429, "fault_quota", RETRYABLE, "rate_limited"),
        (500, "fault_quota", RETRYABLE, "rate_limited"),
        (500, "error_unknown_word", AMBIGUOUS, "venue_error"),
        (503, "orders_none", AMBIGUOUS, "venue_error"),
    ],
)
async def test_each_answer_to_a_submission_has_its_verdict(
    canned: Canned, status: int, name: str, kind: OutcomeKind, code: str
):
    canned.answer(POST, fixture_text(name), status=status)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.http_status) == (kind, code, status)
    assert (outcome.venue_order is not None) == name.startswith("order_")
    assert len(canned.seen) == 1


async def test_a_401_in_plain_words_is_about_the_credentials(canned: Canned):
    canned.answer(POST, "Invalid Access Token", status=401)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.detail) == (FINAL, "bad_credentials", "HTTP 401: Invalid Access Token")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<order><id>257459</id></order>",
        "[]",
        '"null"',
        b"\xff\xfe",
        "[" * 100_000,
        '{"order": "null"}',
        '{"order": {"status": "ok"}}',
        '{"order": {"id": true, "status": "ok"}}',
        '{"order": {"id": 1}}',
        '{"order": {"id": 1, "status": "ok", "tag": "FO-of-someone-else"}}',
        '{"order": {"id": 1, "status": "open", "exec_quantity": NaN}}',
        '{"order": {"id": 1, "status": "open", "exec_quantity": 5}}',
        '{"order": {"id": 1, "status": "filled"}}',
        b'{"order": ' + b" " * 1_100_000 + b"}",
    ],
)
async def test_a_200_that_does_not_show_our_order_proves_nothing(canned: Canned, body: str | bytes):
    canned.answer(POST, body)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (AMBIGUOUS, "unreadable_answer")


@pytest.mark.parametrize(
    ("order", "form"),
    [
        (ORDER, {"side": "buy", "quantity": "10", "type": "market", "duration": "day"}),
        (
            replace(ORDER, qty=Decimal("1E+2"), order_type=OrderType.LIMIT, limit_price=Decimal("0.50"),
                    tif=TimeInForce.GTC),
            {"side": "buy", "quantity": "100", "type": "limit", "duration": "gtc", "price": "0.50"},
        ),
        (replace(ORDER, closes=True, qty=Decimal("10.00")), {"side": "buy_to_cover", "quantity": "10",
                                                              "type": "market", "duration": "day"}),
        (replace(ORDER, side=Side.SELL), {"side": "sell_short", "quantity": "10", "type": "market", "duration": "day"}),
        (replace(ORDER, side=Side.SELL, closes=True), {"side": "sell", "quantity": "10", "type": "market",
                                                       "duration": "day"}),
    ],
)  # fmt: skip
async def test_an_order_is_a_form_with_its_tag_and_one_of_four_sides(
    canned: Canned, order: ChildOrder, form: dict[str, str]
):
    canned.answer(POST, fixture("order_placed"))
    assert (await canned.broker.submit(CREDENTIALS, order)).kind is ACK
    [seen] = canned.seen
    assert seen.line == f"POST paper {ACCOUNT}/orders"
    assert seen.form == {"class": "equity", "symbol": "AAPL", "tag": "FO-fixture-1", **form}
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert (seen.headers["Accept"], seen.headers["Authorization"]) == ("application/json", f"Bearer {SECRET}")


@pytest.mark.parametrize(
    ("held", "side", "sent"),
    [
        ("positions_none", Side.BUY, "buy"),
        ("positions_none", Side.SELL, "sell_short"),
        ("positions_single", Side.BUY, "buy"),
        ("positions_single", Side.SELL, "sell"),
    ],
)
async def test_where_an_order_does_not_say_whether_it_closes_the_position_is_read_first(
    canned: Canned, held: str, side: Side, sent: str
):
    canned.answer(HELD, fixture(held))
    canned.answer(POST, fixture("order_placed"))
    await canned.broker.submit(CREDENTIALS, replace(ORDER, side=side, qty=Decimal(4), closes=None))
    assert canned.lines == [f"GET paper {ACCOUNT}/positions", f"POST paper {ACCOUNT}/orders"]
    assert canned.seen[1].form["side"] == sent


async def test_a_short_is_covered_and_no_order_crosses_zero(canned: Canned):
    canned.answer(HELD, fixture("positions"))
    canned.answer(POST, fixture("order_placed"))
    cover = replace(ORDER, symbol="TSLA", qty=Decimal(2), closes=None)
    await canned.broker.submit(CREDENTIALS, cover)
    assert canned.seen[1].form["side"] == "buy_to_cover"
    outcome = await canned.broker.submit(CREDENTIALS, replace(cover, qty=Decimal(3)))
    assert (outcome.kind, outcome.code, outcome.detail) == (
        FINAL, "insufficient_funds", "it would cross zero: -2 held",
    )  # fmt: skip
    assert len(canned.seen) == 3


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(503, RETRYABLE, "venue_error"), (429, RETRYABLE, "rate_limited"), (401, FINAL, "bad_credentials")],
)
async def test_a_position_that_cannot_be_read_keeps_the_order_from_being_sent(
    canned: Canned, status: int, kind: OutcomeKind, code: str
):
    canned.answer(HELD, "", status=status, headers={"Retry-After": "9"})
    outcome = await canned.broker.submit(CREDENTIALS, replace(ORDER, closes=None))
    assert (outcome.kind, outcome.code, len(canned.seen)) == (kind, code, 1)
    assert outcome.retry_after_s == (9 if kind is RETRYABLE else None)


@pytest.mark.parametrize(
    "changes", [{"qty": Decimal("0.5")}, {"qty": Decimal("10.1")}, {"tif": TimeInForce.IOC}, {"tif": TimeInForce.FOK}]
)
async def test_what_tradier_does_not_take_is_final_without_a_request(canned: Canned, changes: dict[str, Any]):
    outcome = await canned.broker.submit(CREDENTIALS, replace(ORDER, closes=None, **changes))
    assert (outcome.kind, outcome.code, canned.seen) == (FINAL, "invalid_order", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "x" * 256},
        {"client_order_id": "FO_1"},
        {"client_order_id": ""},
        {"order_type": OrderType.LIMIT},
        {"qty": Decimal(0)},
        {"qty": Decimal("NaN")},
        {"order_type": OrderType.LIMIT, "limit_price": Decimal(-1)},
    ],
)
async def test_an_order_that_no_venue_could_take_is_a_bug_of_the_caller(canned: Canned, changes: dict[str, Any]):
    with pytest.raises(ValueError, match=r"client_order_id|limit|qty"):
        await canned.broker.submit(CREDENTIALS, replace(ORDER, **changes))
    assert canned.seen == []


@pytest.mark.parametrize("secret", ["", "two\r\nlines", "ключ"])
async def test_credentials_that_fit_no_header_are_final_without_a_request(canned: Canned, secret: str):
    outcome = await canned.broker.submit(BrokerCredentials("cred-1", "VA000000", secret), ORDER)
    assert (outcome.kind, outcome.code, canned.seen) == (FINAL, "bad_credentials", [])


async def test_the_environment_of_the_credentials_chooses_the_host(canned: Canned):
    canned.answer(POST, fixture("order_placed"))
    await canned.broker.submit(replace(CREDENTIALS, environment="live"), ORDER)
    assert canned.lines == [f"POST live {ACCOUNT}/orders"]
    outcome = await canned.broker.submit(replace(CREDENTIALS, environment="prod"), ORDER)
    assert (outcome.kind, outcome.code) == (FINAL, "bad_environment")


async def test_the_venues_echo_of_the_token_is_masked_and_bounded(canned: Canned):
    canned.answer(POST, {"errors": {"error": [f"bad {SECRET} " + "x" * 5_000]}}, status=400)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert SECRET not in repr(outcome)
    assert len(outcome.detail) == 500


@pytest.mark.parametrize("per_s", [1, 1_000])
async def test_the_wait_after_a_rate_limit_is_the_rest_of_the_window_in_either_unit(canned: Canned, per_s: int):
    expiry = {"X-Ratelimit-Expiry": str(int((time.time() + 30) * per_s))}
    canned.answer(POST, fixture("fault_quota"), status=429, headers=expiry)
    assert (await canned.broker.submit(CREDENTIALS, ORDER)).retry_after_s in {29, 30, 31}


async def test_an_account_without_orders_left_sends_none_and_still_reads_and_the_others_go_on(canned: Canned):
    spent = {"X-Ratelimit-Allowed": "60", "X-Ratelimit-Available": "0"}
    spent["X-Ratelimit-Expiry"] = str(int((time.time() + 30) * 1_000))
    canned.answer(POST, fixture("order_placed"), headers=spent)
    canned.answer(LIST, fixture("orders_single"))
    await canned.broker.submit(CREDENTIALS, ORDER)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.http_status) == (RETRYABLE, "rate_limited", None)
    assert outcome.retry_after_s in {29, 30, 31}
    assert len(canned.seen) == 1
    await canned.broker.orders_since(CREDENTIALS, datetime.now(UTC))
    assert (await canned.broker.submit(replace(CREDENTIALS, ref="cred-2"), ORDER)).kind is ACK


async def test_a_redirect_is_not_followed(canned: Canned):
    canned.answer(POST, "", status=307, headers={"Location": "/elsewhere"})
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, len(canned.seen)) == (AMBIGUOUS, "unreadable_answer", 1)


def _broker(url: str, **more: Any) -> TradierBroker:
    return TradierBroker(live_url=url, paper_url=url, live_stream_url=url, paper_stream_url=url, **more)


async def test_a_refused_connection_is_retryable_because_nothing_was_sent(unused_tcp_port: int):
    broker = _broker(f"http://127.0.0.1:{unused_tcp_port}")
    outcome = await broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (RETRYABLE, "connect_failed")
    with pytest.raises(VenueUnavailable):
        await broker.look_up(CREDENTIALS, "FO-1")
    await broker.close()


async def test_a_silent_venue_is_ambiguous_and_one_who_waits_for_its_connection_is_not():
    async with open_silent() as url:
        broker = _broker(url, timeout_ms=800, max_connections=1)
        first, second = await asyncio.gather(broker.submit(CREDENTIALS, ORDER), broker.submit(CREDENTIALS, ORDER))
        assert (first.kind, first.code) == (AMBIGUOUS, "no_answer")
        assert (second.kind, second.code) == (RETRYABLE, "connect_failed")
        await broker.close()


async def test_a_look_up_searches_by_tag_and_then_asks_by_id(canned: Canned):
    canned.answer(LIST, fixture_text("orders"))
    canned.answer(f"GET {ACCOUNT}/orders/229123", json.dumps({"order": fixture("orders")["orders"]["order"][3]}))
    short = VenueOrder("229123", "FO-fixture-1", VenueStatus.FILLED, Decimal(10), Decimal("185.25"))
    for _ in range(2):
        assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") == short
    assert canned.lines == [
        f"GET paper {ACCOUNT}/orders?includeTags=true&page=1&limit=100",
        f"GET paper {ACCOUNT}/orders/229123?includeTags=true",
    ]


async def test_an_acknowledged_order_is_asked_for_by_its_id_and_read_without_floats(canned: Canned):
    canned.answer(POST, fixture("order_placed"))
    canned.answer(ONE, fixture_text("order_partially_filled").replace("185.25333300", "185.25333300000000000001"))
    await canned.broker.submit(CREDENTIALS, ORDER)
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order == VenueOrder(
        "257459", "FO-fixture-1", VenueStatus.PARTIALLY_FILLED, Decimal(3), Decimal("185.25333300000000000001")
    )


def _page(first: int, count: int, *more: Any) -> dict[str, Any]:
    """So many orders of others, with ids from `first` on, then `more`."""
    one = fixture("orders_single")["orders"]["order"]
    return {"orders": {"order": [*({**one, "id": first + n, "tag": "FO-other"} for n in range(count)), *more]}}


async def test_an_order_is_absent_only_when_todays_and_a_months_pages_are_through(canned: Canned):
    # The second list ignores the page and says the same again.
    for page in (_page(1, 25), _page(26, 24), _page(1, 50), _page(1, 50)):
        canned.answer(LIST, page)
    assert await canned.broker.look_up(CREDENTIALS, "FO-never-sent") is None
    assert [line.partition("?")[2] for line in canned.lines] == [
        "includeTags=true&page=1&limit=100",
        "includeTags=true&page=2&limit=100",
        "includeTags=true&filter=all&page=1&limit=100",
        "includeTags=true&filter=all&page=2&limit=100",
    ]


async def test_an_order_on_a_later_page_and_of_another_day_is_found(canned: Canned):
    ours = fixture("orders_single")["orders"]["order"]
    for page in (fixture("orders_none"), _page(1, 25), _page(26, 3, ours)):
        canned.answer(LIST, page)
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order is not None
    assert (order.ref, len(canned.seen)) == ("257459", 3)


async def test_of_two_orders_under_one_tag_the_one_that_lives_is_found(canned: Canned):
    [first] = [fixture("order_rejected")["order"]]
    canned.answer(LIST, {"orders": {"order": [first, fixture("order_partially_filled")["order"]]}})
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order is not None
    assert order.ref == "257459"


async def test_a_rejected_order_says_why(canned: Canned):
    canned.answer(LIST, {"orders": {"order": fixture("order_rejected")["order"]}})
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order is not None
    assert (order.status, order.reason) == (
        VenueStatus.REJECTED, "There is not enough day trading buying power for the requested order",
    )  # fmt: skip


@pytest.mark.parametrize("body", ["", "{}", "null", "[]", '{"orders": 1}', '{"orders": {"order": {"id": 1}}}'])
async def test_a_list_that_cannot_be_read_is_unavailable_and_not_empty(canned: Canned, body: str):
    canned.answer(LIST, body)
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    with pytest.raises(VenueUnavailable):
        await canned.broker.orders_since(CREDENTIALS, datetime.now(UTC))


@pytest.mark.parametrize(("status", "error"), [(401, VenueRefused), (403, VenueRefused), (404, VenueUnavailable)])
async def test_a_refused_list_is_never_an_absent_order(canned: Canned, status: int, error: type[Exception]):
    canned.answer(LIST, "no", status=status)
    with pytest.raises(error):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")


@pytest.mark.parametrize("status", [204, 302, 408, 429, 500, 502, 503])
async def test_a_look_up_that_may_succeed_later_is_unavailable(canned: Canned, status: int):
    canned.answer(LIST, "", status=status, headers={"Retry-After": "9"})
    with pytest.raises(VenueUnavailable) as unavailable:
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert unavailable.value.retry_after_s == 9


async def test_a_cancel_is_taken_and_one_that_came_too_late_is_no_error(canned: Canned):
    away = f"DELETE {ACCOUNT}/orders/257459"
    canned.answer(away, fixture("order_cancelled"))
    await canned.broker.cancel(CREDENTIALS, "257459")
    assert len(canned.seen) == 1


@pytest.mark.parametrize("status", [200, 400])
async def test_a_refused_cancel_is_an_error_only_while_the_order_works(canned: Canned, status: int):
    canned.answer(f"DELETE {ACCOUNT}/orders/257459", fixture("error_quantity"), status=status)
    canned.answer(ONE, fixture("order_rejected"))
    canned.answer(ONE, fixture("order_partially_filled"))
    await canned.broker.cancel(CREDENTIALS, "257459")
    with pytest.raises(VenueRefused if status == 400 else VenueUnavailable):
        await canned.broker.cancel(CREDENTIALS, "257459")


async def test_cancelling_an_unknown_order_is_no_error_and_a_reference_stays_in_its_segment(canned: Canned):
    await canned.broker.cancel(CREDENTIALS, "../balances?x=1")
    assert canned.lines == [
        f"DELETE paper {ACCOUNT}/orders/..%2Fbalances%3Fx=1".replace("=", "%3D"),
        f"GET paper {ACCOUNT}/orders/..%2Fbalances%3Fx%3D1?includeTags=true",
    ]


async def test_a_token_is_refreshed_with_the_applications_own_secret(canned: Canned):
    canned.answer("POST /v1/oauth/refreshtoken", fixture("token"))
    old = replace(CREDENTIALS, refresh_token="refresh-me")
    new = await canned.broker.refresh(old)
    [seen] = canned.seen
    assert seen.form == {"grant_type": "refresh_token", "refresh_token": "refresh-me"}
    assert seen.headers["Authorization"] == "Basic b3VyLWFwcGxpY2F0aW9uOml0cy1zZWNyZXQ="
    assert (new.key_id, new.secret, new.refresh_token) == (
        "VA000000", "9klzgyx7udiyf8qdm1q6nlyx", "o0d897fusdnjfo28yoi2noi23098j",
    )  # fmt: skip
    assert new.expires_at is not None
    assert timedelta(hours=23) < new.expires_at - datetime.now(UTC) <= timedelta(hours=24)


async def test_an_account_whose_token_expired_trades_on_with_the_refreshed_one():
    async with open_tradier() as venue:
        assert isinstance(venue.simulator, TradierSimulator)
        assert isinstance(venue.broker, TradierBroker)
        venue.simulator.grant_refresh("AK1", "refresh-me")
        venue.simulator.revoke("AK1")
        old = replace(venue.credentials, refresh_token="refresh-me")
        assert (await venue.broker.submit(old, venue.order("FO-1"))).code == "bad_credentials"
        new = await venue.broker.refresh(old)
        assert (await venue.broker.submit(new, venue.order("FO-2"))).kind is ACK
        with pytest.raises(VenueRefused):  # a refresh token is good once
            await venue.broker.refresh(old)
        assert (await venue.broker.refresh(new)).refresh_token not in {old.refresh_token, new.refresh_token}


async def test_without_a_new_refresh_token_the_old_one_is_kept(canned: Canned):
    canned.answer("POST /v1/oauth/refreshtoken", {"access_token": "new", "expires_in": 60})
    new = await canned.broker.refresh(replace(CREDENTIALS, refresh_token="refresh-me"))
    assert (new.secret, new.refresh_token) == ("new", "refresh-me")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "bad refresh-me"}, VenueRefused),
        (401, "no", VenueUnavailable),
        (503, "", VenueUnavailable),
        (200, {}, VenueUnavailable),
    ],
)
async def test_a_token_that_is_not_refreshed_says_so(canned: Canned, status: int, body: object, error: type[Exception]):
    canned.answer("POST /v1/oauth/refreshtoken", body, status=status)
    with pytest.raises(error) as refused:
        await canned.broker.refresh(replace(CREDENTIALS, refresh_token="refresh-me"))
    assert "refresh-me" not in str(refused.value)


async def test_a_broker_without_an_application_refreshes_nothing(canned: Canned):
    broker = _broker("http://127.0.0.1:1")
    with pytest.raises(VenueUnavailable):
        await broker.refresh(replace(CREDENTIALS, refresh_token="refresh-me"))
    with pytest.raises(VenueRefused):
        await canned.broker.refresh(CREDENTIALS)


async def test_a_closed_broker_leaves_no_client_and_can_be_used_again(canned: Canned):
    canned.answer(LIST, fixture("orders_single"))
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is not None
    await canned.broker.close()
    await canned.broker.close()
    canned.answer(ONE, {"order": fixture("orders_single")["orders"]["order"]})
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is not None

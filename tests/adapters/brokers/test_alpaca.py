"""Alpaca's own words: fixtures from its documents, and answers that no simulator should have to give."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.alpaca import AlpacaBroker
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, TimeInForce
from domain.ports import BrokerCredentials, OutcomeKind, VenueStatus
from simulators.alpaca import Behaviour, Fault, FaultKind, Life
from tests.adapters.brokers.canned import Canned, fixture, open_canned
from tests.adapters.brokers.harness import SECRET, Venue, child_order, found

CREDENTIALS = BrokerCredentials("cred-1", "AK1", SECRET)
ORDER = child_order("FO-fixture-1")
ACK, RETRYABLE, FINAL, AMBIGUOUS = OutcomeKind


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    async with open_canned() as server:
        yield server


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (200, "order_accepted", ACK, "accepted"),
        (200, "order_partially_filled", ACK, "accepted"),
        (200, "order_rejected", FINAL, "rejected"),
        (401, "error_unauthorized", FINAL, "bad_credentials"),
        (403, "error_buying_power", FINAL, "insufficient_funds"),
        (403, "error_shares", FINAL, "insufficient_funds"),
        (403, "error_unauthorized", FINAL, "forbidden"),
        (422, "error_duplicate", AMBIGUOUS, "duplicate_client_order_id"),
        (422, "error_unprocessable", FINAL, "invalid_order"),
        (422, "error_unknown_symbol", FINAL, "unknown_symbol"),
        (422, "error_halted", FINAL, "halted"),
        (403, "error_minimum", FINAL, "below_minimum"),
        (429, "error_rate_limited", RETRYABLE, "rate_limited"),
        (418, "error_unprocessable", FINAL, "invalid_order"),
        (408, "error_unprocessable", AMBIGUOUS, "no_answer"),
        (500, "error_unprocessable", AMBIGUOUS, "venue_error"),
        (503, "error_unprocessable", AMBIGUOUS, "venue_error"),
    ],
)
async def test_each_answer_to_a_submission_has_its_verdict(
    canned: Canned, status: int, name: str, kind: OutcomeKind, code: str
):
    canned.answer(status, fixture(name))
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.http_status) == (kind, code, status)
    assert (outcome.venue_order is not None) == name.startswith("order_")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "null",
        b"\xff\xfe",
        "[" * 100_000,
        '{"id": 1}',
        json.dumps(fixture("order_accepted") | {"client_order_id": "FO-of-someone-else"}),
        json.dumps(fixture("order_accepted") | {"filled_qty": "NaN"}),
        json.dumps(fixture("order_accepted") | {"filled_qty": "5", "filled_avg_price": None}),
        b"[" + b" " * 1_100_000 + b"]",
    ],
)
async def test_a_200_that_does_not_show_our_order_proves_nothing(canned: Canned, body: str | bytes):
    canned.answer(200, body)
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (AMBIGUOUS, "unreadable_answer")
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")


async def test_a_look_up_reads_quantities_and_prices_exactly(canned: Canned):
    canned.answer(200, fixture("order_partially_filled"))
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order is not None
    assert (order.status, order.filled_qty, order.avg_price) == (
        VenueStatus.PARTIALLY_FILLED,
        Decimal("3.5"),
        Decimal("185.253333"),
    )


async def test_json_numbers_are_read_without_floats(canned: Canned):
    text = json.dumps(fixture("order_filled")).replace('"185.25"', "185.25000000000000000001")
    canned.answer(200, text)
    order = await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert order is not None
    assert order.avg_price == Decimal("185.25000000000000000001")


async def test_only_the_venues_own_404_means_that_it_has_no_such_order(canned: Canned):
    canned.answer(404, fixture("error_not_found"))
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is None
    await canned.broker.cancel(CREDENTIALS, "ref")
    canned.answer(404, "<html>no such route</html>")
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    with pytest.raises(VenueUnavailable):
        await canned.broker.cancel(CREDENTIALS, "ref")


@pytest.mark.parametrize(("status", "error"), [(401, VenueRefused), (403, VenueRefused), (422, VenueRefused)])
async def test_a_look_up_that_will_never_succeed_is_refused(canned: Canned, status: int, error: type[Exception]):
    canned.answer(status, fixture("error_duplicate"))
    with pytest.raises(error):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")


@pytest.mark.parametrize("status", [204, 302, 408, 429, 500, 502, 503])
async def test_a_look_up_that_may_succeed_later_is_unavailable(canned: Canned, status: int):
    canned.answer(status, "", Retry_After="9")
    with pytest.raises(VenueUnavailable) as unavailable:
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert unavailable.value.retry_after_s == 9


async def test_the_wait_after_a_rate_limit_falls_back_to_the_reset_of_the_budget(canned: Canned):
    canned.answer(429, fixture("error_rate_limited"), X_Ratelimit_Reset=str(int(time.time()) + 30))
    assert (await canned.broker.submit(CREDENTIALS, ORDER)).retry_after_s in {29, 30, 31}


async def test_a_wait_that_is_no_number_is_left_open(canned: Canned):
    canned.answer(429, fixture("error_rate_limited"), Retry_After="soon")
    assert (await canned.broker.submit(CREDENTIALS, ORDER)).retry_after_s is None


async def test_an_account_that_has_used_up_its_requests_sends_nothing_and_the_others_go_on(canned: Canned):
    used = {"X_Ratelimit_Limit": "200", "X_Ratelimit_Remaining": "0", "X_Ratelimit_Reset": str(int(time.time()) + 30)}
    canned.answer(200, fixture("order_filled"), **used)
    await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, outcome.http_status) == (OutcomeKind.RETRYABLE, "rate_limited", None)
    assert outcome.retry_after_s in {29, 30, 31}
    with pytest.raises(VenueUnavailable):
        await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    assert len(canned.seen) == 1
    await canned.broker.look_up(replace(CREDENTIALS, ref="another"), "FO-fixture-1")
    assert len(canned.seen) == 2


async def test_a_redirect_is_not_followed(canned: Canned):
    canned.answer(307, "", Location="/elsewhere")
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code, len(canned.seen)) == (AMBIGUOUS, "unreadable_answer", 1)


async def test_a_request_carries_decimal_strings_and_credentials_in_headers_only(canned: Canned):
    canned.answer(200, fixture("order_accepted"))
    order = child_order(
        "FO-fixture-1",
        qty=Decimal("1E+2"),
        order_type=OrderType.LIMIT,
        limit_price=Decimal("0.5000"),
        tif=TimeInForce.GTC,
    )
    await canned.broker.submit(CREDENTIALS, order)
    (line, headers, body), *_ = canned.seen
    assert line == "POST /paper/v2/orders"
    assert (headers["APCA-API-KEY-ID"], headers["APCA-API-SECRET-KEY"]) == ("AK1", SECRET)
    assert json.loads(body) == {
        "client_order_id": "FO-fixture-1",
        "symbol": "AAPL",
        "side": "buy",
        "type": "limit",
        "time_in_force": "gtc",
        "qty": "100",
        "limit_price": "0.5000",
    }


async def test_the_environment_of_the_credentials_chooses_the_host(canned: Canned):
    canned.answer(200, fixture("order_accepted"))
    await canned.broker.look_up(BrokerCredentials("cred-1", "AK1", SECRET, "live"), "FO-fixture-1")
    assert canned.seen[0][0] == "GET /live/v2/orders:by_client_order_id?client_order_id=FO-fixture-1"


async def test_a_reference_cannot_leave_its_path_segment(canned: Canned):
    canned.answer(204, "")
    await canned.broker.cancel(CREDENTIALS, "../account?x=1")
    assert canned.seen[0][0] == "DELETE /paper/v2/orders/..%2Faccount%3Fx=1"


async def test_the_venues_echo_of_the_secret_is_masked_and_bounded(canned: Canned):
    canned.answer(403, {"code": 40310000, "message": f"bad {SECRET} " + "x" * 5_000})
    outcome = await canned.broker.submit(CREDENTIALS, ORDER)
    assert SECRET not in repr(outcome)
    assert len(outcome.detail) == 500
    with pytest.raises(VenueRefused) as refused:
        await canned.broker.look_up(CREDENTIALS, "FO-1")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "two\r\nlines", "ключ"])
async def test_credentials_that_fit_no_header_are_final_without_a_request(canned: Canned, secret: str):
    outcome = await canned.broker.submit(BrokerCredentials("cred-1", "AK1", secret), ORDER)
    assert (outcome.kind, outcome.code, canned.seen) == (FINAL, "bad_credentials", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "x" * 49},
        {"client_order_id": ""},
        {"order_type": OrderType.LIMIT},
        {"qty": Decimal(0)},
        {"qty": Decimal("NaN")},
        {"order_type": OrderType.LIMIT, "limit_price": Decimal(-1)},
    ],
)
async def test_an_order_that_no_venue_could_take_is_a_bug_of_the_caller(canned: Canned, changes: dict[str, Any]):
    with pytest.raises(ValueError, match=r"client_order_id|limit|qty"):
        await canned.broker.submit(CREDENTIALS, replace(child_order("FO-1"), **changes))
    assert canned.seen == []


async def test_a_refused_connection_is_retryable_because_nothing_was_sent(unused_tcp_port: int):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    broker = AlpacaBroker(live_url=url, paper_url=url)
    outcome = await broker.submit(CREDENTIALS, ORDER)
    assert (outcome.kind, outcome.code) == (RETRYABLE, "connect_failed")
    with pytest.raises(VenueUnavailable):
        await broker.look_up(CREDENTIALS, "FO-1")
    await broker.close()


async def test_waiting_in_vain_for_a_pooled_connection_is_retryable(alpaca: Venue):
    url = alpaca.simulator.url
    broker = AlpacaBroker(live_url=url, paper_url=url, timeout_ms=600, max_connections=1)
    alpaca.break_next("hang")
    first, second = await asyncio.gather(
        broker.submit(CREDENTIALS, child_order("FO-1")), broker.submit(CREDENTIALS, child_order("FO-2"))
    )
    assert (first.kind, first.code) == (AMBIGUOUS, "no_answer")
    assert (second.kind, second.code) == (RETRYABLE, "connect_failed")
    assert alpaca.submissions("FO-2") == 0
    await broker.close()


async def test_a_venue_that_books_after_we_gave_up_still_books_once(alpaca: Venue):
    alpaca.simulator.script(Behaviour(fault=Fault(kind=FaultKind.SLOW, delay_ms=600)), count=1)
    outcome = await alpaca.broker.submit(CREDENTIALS, child_order("FO-1"))
    assert (outcome.kind, outcome.code) == (AMBIGUOUS, "no_answer")
    assert await alpaca.broker.look_up(CREDENTIALS, "FO-1") is None
    alpaca.clock.advance(0.6)
    assert await alpaca.broker.look_up(CREDENTIALS, "FO-1") is not None
    again = await alpaca.broker.submit(CREDENTIALS, child_order("FO-1"))
    assert again.code == "duplicate_client_order_id"
    assert alpaca.booked("FO-1") == 1


async def test_an_order_rejected_at_once_is_final_and_one_rejected_later_is_found_rejected(alpaca: Venue):
    alpaca.simulator.script(Behaviour(life=Life(ending="rejected")), count=1)
    outcome = await alpaca.broker.submit(CREDENTIALS, child_order("FO-1"))
    assert (outcome.kind, outcome.code, outcome.detail) == (FINAL, "rejected", "alpaca order state rejected")
    alpaca.simulator.script(Behaviour(life=Life(ending="rejected", delay_ms=1_000)), count=1)
    assert (await alpaca.broker.submit(CREDENTIALS, child_order("FO-2"))).kind is ACK
    alpaca.clock.advance(1)
    assert (await found(alpaca, "FO-2")).status is VenueStatus.REJECTED


async def test_a_closed_broker_leaves_no_session_and_can_be_used_again(canned: Canned):
    canned.answer(200, fixture("order_accepted"))
    await canned.broker.look_up(CREDENTIALS, "FO-fixture-1")
    await canned.broker.close()
    await canned.broker.close()
    assert await canned.broker.look_up(CREDENTIALS, "FO-fixture-1") is not None

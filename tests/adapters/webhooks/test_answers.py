"""What a receiver's answer means."""

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.webhooks.answers import classify, parse_retry_after
from domain.ports import OutcomeKind, ReportedFill
from domain.reports import MAX_FILLS

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
FILL = {"fill_id": "x-1", "qty": "5", "price": "100.25"}


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((200, 201, 202, 204, 299), OutcomeKind.ACK),
        ((300, 301, 302, 303, 304, 307, 308), OutcomeKind.FINAL),
        ((400, 401, 403, 404, 410, 422, 451), OutcomeKind.FINAL),
        ((408, 409, 425, 429), OutcomeKind.RETRYABLE),
        ((500, 502, 503, 504, 599), OutcomeKind.RETRYABLE),
        ((101, 600, 999), OutcomeKind.AMBIGUOUS),
    ],
)
def test_each_status_has_the_kind_of_the_retry_policy(statuses: tuple[int, ...], kind: OutcomeKind):
    for status in statuses:
        outcome = classify(status, {}, b"", NOW)
        assert (outcome.kind, outcome.http_status) == (kind, status)


def test_only_410_disables_the_endpoint():
    assert [s for s in range(200, 600) if classify(s, {}, b"", NOW).disable_endpoint] == [410]


def test_retry_after_counts_on_429_and_503_only():
    delayed = [s for s in range(200, 600) if classify(s, {"Retry-After": "7"}, b"", NOW).retry_after_s is not None]
    assert delayed == [429, 503]
    assert classify(429, {"Retry-After": "7"}, b"", NOW).retry_after_s == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("61", 60),
        ("9" * 5000, 60),
        ("Wed, 01 Jul 2026 12:00:30 GMT", 30),
        ("Wed, 01 Jul 2026 12:00:30 -0000", 30),
        ("Wed, 01 Jul 2026 13:00:00 GMT", 60),
        ("Wed, 01 Jul 2026 11:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٧", None),
        ("Wed, 99 Jul 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_up_to_a_minute(value: str, seconds: int | None):
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_the_parser(value: str):
    assert parse_retry_after(value, NOW) in {None, *range(61)}


def test_an_ack_may_confirm_fills():
    answer = orjson.dumps({"fills": [FILL, {"fill_id": "x-2", "qty": "0.5", "price": "0.00000001"}]})
    assert classify(200, JSON, answer, NOW).fills == (
        ReportedFill("x-1", Decimal(5), Decimal("100.25")),
        ReportedFill("x-2", Decimal("0.5"), Decimal("0.00000001")),
    )


@pytest.mark.parametrize("answer", [b"", b"OK", b"<p>fine</p>", b"{}", b' {"fills": null}', b'{"fills": []}'])
def test_an_ack_without_fills_needs_no_note(answer: bytes):
    outcome = classify(200, {}, answer, NOW)
    assert (outcome.kind, outcome.fills, outcome.detail) == (OutcomeKind.ACK, (), "")


@pytest.mark.parametrize(
    "answer",
    [
        {"fills": {}},
        {"fills": [FILL, FILL]},
        {"fills": [FILL, 7]},
        {"fills": [FILL, {**FILL, "fill_id": ""}]},
        {"fills": [{**FILL, "fill_id": "x" * 101}]},
        {"fills": [{**FILL, "fill_id": "a\nb"}]},
        {"fills": [{**FILL, "fill_id": 1}]},
        *(
            {"fills": [{**FILL, "qty": bad}]}
            for bad in (5, 5.0, None, "0", "-1", "1e3", "NaN", "Infinity", "٥", "1" * 19)
        ),
        *({"fills": [{**FILL, "price": bad}]} for bad in (100.25, "0.0", "", " 1", "1.", ".5", "1_0", "1\n")),
        {"fills": [{**FILL, "fill_id": f"x-{n}"} for n in range(MAX_FILLS + 1)]},
        [FILL],
        "fills",
    ],
)
def test_fills_that_break_the_contract_are_all_ignored_and_noted_but_the_ack_stands(answer: object):
    outcome = classify(200, JSON, orjson.dumps(answer), NOW)
    assert (outcome.kind, outcome.fills) == (OutcomeKind.ACK, ())
    assert outcome.detail.startswith("fills ignored: ")


@pytest.mark.parametrize("answer", [b"{", b'{"fills": [}', b"{\xff}", b"[" * 4000, b'{"fills":' * 3000])
def test_malformed_json_is_noted_but_the_ack_stands(answer: bytes):
    outcome = classify(200, JSON, answer, NOW)
    assert (outcome.kind, outcome.detail) == (OutcomeKind.ACK, "fills ignored: malformed JSON")


def test_a_body_that_did_not_arrive_whole_is_noted_but_the_ack_stands():
    outcome = classify(200, JSON, None, NOW)
    assert (outcome.kind, outcome.fills) == (OutcomeKind.ACK, ())
    assert "incomplete" in outcome.detail


def test_a_refusal_carries_the_receivers_reason_bounded_and_printable():
    answer = orjson.dumps({"reason": "unknown\nsymbol " + "x" * 1000})
    detail = classify(422, JSON, answer, NOW).detail
    assert detail.startswith("HTTP 422: unknown symbol xxx")
    assert len(detail) < 250


@pytest.mark.parametrize(
    "page", [b"Cannot POST /hook?token=s3cret", b'{"path": "/hook?token=s3cret"}', b'{"reason": {"a": "s3cret"}}']
)
def test_no_other_text_of_an_answer_is_kept(page: bytes):
    assert classify(404, JSON, page, NOW).detail == "HTTP 404"


@given(
    status=st.integers(100, 999), content_type=st.sampled_from(["", "application/json"]), body=st.binary() | st.none()
)
def test_no_answer_breaks_the_classification(status: int, content_type: str, body: bytes | None):
    outcome = classify(status, {"Content-Type": content_type, "Retry-After": "x"}, body, NOW)
    assert len(outcome.detail) <= 500

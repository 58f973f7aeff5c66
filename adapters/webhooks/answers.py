"""What a receiver's answer means (SPEC sections 5 and 7). Pure: status, headers and body in, outcome out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from domain.errors import InvalidInput
from domain.ports import OutcomeKind, SendOutcome
from domain.reports import MAX_REASON, read_fills

RETRY_AFTER_CAP_S = 60
_RETRYABLE_4XX = frozenset({408, 409, 425, 429})
_ASKS_FOR_DELAY = frozenset({429, 503})


class _BadAnswer(ValueError):
    """The answer's JSON breaks the contract; the message says how."""


def classify(status: int, headers: Mapping[str, str], body: bytes | None, now: datetime) -> SendOutcome:
    """The outcome of an answer. `body` is None where it did not arrive whole; `now` is aware UTC.

    A 2xx is an ack whatever its body: the receiver has the order, and only the early fills may be lost.
    """
    if 200 <= status < 300:
        return _ack(status, headers, body)
    if 300 <= status < 400:
        return SendOutcome(OutcomeKind.FINAL, "redirect", f"HTTP {status}; redirects are not followed", status)
    if status == 410:
        return SendOutcome(OutcomeKind.FINAL, "gone", _detail(status, headers, body), status, disable_endpoint=True)
    if status in _RETRYABLE_4XX or 500 <= status < 600:
        delay = parse_retry_after(headers.get("Retry-After", ""), now) if status in _ASKS_FOR_DELAY else None
        detail = _detail(status, headers, body)
        return SendOutcome(OutcomeKind.RETRYABLE, f"http_{status}", detail, status, retry_after_s=delay)
    if 400 <= status < 500:
        return SendOutcome(OutcomeKind.FINAL, f"http_{status}", _detail(status, headers, body), status)
    return SendOutcome(OutcomeKind.AMBIGUOUS, "bad_answer", f"HTTP {status} is not a final answer", status)


def parse_retry_after(value: str, now: datetime) -> int | None:
    """Seconds to wait, 0 to 60, from delta-seconds or an HTTP-date (RFC 9110, 10.2.3); None where it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return RETRY_AFTER_CAP_S if len(value) > 9 else min(int(value), RETRY_AFTER_CAP_S)
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:  # "-0000" and the obsolete asctime form: UTC by definition
            when = when.replace(tzinfo=UTC)
        seconds = (when - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(0, min(-int(-seconds // 1), RETRY_AFTER_CAP_S))


def _ack(status: int, headers: Mapping[str, str], body: bytes | None) -> SendOutcome:
    if body is None:
        note = "answer's body too long or incomplete; fills in it are ignored"
        return SendOutcome(OutcomeKind.ACK, "ack", note, status)
    try:
        fills = read_fills(_json_object(headers, body).get("fills"))
    except (_BadAnswer, InvalidInput) as problem:
        return SendOutcome(OutcomeKind.ACK, "ack", f"fills ignored: {problem}", status)
    return SendOutcome(OutcomeKind.ACK, "ack", "", status, fills=fills)


def _detail(status: int, headers: Mapping[str, str], body: bytes | None) -> str:
    """Status, and the receiver's `reason` if its JSON answer gives one.

    No other text of the answer: error pages echo the request's URL, whose query may hold a token.
    """
    try:
        reason = _json_object(headers, body or b"").get("reason")
    except _BadAnswer:
        reason = None
    if not isinstance(reason, str):
        return f"HTTP {status}"
    return f"HTTP {status}: {''.join(c if c.isprintable() else ' ' for c in reason[:MAX_REASON])}"


def _json_object(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The answer's JSON object; empty where the answer is no JSON at all ("OK", nothing)."""
    body = body.strip()
    if not body or not (body.startswith(b"{") or "json" in headers.get("Content-Type", "").lower()):
        return {}
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _BadAnswer("malformed JSON") from None
    if not isinstance(answer, dict):
        raise _BadAnswer("JSON is not an object")
    return answer

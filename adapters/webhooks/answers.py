"""What a receiver's answer means (SPEC sections 5 and 7). Pure: status, headers and body in, outcome out."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from domain.ports import OutcomeKind, ReportedFill, SendOutcome

RETRY_AFTER_CAP_S = 60
MAX_FILLS = 100
_RETRYABLE_4XX = frozenset({408, 409, 425, 429})
_ASKS_FOR_DELAY = frozenset({429, 503})
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_MAX_REASON = 200
_MAX_FILL_ID = 100


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
        fills = _fills(_json_object(headers, body))
    except _BadAnswer as problem:
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
    return f"HTTP {status}: {''.join(c if c.isprintable() else ' ' for c in reason[:_MAX_REASON])}"


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


def _fills(answer: dict[str, Any]) -> tuple[ReportedFill, ...]:
    """All of the answer's fills, or none: half a list would look like a smaller fill."""
    raw = answer.get("fills")
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > MAX_FILLS:
        raise _BadAnswer(f"not a list of at most {MAX_FILLS}")
    fills = tuple(_fill(item) for item in raw)
    if len({fill.fill_id for fill in fills}) < len(fills):
        raise _BadAnswer("two fills with one fill_id")
    return fills


def _fill(item: Any) -> ReportedFill:
    if not isinstance(item, dict):
        raise _BadAnswer("a fill is not an object")
    fill_id = item.get("fill_id")
    if not isinstance(fill_id, str) or not 0 < len(fill_id) <= _MAX_FILL_ID or not fill_id.isprintable():
        raise _BadAnswer(f"fill_id is not 1 to {_MAX_FILL_ID} printable characters")
    return ReportedFill(fill_id, _positive(item, "qty"), _positive(item, "price"))


def _positive(item: dict[str, Any], name: str) -> Decimal:
    # Strings only: a JSON number has been through somebody's binary float.
    text = item.get(name)
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or not (value := Decimal(text)):
        raise _BadAnswer(f"{name} is not a positive decimal string")
    return value

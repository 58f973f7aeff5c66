"""From what somebody wrote to a typed Intent; used for the API and for autotrade_queue.json alike."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from domain.admission import Intent
from domain.calendars import Outside
from domain.conviction import check_conviction
from domain.errors import InvalidInput
from domain.ids import is_readable_id
from domain.mirroring import require_aware
from domain.orders import OrderType, Side, TimeInForce

MAX_META_BYTES = 16_384
MAX_DIGITS = 28  # of a quantity or price, both sides of the point together
MAX_REASONS = 32
MAX_TEXT = 256
FIELDS = frozenset({"vault_id", "symbol", "venue", "side", "qty", "type", "limit_price", "tif", "meta"})
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_SYMBOL = re.compile(r"^[A-Z0-9][A-Z0-9./-]{0,19}$")
_E = TypeVar("_E", bound=StrEnum)


def parse_intent(raw: Mapping[str, Any]) -> tuple[Intent, dict[str, Any]]:
    """The typed intent and its `meta` as written.

    Raises InvalidInput naming the first field at fault; unknown fields are faults too, as a misspelt field that is
    ignored is an order that its author did not mean.
    """
    unknown = sorted(str(name)[:64] for name in raw if name not in FIELDS)
    if unknown:
        raise InvalidInput(unknown[0], f"is not a field of a manager order; known are {', '.join(sorted(FIELDS))}")
    meta = _meta(raw.get("meta"))
    order_type = _choice(raw, "type", OrderType, OrderType.MARKET)
    limit_price = _optional_decimal(raw, "limit_price")
    if (order_type is OrderType.LIMIT) != (limit_price is not None):
        raise InvalidInput("limit_price", "is needed for a limit order, and only there")
    intent = Intent(
        vault_id=_text(raw, "vault_id", is_readable_id, "letters, digits, _ and -, at most 64"),
        symbol=_text(raw, "symbol", lambda s: _SYMBOL.fullmatch(s) is not None, "a symbol such as AAPL or BTC-USD"),
        venue=None if raw.get("venue") is None else _text(raw, "venue", is_readable_id, "a venue code such as XNAS"),
        side=_choice(raw, "side", Side, None),
        qty=_decimal(raw, "qty"),
        tif=_choice(raw, "tif", TimeInForce, TimeInForce.DAY),
        order_type=order_type,
        limit_price=limit_price,
        reference_price=_optional_decimal(meta, "reference_price", prefix="meta."),
        expires_at=_time(meta, "expires_at"),
        allow_duplicate=meta.get("allow_duplicate", False),
        outside_session=_outside(meta),
    )
    return intent, meta


def fingerprint(raw: Mapping[str, Any]) -> str:
    """SHA-256 of the request in a canonical form: the same request whatever its spacing and order of keys."""
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(raw: Mapping[str, Any], name: str, valid: Callable[[str], bool], form: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not valid(value):
        raise InvalidInput(name, f"must be {form}" if value is not None else "is missing")
    return value


def _choice(raw: Mapping[str, Any], name: str, kind: type[_E], default: _E | None) -> _E:
    value = raw.get(name)
    if value is None and default is not None:
        return default
    allowed = [member.value for member in kind]
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(name, f"must be one of {', '.join(allowed)}" if value is not None else "is missing")
    return kind(value)


def _decimal(raw: Mapping[str, Any], name: str, *, prefix: str = "") -> Decimal:
    value = raw.get(name)
    field = f"{prefix}{name}"
    if value is None:
        raise InvalidInput(field, "is missing")
    # A float has already lost digits by the time we see it; JSON numbers are parsed as Decimal before they come here.
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidInput(field, "must be a decimal number, best written as a string")
    # Decimal itself also reads 1_000, blanks around a number and the digits of other scripts.
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise InvalidInput(field, "must be a decimal number in plain digits such as 12.5")
    number = Decimal(value)
    if not number.is_finite() or number <= 0:
        raise InvalidInput(field, "must be a finite number above zero")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if len(number.as_tuple().digits) > MAX_DIGITS or not -MAX_DIGITS <= exponent <= MAX_DIGITS or number >= 10**18:
        raise InvalidInput(field, f"has more than {MAX_DIGITS} digits or is out of range")
    return number


def _optional_decimal(raw: Mapping[str, Any], name: str, *, prefix: str = "") -> Decimal | None:
    return None if raw.get(name) is None else _decimal(raw, name, prefix=prefix)


def _outside(meta: Mapping[str, Any]) -> Outside | None:
    value = meta.get("outside_session")
    if value is None:
        return None
    if not isinstance(value, str) or value not in list(Outside):
        raise InvalidInput("meta.outside_session", f"must be one of {', '.join(Outside)}")
    return Outside(value)


def _time(meta: Mapping[str, Any], name: str) -> datetime | None:
    value = meta.get(name)
    field = f"meta.{name}"
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(field, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z")
    try:
        # In UTC, as an offset at either end of the calendar would make a time that no reader of the row can hold.
        return require_aware(datetime.fromisoformat(value), field).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(field, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z") from None


def _meta(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput("meta", "must be an object")
    if len(json.dumps(value, default=str)) > MAX_META_BYTES:
        raise InvalidInput("meta", f"is larger than {MAX_META_BYTES} bytes")
    reasons = value.get("reason_vector", [])
    if not isinstance(reasons, list) or not all(isinstance(r, str) and len(r) <= MAX_TEXT for r in reasons):
        raise InvalidInput("meta.reason_vector", f"must be a list of texts of at most {MAX_TEXT} characters")
    if len(reasons) > MAX_REASONS:
        raise InvalidInput("meta.reason_vector", f"has more than {MAX_REASONS} entries")
    if not isinstance(value.get("allow_duplicate", False), bool):
        raise InvalidInput("meta.allow_duplicate", "must be true or false")
    for name in ("conviction", "provenance"):
        if not isinstance(value.get(name, {}), dict):
            raise InvalidInput(f"meta.{name}", "must be an object")
    check_conviction(value.get("conviction", {}))
    return {name: _json_number(item) for name, item in value.items()}


def _json_number(value: Any) -> Any:
    """Decimals back to JSON numbers where that is exact, to text where a double would lose digits.

    What is traded on stays exact: `reference_price` has been parsed as a Decimal already, and the shortest digits of
    such a double, which sizing reads of `conviction`, are those that were written.
    """
    if isinstance(value, dict):
        return {name: _json_number(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_number(item) for item in value]
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    return value

"""How most vendors write numbers and times."""

from datetime import UTC, datetime
from decimal import Decimal


def decimal_text(value: Decimal) -> str:
    """Plain notation without trailing zeros: `10`, `0.5`, `185.25`."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def timestamp(at_ns: int) -> str:
    """RFC 3339 with nanoseconds, from nanoseconds since 1970."""
    seconds, nanos = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"

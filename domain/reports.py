"""Fills as a follower's receiver reports them, in an answer or in a callback. Read exactly, or not at all."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from domain.errors import InvalidInput
from domain.ports import ReportedFill

MAX_FILLS = 100
MAX_FILL_ID = 100
MAX_REASON = 200
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)


def read_fills(raw: Any) -> tuple[ReportedFill, ...]:
    """All of them, or InvalidInput naming the first fault: half a list would look like a smaller fill."""
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > MAX_FILLS:
        raise InvalidInput("fills", f"is not a list of at most {MAX_FILLS}")
    fills = tuple(_fill(item, f"fills.{number}") for number, item in enumerate(raw))
    if len({fill.fill_id for fill in fills}) < len(fills):
        raise InvalidInput("fills", "has two fills with one fill_id")
    return fills


def _fill(item: Any, path: str) -> ReportedFill:
    if not isinstance(item, Mapping):
        raise InvalidInput(path, "is not an object")
    fill_id = item.get("fill_id")
    if not isinstance(fill_id, str) or not 0 < len(fill_id) <= MAX_FILL_ID or not fill_id.isprintable():
        raise InvalidInput(f"{path}.fill_id", f"is not 1 to {MAX_FILL_ID} printable characters")
    return ReportedFill(fill_id, _positive(item, "qty", path), _positive(item, "price", path))


def _positive(item: Mapping[str, Any], name: str, path: str) -> Decimal:
    # Strings only: a JSON number has been through somebody's binary float.
    text = item.get(name)
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or not (value := Decimal(text)):
        raise InvalidInput(f"{path}.{name}", "is not a positive decimal string")
    return value

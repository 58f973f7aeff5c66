"""The text of autotrade_queue.json: a JSON array, or one object per line."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

MAX_ENTRY = 65_536
MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `key` is its own `id`, or the SHA-256 of its text: the same entry is the same order.

    `fault` says why it cannot be an order at all; `fields` is then empty and `raw` is what was written.
    """

    key: str
    raw: str
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


def parse(text: str) -> list[Entry]:
    """The entries in order. A file that somebody is still writing yields what is certain:

    an array without its end yields nothing, and a last line without its line end is left for the next reading unless
    it is a whole object.
    """
    stripped = text.strip()
    if not stripped:
        return []
    if stripped.startswith("["):
        return list(_array(stripped))
    return list(_lines(text))


def _array(text: str) -> Iterator[Entry]:
    try:
        items = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError:
        # Not an array yet. If it never becomes one, its writer sees that nothing is taken from it.
        return
    for item in items:
        yield _entry(item, json.dumps(item, default=str, sort_keys=True))


def _lines(text: str) -> Iterator[Entry]:
    lines = text.split("\n")
    unfinished = lines.pop()
    for line in lines:
        if line.strip():
            yield _line(line.strip())
    if unfinished.strip():
        last = _line(unfinished.strip())
        if last.fault is None:
            yield last


def _line(line: str) -> Entry:
    if len(line) > MAX_ENTRY:
        return _faulty(line[:MAX_ENTRY], f"is longer than {MAX_ENTRY} characters")
    try:
        item = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError as error:
        return _faulty(line, f"is not JSON: {error}")
    return _entry(item, line)


def _entry(item: Any, raw: str) -> Entry:
    if not isinstance(item, dict):
        return _faulty(raw, "is not an object")
    fields = dict(item)
    own = fields.pop("id", None)
    if own is None:
        canonical = json.dumps(item, sort_keys=True, separators=(",", ":"), default=str)
        return Entry(_hash(canonical), raw, fields)
    if not isinstance(own, str) or not 0 < len(own) <= MAX_ID:
        return _faulty(raw, f"id must be a text of 1 to {MAX_ID} characters")
    return Entry(own, raw, fields)


def _faulty(raw: str, fault: str) -> Entry:
    return Entry(_hash(raw), raw, fault=fault)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> Decimal:
    raise ValueError(f"{name} is not a number that can be traded")

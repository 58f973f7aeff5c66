"""The text of autotrade_queue.json: a JSON array, or one object per line."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_ENTRY = 65_536
MAX_ID = 200
MAX_DEPTH = 32
_MAX_NUMBER = 64
_INT64 = 2**63
_NAN = Decimal("NaN")
_TWICE = "\x00twice"  # cannot be the name of a field: a NUL is refused


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
        items = _load(text)
    except (ValueError, RecursionError):
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
        item = _load(line)
    except (ValueError, RecursionError) as error:
        return _faulty(line, f"is not JSON: {error}")
    return _entry(item, line)


def _entry(item: Any, raw: str) -> Entry:
    if not isinstance(item, dict):
        return _faulty(raw, "is not an object")
    fault = _unfit(item, 0)
    if fault is not None:
        return _faulty(raw, fault)
    fields = dict(item)
    own = fields.pop("id", None)
    if own is None:
        canonical = json.dumps(item, sort_keys=True, separators=(",", ":"), default=str)
        return Entry(_hash(canonical), raw, fields)
    if not isinstance(own, str) or not 0 < len(own) <= MAX_ID or not own.isprintable():
        return _faulty(raw, f"id must be a text of 1 to {MAX_ID} printable characters")
    return Entry(own, raw, fields)


def _faulty(raw: str, fault: str) -> Entry:
    return Entry(_hash(raw), raw, fault=fault)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _load(text: str) -> Any:
    """Numbers exact; one that nobody can trade on becomes NaN, so that it costs its own entry and no other."""
    return json.loads(
        text,
        parse_float=_number,
        parse_int=_integer,
        parse_constant=lambda _: _NAN,
        object_pairs_hook=_object,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice becomes a field of its own that no order has: which of the two was meant is unknown."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        fields[_TWICE] = next(name for name in names if names.count(name) > 1)
    return fields


def _number(text: str) -> Decimal:
    if len(text) > _MAX_NUMBER:
        return _NAN
    try:
        return Decimal(text)
    except InvalidOperation:
        return _NAN


def _integer(text: str) -> int | Decimal:
    number = _number(text)
    return int(number) if number.is_finite() and abs(number) < _INT64 else number


def _unfit(value: Any, depth: int) -> str | None:
    """What the database could not hold: such an entry would otherwise fail, and be tried again, for ever."""
    if depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, dict) and _TWICE in value:
        return f"has the field {value[_TWICE][:64]} twice"
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        return "holds a NUL or half of a surrogate pair, which is no text"
    if isinstance(value, Decimal) and not value.is_finite():
        return "holds a number that nobody can trade on"
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next((fault for item in inner if (fault := _unfit(item, depth + 1)) is not None), None)

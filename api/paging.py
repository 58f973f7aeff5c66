"""Opaque cursors: where the next page begins. A cursor from another list is refused or gives an empty page."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Time
from domain.errors import InvalidInput
from domain.requests import Slice

MAX_LIMIT = 200
_NUMBER = re.compile(r"[0-9]{1,18}")
_T = TypeVar("_T")
_R = TypeVar("_R")


class PageQuery(BaseModel):
    """`limit` and `cursor`; a misspelt parameter is refused, as a filter that is ignored shows too much."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="How many rows at most.")
    cursor: str | None = Field(default=None, max_length=512, description="`next_cursor` of the page before.")


class SinceQuery(PageQuery):
    since: Time | None = Field(
        default=None, description="Not older than this RFC 3339 time.", examples=["2026-01-31T12:00:00Z"]
    )

    def part(self, *, numbered: bool = False) -> Slice:
        """One row more than asked for tells whether there is a next page; `numbered` lists have numbers as ids.

        Raises InvalidInput for the cursor.
        """
        after = decode_timed(self.cursor) if self.cursor else None
        if numbered and after is not None and _NUMBER.fullmatch(after[1]) is None:
            raise _bad()
        return Slice(self.limit + 1, self.since, after)


Text = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
# An entity's id, or the reference of a secret: `cred/F_bob_7hq2m4zt/alpaca`.
Reference = Annotated[str, Field(min_length=1, max_length=140, pattern=r"^[A-Za-z0-9_/-]+$")]


class Page(BaseModel, Generic[_T]):
    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """A name that generated clients can carry."""
        return f"{params[0].__name__}Page"

    items: list[_T]
    next_cursor: str | None = Field(default=None, description="Give it as `cursor` for the next page; null at the end.")


def page(rows: Sequence[_R], limit: int, show: Callable[[_R], _T], key: Callable[[_R], tuple[str, ...]]) -> Page[_T]:
    """`rows` are up to `limit` + 1; `key` gives the parts of a row's cursor."""
    more = len(rows) > limit
    shown = rows[:limit]
    return Page(items=[show(row) for row in shown], next_cursor=encode(*key(shown[-1])) if more else None)


def encode(*parts: str) -> str:
    return urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode(cursor: str, length: int) -> list[str]:
    """Raises InvalidInput for anything that `encode` did not make."""
    try:
        parts = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise _bad()
    if not all(isinstance(part, str) and part.isprintable() for part in parts):
        raise _bad()
    return parts


def decode_timed(cursor: str) -> tuple[datetime, str]:
    stamp, key = decode(cursor, 2)
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        raise _bad() from None
    if moment.tzinfo is None:
        raise _bad()
    return moment, key


def _bad() -> InvalidInput:
    return InvalidInput("cursor", "is none of ours; take it from next_cursor, or leave it out to begin anew")

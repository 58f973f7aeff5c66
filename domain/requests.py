"""What a request to the read side or the registry carries besides its subject."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Once:
    """One request: `fingerprint` is SHA-256 of its body, `route` keeps keys of different operations apart."""

    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list: at most `limit` rows, not older than `since`, beyond the row with the key `after`.

    `after` is (created_at, id) for orders; for audit events and dead letters the time is not looked at.
    """

    limit: int
    since: datetime | None = None
    after: tuple[datetime, str] | None = None

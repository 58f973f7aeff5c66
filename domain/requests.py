"""What a request to the read side or the registry carries besides its subject."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Once:
    """One request: `fingerprint` is SHA-256 of its body, `route` keeps keys of different operations apart."""

    route: str
    key: str
    fingerprint: str


def owned_key(actor: str, key: str) -> str:
    """A key as ids and `Once` take it: two users of a tenant who send the same one never meet.

    Keys have no spaces, so the last one tells the two apart.
    """
    return f"{actor} {key}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes something: whose it is, by `route` and `key`; `fingerprint` is SHA-256 of what it asks."""

    tenant_id: str
    caller: str
    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered, as it is sent again to its repeat."""

    status: int
    body: bytes
    content_type: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list: at most `limit` rows, not older than `since`, beyond the row with the key `after`.

    `after` is (created_at, id) for orders; for audit events and dead letters the time is not looked at.
    """

    limit: int
    since: datetime | None = None
    after: tuple[datetime, str] | None = None

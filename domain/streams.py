"""Order streams: which worker listens to which account, when a broken line is mended, what a report changes. Pure."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from domain.dispatch import Change, PendingOrder, reported
from domain.orders import FOLLOWER_ENDS, FollowerState
from domain.ports import VenueOrder
from domain.retry import jitter

_F = FollowerState
# From these a report takes the order further; in all others it is not the venue's, or it is over.
_HEARD = frozenset({_F.SENT, _F.RETRY, _F.UNKNOWN, _F.ACK, _F.PARTIALLY_FILLED})
# What is not over with the venue, and not on the wire: its sender will say more of that than a look back can.
LOOKED_BACK_FOR = (_F.RETRY, _F.UNKNOWN, _F.ACK, _F.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class StreamInput:
    """One venue's streams. `shards` is how many there were when the run went on as a new one."""

    venue: str
    shards: int = 0


@dataclass(frozen=True, slots=True)
class StreamShard:
    """Number `number` of `shards`; which lines are its own follows from their names, see `bucket`.

    Not a list of them: it would be stored in the history again with each account that comes or goes, and accounts that
    come would cost the others their connections.
    """

    venue: str
    number: int
    shards: int


@dataclass(frozen=True, slots=True)
class StreamAccount:
    """An account to listen to. `revision` changes with each credential that its owner gives.

    Accounts of several followers that are reached by one key share a `line`: venues allow each key one connection.
    """

    tenant_id: str
    cred_ref: str
    revision: int
    line: str


@dataclass(frozen=True, slots=True)
class StreamTally:
    """How lines do at present; a shard's heartbeat is these numbers in this order. `last_report_s` is Unix time."""

    accounts: int = 0
    connected: int = 0
    refused: int = 0
    reconnects: int = 0
    reports: int = 0
    last_report_s: int = 0

    @property
    def state(self) -> str:
        """For operators to search by."""
        if self.accounts == 0:
            return "idle"
        return "streaming" if self.connected == self.accounts else "degraded"

    def numbers(self) -> tuple[int, ...]:
        return (self.accounts, self.connected, self.refused, self.reconnects, self.reports, self.last_report_s)

    def words(self) -> str:
        at = datetime.fromtimestamp(self.last_report_s, UTC)
        last = f"last report {at:%Y-%m-%d %H:%M:%S} UTC" if self.last_report_s else "no report yet"
        return (
            f"**{self.connected} of {self.accounts} accounts connected** · {self.refused} refused · "
            f"{self.reconnects} reconnects · {self.reports} reports · {last}"
        )


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How many shards there should be, for how many accounts, and how those that there are do."""

    shards: int
    accounts: int
    tally: StreamTally


@dataclass(frozen=True, slots=True)
class OrderOwner:
    """Where the workflow of an order is found. `dead_letter_id` is set where the order was last redriven from one."""

    mo_id: str
    follower_id: str
    leg: int
    state: FollowerState
    dead_letter_id: int | None = None


def total(tallies: Iterable[StreamTally]) -> StreamTally:
    rows = list(tallies)
    return StreamTally(
        accounts=sum(row.accounts for row in rows),
        connected=sum(row.connected for row in rows),
        refused=sum(row.refused for row in rows),
        reconnects=sum(row.reconnects for row in rows),
        reports=sum(row.reports for row in rows),
        last_report_s=max((row.last_report_s for row in rows), default=0),
    )


def bucket(line: str, shards: int) -> int:
    return int.from_bytes(hashlib.sha256(line.encode()).digest()[:4], "big") % shards


def lines_of(accounts: Iterable[StreamAccount]) -> dict[str, tuple[StreamAccount, ...]]:
    lines: dict[str, list[StreamAccount]] = {}
    for account in sorted(accounts, key=lambda a: a.cred_ref):
        lines.setdefault(account.line, []).append(account)
    return {line: tuple(found) for line, found in lines.items()}


def shards_for(lines: Collection[str], most: int, present: int) -> int:
    """As few shards of at most `most` lines each as their names allow; those that there are may stay.

    Another number moves nearly every account to another shard, and each move is a new connection; so it is changed
    only for shards that are too large, or several times too many.
    """
    if not lines:
        return 0
    shards = -(-len(lines) // most)
    if shards <= present <= 4 * shards and _largest(lines, present) <= most:
        return present
    while _largest(lines, shards) > most:
        shards += max(1, shards // 8)
    return shards


def _largest(lines: Collection[str], shards: int) -> int:
    return max(Counter(bucket(line, shards) for line in lines).values())


def reconnect_wait(line: str, failures: int, first: timedelta, most: timedelta, asked_s: int | None) -> timedelta:
    """The wait after failure number `failures` (1-based) in a row: doubled each time, ±10 % by line.

    `asked_s` is what the venue asked for; like our own waits it counts for `most` at the longest.
    """
    doubled = min(first * (1 << min(failures - 1, 16)), most)
    spread = doubled * int((1 + jitter(line, failures)) * 10_000) // 10_000
    return max(spread, min(timedelta(seconds=asked_s or 0), most))


def heard(order: PendingOrder, venue: VenueOrder) -> Change | None:
    """What a streamed report changes of an order; None: nothing, as it is known, too late, or not for us to say.

    While an attempt is on the wire its answer will say that the venue has the order; only what it may not say yet, a
    fill or an end, is taken from the stream.
    """
    if order.state not in _HEARD or order.is_webhook:
        return None
    if order.state is _F.RETRY:
        # Taken for absent, and there after all: it must not be sent again.
        known = reported(replace(order, state=_F.UNKNOWN), venue, source=order.route)
        return replace(known, source=_F.RETRY, path=(_F.UNKNOWN, *known.path))
    change = reported(order, venue, source=order.route)
    news = change.fills or change.target in FOLLOWER_ENDS
    if not change.path or (order.state is _F.SENT and not news):
        return None
    return change


def wakes_owner(change: Change) -> bool:
    """Whether the order's owner waits for just this. A part that was filled does not end its waiting."""
    return change.target in FOLLOWER_ENDS or change.source in {_F.UNKNOWN, _F.RETRY}

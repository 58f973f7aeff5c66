"""What is told of orders' progress, read from the audit log: for all orders that are watched at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.store.database import Cursor, Database
from adapters.store.entities import require
from domain.errors import InvalidInput
from domain.progress import Horizon, Logged
from models import ManagerOrder

_NOBODY = str(UUID(int=0))  # the reading serves all tenants
LAST_EVENT_ID = "Last-Event-ID"

_NEWEST = "SELECT newest_event() AS newest"
# Inserting takes this lock before the event's number is given, and lets go of it after the commit; see Horizon.
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'audit_events'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_PROGRESS = "SELECT * FROM order_progress(%(tenants)s::uuid[], %(orders)s, %(seen)s::bigint[], %(most)s)"
_HAS = "SELECT 1 FROM audit_events WHERE mo_id = %s AND is_mine(tenant_id) AND event_id = %s"


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody has come to in an order's events."""

    tenant_id: str
    mo_id: str
    seen: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What comes after a place. `whole`: no more than this shows yet, so that `state` and `live` are as of its end."""

    state: str
    live: bool
    events: tuple[Logged, ...]
    whole: bool


class ProgressStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._horizon = Horizon()

    async def begin(self, tenant_id: str, mo_id: str, after: int) -> None:
        """Raises NotFound, and InvalidInput where `after` is not 0 and no event of the order."""
        async with self._database.session(tenant_id) as session:
            await require(session, ManagerOrder, "manager_order", mo_id)
        if not after:
            return
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_HAS, [mo_id, after])
            if await cursor.fetchone() is None:
                raise InvalidInput(LAST_EVENT_ID, "is not the id of an event of this order")

    async def look(self, places: Sequence[Place], most: int) -> list[Piece]:
        """Up to `most` events after each place, in their order, and none before one that may still come to light."""
        async with self._database.cursor(_NOBODY) as cursor:
            horizon = await self._look_out(cursor)
            await cursor.execute(
                _PROGRESS,
                {
                    "tenants": [place.tenant_id for place in places],
                    "orders": [place.mo_id for place in places],
                    "seen": [place.seen for place in places],
                    "most": most,
                },
            )
            rows = await cursor.fetchall()
        found: list[list[Logged]] = [[] for _ in places]
        stands = [("", True)] * len(places)
        for row in rows:
            stands[row["place"] - 1] = row["state"], row["live"]
            if row["event_id"] is not None:
                found[row["place"] - 1].append(
                    Logged(
                        row["event_id"], row["entity"], row["entity_id"], row["action"], row["payload"], row["ts"]
                    )
                )  # fmt: skip
        return [
            _piece(state, events, most, horizon, live=live) for (state, live), events in zip(stands, found, strict=True)
        ]

    async def _look_out(self, cursor: Cursor) -> int:
        """Three statements one after another, each of which sees what was committed before it: see Horizon."""
        await cursor.execute(_NEWEST)
        row = await cursor.fetchone()
        newest = 0 if row is None else row["newest"] or 0
        await cursor.execute(_WRITERS)
        return self._horizon.look(newest, [row["virtualtransaction"] for row in await cursor.fetchall()])


def _piece(state: str, events: Sequence[Logged], most: int, horizon: int, *, live: bool) -> Piece:
    known = tuple(event for event in events if event.event_id <= horizon)
    return Piece(state, live, known, whole=len(known) == len(events) < most)

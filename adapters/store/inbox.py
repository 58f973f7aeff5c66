"""The inbox of payment systems' events: each is stored once, and looked at until somebody has been told of it.

No tenant's: whose an event is, only the function `subscription_of` tells, and of all tenants' rows it tells nothing
else. Whoever looks at events takes them for a while, so that two who look at once never look at the same one, and one
that dies leaves its own to the next.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from adapters.store.database import Database
from domain.billing import Provider
from domain.payment_events import EventState, PaymentEvent, TakenEvent

_NOBODY = str(UUID(int=0))
_LEASE = timedelta(seconds=30)
_MAX_NOTE = 200

_STORE = """
INSERT INTO payment_events (provider, event_id, type, object_ref, subject_ref, state, said_at, received_at, next_try_at,
  done_at)
VALUES (%(provider)s, %(event)s, %(type)s, %(object)s, %(subject)s, %(state)s, %(said)s, %(now)s, %(now)s,
  %(done)s)
ON CONFLICT DO NOTHING RETURNING event_id
"""

# `only` None: whatever is due. What another one has just taken is passed over.
_TAKE = """
WITH due AS (
  SELECT provider, event_id FROM payment_events
  WHERE state = 'pending' AND next_try_at <= %(now)s AND (%(only)s::text IS NULL OR event_id = %(only)s)
  ORDER BY next_try_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE payment_events p SET next_try_at = %(until)s, tries = p.tries + 1
  FROM due WHERE p.provider = due.provider AND p.event_id = due.event_id
  RETURNING p.provider, p.event_id, p.type, p.object_ref, p.subject_ref, p.tries, p.received_at
)
SELECT t.*, whose.subscriptions FROM taken t
CROSS JOIN LATERAL (
  SELECT coalesce(array_agg(ARRAY[s.tenant_id::text, s.subscription_id] ORDER BY s.subscription_id), '{}')
    AS subscriptions
  FROM subscription_of(t.provider, ARRAY[t.object_ref, t.subject_ref]::text[]) s
) whose
ORDER BY t.received_at
"""

# Of one that another has taken meanwhile nothing changes: its tries tell.
_END = """
UPDATE payment_events SET state = %(state)s, note = %(note)s, done_at = %(now)s
WHERE provider = %(provider)s AND event_id = %(event)s AND state = 'pending'
"""
_LATER = """
UPDATE payment_events SET next_try_at = %(at)s, note = %(note)s
WHERE provider = %(provider)s AND event_id = %(event)s AND state = 'pending' AND tries = %(tries)s
"""
_COUNT = """
SELECT provider, state, count(*) AS events FROM payment_events WHERE state = 'pending' OR state = 'orphaned'
GROUP BY provider, state
"""


class Inbox:
    def __init__(self, database: Database, *, lease: timedelta = _LEASE) -> None:
        self._database, self._lease = database, lease

    async def store(self, event: PaymentEvent, state: EventState, now: datetime) -> bool:
        """Whether it was not known before."""
        given = {
            "provider": event.provider, "event": event.event_id, "type": event.type, "object": event.object_ref,
            "subject": event.subject_ref, "state": state, "said": event.said_at, "now": now,
            "done": None if state is EventState.PENDING else now,
        }  # fmt: skip
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_STORE, given)
            return await cursor.fetchone() is not None

    async def take(self, now: datetime, *, most: int, only: str | None = None) -> Sequence[TakenEvent]:
        """Events that are due, and whose they are; nobody else takes them before the lease has run out."""
        given = {"now": now, "until": now + self._lease, "most": most, "only": only}
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_TAKE, given)
            rows = await cursor.fetchall()
        return [
            TakenEvent(
                Provider(row["provider"]), row["event_id"], row["type"], row["tries"], row["received_at"],
                tuple((tenant, subscription) for tenant, subscription in row["subscriptions"]),
            )
            for row in rows
        ]  # fmt: skip

    async def end(self, event: TakenEvent, state: EventState, now: datetime, note: str | None = None) -> None:
        await self._update(_END, event, state=state, now=now, note=note)

    async def later(self, event: TakenEvent, at: datetime, note: str) -> None:
        """Look again at that time, unless somebody else has it by now."""
        await self._update(_LATER, event, at=at, note=note, tries=event.tries)

    async def _update(self, statement: str, event: TakenEvent, *, note: str | None, **given: object) -> None:
        told = None if note is None else note[:_MAX_NOTE]
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(
                statement, {"provider": event.provider, "event": event.event_id, "note": told, **given}
            )

    async def left(self) -> dict[tuple[str, str], int]:
        """How many are pending and how many orphaned, by payment system and state."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute(_COUNT)
            return {(row["provider"], row["state"]): row["events"] for row in await cursor.fetchall()}

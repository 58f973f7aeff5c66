"""From the inbox of payment events to the workflows of the subscriptions that they concern.

An event is done when its subscriptions' workflows have the signal: that is durable, and they read what is true. What
cannot be told, because the engine or the database is away, stays in the inbox.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from temporalio.service import RPCError

from domain.errors import StoreUnavailable
from domain.payment_events import EventState, TakenEvent, next_try
from temporal.orders import EngineUnavailable

_log = logging.getLogger("vanta.billing")
_BATCH = 50
_AT_ONCE = 8
_ENGINE_AWAY = timedelta(seconds=5)
_RESTS_S = 5.0
Tell = Callable[[str, str], Awaitable[None]]


class EventInbox(Protocol):
    """What `adapters.store.inbox.Inbox` offers."""

    async def take(self, now: datetime, *, most: int, only: str | None = None) -> Sequence[TakenEvent]: ...

    async def end(self, event: TakenEvent, state: EventState, now: datetime, note: str | None = None) -> None: ...

    async def later(self, event: TakenEvent, at: datetime, note: str) -> None: ...


class Drain:
    """`tell` wakes the workflow of a tenant's subscription; raises EngineUnavailable or RPCError."""

    def __init__(
        self, inbox: EventInbox, tell: Tell, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._inbox, self._tell, self._now = inbox, tell, now

    async def wake(self, event_id: str) -> None:
        """Act on one at once, as far as that can be done; the rest is left to `pump`. Raises nothing of theirs."""
        try:
            await self._pass(only=event_id)
        except (StoreUnavailable, TimeoutError) as error:
            _log.warning("payment event %s is left in the inbox: %s", event_id, type(error).__name__)

    async def pump(self) -> int:
        """Look at a batch of what is due; how many that was. Raises StoreUnavailable."""
        return await self._pass()

    async def _pass(self, only: str | None = None) -> int:
        events = await self._inbox.take(self._now(), most=_BATCH, only=only)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(event: TakenEvent) -> None:
            async with room:
                await self._act(event)

        async with asyncio.TaskGroup() as group:
            for event in events:
                group.create_task(one(event))
        return len(events)

    async def _act(self, event: TakenEvent) -> None:
        if not event.subscriptions:
            await self._nobodys(event)
            return
        try:
            for tenant_id, subscription_id in event.subscriptions:
                await self._tell(tenant_id, subscription_id)
        except (EngineUnavailable, RPCError, TimeoutError) as error:
            _log.warning("payment event %s waits for the engine: %s", event.event_id, type(error).__name__)
            await self._inbox.later(event, self._now() + _ENGINE_AWAY, "the workflow engine does not answer")
            return
        told = ", ".join(subscription_id for _, subscription_id in event.subscriptions)
        await self._inbox.end(event, EventState.DONE, self._now(), told)

    async def _nobodys(self, event: TakenEvent) -> None:
        """Its checkout may not have been written yet; after a day nobody will claim it."""
        now = self._now()
        at = next_try(event.received_at, event.tries, now)
        if at is not None:
            await self._inbox.later(event, at, "no subscription has these ids yet")
            return
        _log.warning("payment event %s (%s of %s) is nobody's", event.event_id, event.type, event.provider)
        await self._inbox.end(event, EventState.ORPHANED, now, "no subscription has these ids")


async def keep_draining(drain: Drain, *, every: timedelta) -> None:
    """For ever; what fails is tried again. A full batch is followed by the next at once."""
    while True:
        try:
            full = await drain.pump() == _BATCH
        except Exception:  # noqa: BLE001  the database or the engine is away; the inbox keeps what is in it
            _log.warning("the inbox of payment events could not be looked at", exc_info=True)
            await asyncio.sleep(_RESTS_S)
            continue
        await asyncio.sleep(0 if full else every.total_seconds())

"""Access tokens exchanged for new ones before they expire, each by one process only."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import translated
from activities.heartbeat import beating
from domain.credentials import Broken, DueCredential, Renewal, broken_by, refresh_breaks
from domain.errors import SecretUnavailable, StoreUnavailable, VenueError
from domain.ports import Broker, BrokerCredentials, Refreshing

if TYPE_CHECKING:
    from adapters.store.refreshing import RefreshStore, Taken

_log = logging.getLogger("vanta.credentials")
# Each holds a connection to the database while its venue is asked.
_AT_ONCE = 4


@dataclass(slots=True)
class RefreshRound:
    """Credentials of this round by what became of them; `later` may be refreshed in the next one."""

    refreshed: int = 0
    broken: int = 0
    later: int = 0


class RefreshActivities:
    """`lead` is how long before its expiry a token is exchanged, `waits_s` how a new one is held for the database."""

    def __init__(
        self,
        store: "RefreshStore",
        brokers: Mapping[str, Broker],
        *,
        lead: timedelta,
        waits_s: Sequence[float] = (1, 2, 5, 10, 30, 60),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._brokers = brokers
        self._lead = lead
        self._waits_s = waits_s
        self._now = now

    @activity.defn
    async def refresh_credentials(self) -> RefreshRound:
        """All that are due, once each; one that fails keeps none of the others."""
        until = self._now() + self._lead
        found: list[Renewal] = []
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(due: DueCredential) -> None:
            async with room:
                found.append(await self._refresh(due, until))

        async with translated():
            due = await self._store.due(until)
        async with beating(lambda: (len(found), len(due))), asyncio.TaskGroup() as group:
            for credential in due:
                group.create_task(one(credential))
        return RefreshRound(*(found.count(end) for end in (Renewal.REFRESHED, Renewal.BROKEN, Renewal.LATER)))

    async def _refresh(self, due: DueCredential, until: datetime) -> Renewal:
        given: list[tuple[Taken, BrokerCredentials]] = []
        try:
            async with self._store.take(due, until) as taken:
                return Renewal.OTHERS if taken is None else await self._exchange(taken, given)
        except StoreUnavailable:
            return await self._put_later(*given[0]) if given else Renewal.LATER
        except Exception:  # noqa: BLE001  a fault of ours with one token must not end the others' round
            _log.exception("refreshing %s failed", due.cred_ref)
            return Renewal.LATER

    async def _exchange(self, taken: "Taken", given: "list[tuple[Taken, BrokerCredentials]]") -> Renewal:
        broker: object = self._brokers.get(taken.venue)
        if not taken.refreshes or not isinstance(broker, Refreshing):
            return await self._give_up(taken, Broken.EXPIRED if taken.expired and broker is not None else None)
        try:
            new = await broker.refresh(self._store.open(taken))
        except VenueError as error:
            _log.warning("refreshing %s: %s", taken.due.cred_ref, error)
            return await self._give_up(taken, refresh_breaks(error, expired=taken.expired))
        except SecretUnavailable as error:
            return await self._give_up(taken, broken_by(error.code))
        given.append((taken, new))
        return Renewal.REFRESHED if await self._store.renew(taken, new) else Renewal.OTHERS

    async def _put_later(self, taken: "Taken", new: BrokerCredentials) -> Renewal:
        """The venue may take the old refresh token no more, so the new one is held until the database is back."""
        for wait in self._waits_s:
            await asyncio.sleep(wait)
            with suppress(StoreUnavailable):
                return Renewal.REFRESHED if await self._store.put(taken, new) else Renewal.OTHERS
        _log.error("the new token of %s could not be stored; its owner may have to give another", taken.due.cred_ref)
        return Renewal.LATER

    async def _give_up(self, taken: "Taken", reason: Broken | None) -> Renewal:
        if reason is None:
            return Renewal.LATER
        await self._store.break_(taken, reason)
        return Renewal.BROKEN

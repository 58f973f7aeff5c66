"""The line to a broker account: connect, look back, take what is reported, mend what breaks.

Never the only source: whatever is lost here, the poll of the order's owner finds.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from activities.accounts import Accounts
from domain.books import BrokerKey
from domain.errors import SecretUnavailable, VantaError, VenueError, VenueRefused, VenueUnavailable
from domain.orders import FOLLOWER_ENDS
from domain.ports import Broker, BrokerCredentials, Streaming, VenueOrder
from domain.streams import OrderOwner, StreamAccount, StreamTally, heard, reconnect_wait, wakes_owner

if TYPE_CHECKING:
    from adapters.store.dispatch import DispatchStore
    from adapters.store.streams import OpenOrder, StreamStore

_log = logging.getLogger("vanta.streams")
ACTOR = "system:streams"
# A few orders are asked for one by one; more of them by all that the account has ordered since the oldest.
_FEW = 3
# The venue's clock may be behind ours.
_OVERLAP = timedelta(minutes=5)


class Owners(Protocol):
    async def venue_reported(self, owner: OrderOwner) -> None:
        """Tell the order's workflow that its order has moved; one that is not there, or over, is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """`steady` is how long a connection must have stood for its end to be no further failure in a row.

    `turn` is how long one that does not stand yet keeps others from connecting.
    """

    turn: timedelta = timedelta(seconds=5)
    connect: timedelta = timedelta(seconds=90)
    first: timedelta = timedelta(milliseconds=500)
    most: timedelta = timedelta(seconds=60)
    refused: timedelta = timedelta(minutes=15)
    steady: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Means:
    """What all lines of a process share; `connecting` bounds how many connect at the same time."""

    store: "StreamStore"
    orders: "DispatchStore"
    accounts: Accounts
    owners: Owners
    connecting: asyncio.Semaphore
    patience: Patience = Patience()


_END_S = 5  # for a connection that is given up to let go


class Line:
    """`accounts` are those of all followers whom one key serves; an order is one of theirs, or none of ours."""

    def __init__(self, venue: str, accounts: Sequence[StreamAccount], means: Means) -> None:
        self._accounts = accounts
        self._name = f"{accounts[0].cred_ref} at {venue}"
        self._venue = venue
        self._means = means
        self._stood_at: float | None = None
        self._refused = False
        self._failures = self._reconnects = self._reports = self._last_report_s = 0

    @property
    def tally(self) -> StreamTally:
        count, connected = len(self._accounts), self._stood_at is not None
        return StreamTally(
            count, count * connected, count * self._refused, self._reconnects, self._reports, self._last_report_s
        )

    async def run(self) -> None:
        """Ends by cancellation, or where no credential of it is active any more."""
        while True:
            try:
                if not await self._listen():
                    return
                error: Exception = VenueUnavailable("stream_ended", "the venue ended the stream")
            except Exception as caught:  # noqa: BLE001  no trouble of one account may end another's line
                error = caught
            await asyncio.sleep((await self._wait_after(error)).total_seconds())
            self._reconnects += 1

    async def _listen(self) -> bool:
        """One connection, from its start to its end; False where there is nothing to connect with any more."""
        given = await self._active_key()
        if given is None:
            return False
        broker, credentials = await self._means.accounts.open(given)
        if not isinstance(broker, Streaming):
            raise VenueUnavailable("no_stream", f"{self._venue} has no order stream")
        async with _closing(broker.reports(credentials)) as reports:
            try:
                await self._connect(reports, broker, credentials)
                async for report in reports:
                    if report is not None:
                        await self._take(report)
            finally:
                self._count_end()
        return True

    async def _active_key(self) -> BrokerKey | None:
        """Of whichever follower; equal keys are equal."""
        for account in self._accounts:
            given = await self._means.store.key(account)
            if given is not None:
                return given
        return None

    async def _connect(
        self, reports: AsyncIterator[VenueOrder | None], broker: Broker, credentials: BrokerCredentials
    ) -> None:
        """Until from now on nothing is missed; then ask for what was missed before. Raises VenueUnavailable."""
        try:
            async with asyncio.timeout(self._means.patience.connect.total_seconds()):
                await self._stand(reports)
                async with self._means.connecting:
                    await self._look_back(broker, credentials)
        except StopAsyncIteration:
            raise VenueUnavailable("stream_ended", "the stream ended before it stood") from None
        except TimeoutError:
            raise VenueUnavailable("connect_failed", "the stream did not stand in time") from None
        self._stood_at = time.monotonic()
        self._refused = False
        for account in self._accounts:
            if await self._means.store.resumed(account, self._venue):
                _log.info("%s: %s streams again", account.cred_ref, self._venue)

    async def _stand(self, reports: AsyncIterator[VenueOrder | None]) -> None:
        """In turn, which others need not wait for where a venue's first heartbeat alone says that it listens."""
        async with self._means.connecting:
            begun: asyncio.Future[VenueOrder | None] = asyncio.ensure_future(anext(reports))
            try:
                await asyncio.wait({begun}, timeout=self._means.patience.turn.total_seconds())
            except asyncio.CancelledError:
                await _cancelled(begun)
                raise
        try:
            first = await begun
        finally:
            await _cancelled(begun)
        assert first is None, "a stream begins by saying that it stands"

    async def _look_back(self, broker: Broker, credentials: BrokerCredentials) -> None:
        found = [await self._means.store.open_orders(account, self._venue) for account in self._accounts]
        open_orders = sorted((order for orders in found for order in orders), key=lambda order: order.created_at)
        for report in await self._missed(broker, credentials, open_orders):
            await self._apply(report)

    async def _missed(
        self, broker: Broker, credentials: BrokerCredentials, open_orders: "Sequence[OpenOrder]"
    ) -> list[VenueOrder]:
        if not open_orders:
            return []
        if len(open_orders) > _FEW or not broker.capabilities.looks_up_by_client_id:
            try:
                found = await broker.orders_since(credentials, open_orders[0].created_at - _OVERLAP)
                return [listed.order for listed in found]
            except VenueUnavailable as error:
                if error.code != "too_many_orders":
                    raise
        looked_up = [await broker.look_up(credentials, order.fo_id) for order in open_orders]
        return [report for report in looked_up if report is not None]

    async def _take(self, report: VenueOrder) -> None:
        self._reports += 1
        self._last_report_s = int(time.time())
        await self._apply(report)

    async def _apply(self, report: VenueOrder) -> None:
        """Book the report against the order as it is now, exactly as a poll does, and wake who waits for that."""
        for account in self._accounts:
            owner = await self._means.store.owner(account, self._venue, report.client_order_id)
            if owner is not None:
                await self._book(account, owner, report)
                return

    async def _book(self, account: StreamAccount, owner: OrderOwner, report: VenueOrder) -> None:
        if owner.state in FOLLOWER_ENDS:
            return
        orders = self._means.orders
        async with orders.locked(account.tenant_id, report.client_order_id) as (cursor, now):
            change = heard(now, report)
            if change is not None:
                await orders.change(cursor, change, actor=ACTOR)
        if change is not None and wakes_owner(change):
            await self._wake(owner)

    async def _wake(self, owner: OrderOwner) -> None:
        try:
            await self._means.owners.venue_reported(owner)
        except Exception:  # noqa: BLE001  the engine is away; the owner's next poll finds what is booked
            _log.warning("the owner of an order of %s could not be told", owner.mo_id, exc_info=True)

    def _count_end(self) -> None:
        steady = self._means.patience.steady.total_seconds()
        if self._stood_at is not None and time.monotonic() - self._stood_at >= steady:
            self._failures = 0
        self._stood_at = None

    async def _wait_after(self, error: Exception) -> timedelta:
        patience = self._means.patience
        self._failures += 1
        if isinstance(error, VenueRefused | SecretUnavailable):
            await self._refuse(error)
            return patience.refused
        asked_s = error.retry_after_s if isinstance(error, VenueError) else None
        wait = reconnect_wait(self._accounts[0].line, self._failures, patience.first, patience.most, asked_s)
        if not isinstance(error, VantaError):
            _log.error("the stream of %s broke by a fault", self._name, exc_info=error)
        elif self._failures > 1:
            _log.warning("no stream of %s: %s", self._name, error)
        return wait

    async def _refuse(self, error: VantaError) -> None:
        """Said once for each credential, and tried again seldom. One that is proven broken by this is listed no more,
        and the next one begins a line of its own."""
        self._refused = True
        _log.warning("the stream of %s is refused: %s", self._name, error.code)
        try:
            for account in self._accounts:
                await self._means.store.refused(account, self._venue, error.code, str(error))
        except Exception:  # noqa: BLE001  the line's state is in its heartbeat, too
            _log.warning("that the stream of %s is refused could not be written down", self._name, exc_info=True)


async def _cancelled(begun: "asyncio.Future[VenueOrder | None]") -> None:
    """A generator that still runs cannot be closed."""
    begun.cancel()
    await asyncio.wait({begun}, timeout=_END_S)


@asynccontextmanager
async def _closing(reports: AsyncIterator[VenueOrder | None]) -> AsyncIterator[AsyncIterator[VenueOrder | None]]:
    """Adapters write generators, whose connection ends with them and not at some later time."""
    try:
        yield reports
    finally:
        close: Any = getattr(reports, "aclose", None)
        if close is not None:
            await close()

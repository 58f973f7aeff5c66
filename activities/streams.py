"""Order streams: a venue's accounts counted out into shards, and a shard's lines kept."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from activities.errors import RETRY_LATER, again_in
from activities.heartbeat import beating
from activities.stream_line import Line, Means
from domain.errors import StoreUnavailable
from domain.streams import StreamAccount, StreamPlan, StreamShard, StreamTally, bucket, lines_of, shards_for, total

if TYPE_CHECKING:
    from adapters.store.streams import StreamStore

# A worker that stops hands its shard over at once: nobody need miss its heartbeat first.
_GOING = again_in("its worker is going", timedelta(milliseconds=1), RETRY_LATER)


_Lines = dict[tuple[StreamAccount, ...], Line]
_Tasks = dict[tuple[StreamAccount, ...], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class WatchInput:
    """`known` is what the caller was told last; it is told again when that is so no more."""

    venue: str
    known: StreamPlan | None = None


class Shards(Protocol):
    async def tallies(self, workflow_id: str) -> list[StreamTally]:
        """What the shards of a running workflow have last said of themselves."""
        ...


@dataclass(frozen=True, slots=True)
class StreamLimits:
    accounts_per_shard: int = 50
    look_every: timedelta = timedelta(seconds=5)
    tell_every: timedelta = timedelta(seconds=60)


@dataclass(slots=True)
class _Listing:
    """A venue's accounts, read once for all shards of this process."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float | None = None
    accounts: list[StreamAccount] = field(default_factory=list)


class StreamActivities:
    def __init__(self, store: "StreamStore", means: Means, shards: Shards, limits: StreamLimits) -> None:
        self._store = store
        self._means = means
        self._shards = shards
        self._limits = limits
        self._listings: dict[str, _Listing] = {}

    @activity.defn
    async def watch_streams(self, watch: WatchInput) -> StreamPlan:
        """The plan, as soon as another number of shards is wanted, or now and then when what is told has changed."""
        began, known = time.monotonic(), watch.known
        async with beating():
            while True:
                plan = await self._plan(watch)
                if known is None or self._is_news(plan, known, time.monotonic() - began):
                    return plan
                if await self._shutdown_while_pausing():
                    raise _GOING

    @activity.defn
    async def stream_orders(self, shard: StreamShard) -> None:
        """Keep a line to each of the shard's accounts, those that come and go included, until this is cancelled."""
        lines: _Lines = {}
        tasks: _Tasks = {}
        async with (
            beating(lambda: total([line.tally for line in lines.values()]).numbers()),
            asyncio.TaskGroup() as group,
        ):
            while True:
                with suppress(StoreUnavailable):  # the lines that there are go on
                    await self._settle(shard, group, lines, tasks)
                if await self._shutdown_while_pausing():
                    break
            for task in tasks.values():
                task.cancel()
        # Not from inside of the group, which would raise a group of errors that says nothing of when to try again.
        raise _GOING

    async def _settle(self, shard: StreamShard, group: asyncio.TaskGroup, lines: _Lines, tasks: _Tasks) -> None:
        """Whoever joins or leaves a line begins it anew, and so does another credential."""
        listed = lines_of(await self._accounts(shard.venue))
        mine = {accounts for line, accounts in listed.items() if bucket(line, shard.shards) == shard.number}
        for gone in lines.keys() - mine:
            tasks.pop(gone).cancel()
            del lines[gone]
        for new in sorted(mine - lines.keys(), key=lambda accounts: accounts[0].cred_ref):
            lines[new] = line = Line(shard.venue, new, self._means)
            tasks[new] = group.create_task(line.run())

    async def _plan(self, watch: WatchInput) -> StreamPlan:
        accounts = await self._accounts(watch.venue)
        present = 0 if watch.known is None else watch.known.shards
        shards = shards_for(lines_of(accounts), self._limits.accounts_per_shard, present)
        tallies = await self._shards.tallies(activity.info().workflow_id or "")
        return StreamPlan(shards, len(accounts), total(tallies))

    async def _accounts(self, venue: str) -> Sequence[StreamAccount]:
        listing = self._listings.setdefault(venue, _Listing())
        async with listing.lock:
            every = self._limits.look_every.total_seconds() / 2
            if listing.read_at is None or time.monotonic() - listing.read_at > every:
                listing.accounts = await self._store.accounts(venue)
                listing.read_at = time.monotonic()
            return listing.accounts

    def _is_news(self, plan: StreamPlan, known: StreamPlan, waited_s: float) -> bool:
        """Another number of shards at once, lines that broke or stand again soon, mere counts now and then."""
        tell_s = self._limits.tell_every.total_seconds()
        changed = (plan.accounts, plan.tally.connected, plan.tally.refused) != (
            known.accounts, known.tally.connected, known.tally.refused,
        )  # fmt: skip
        return plan.shards != known.shards or (waited_s >= (tell_s / 4 if changed else tell_s) and plan != known)

    async def _shutdown_while_pausing(self) -> bool:
        """The pause before the next look; whether the worker is going meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.look_every.total_seconds()):
                await activity.wait_for_worker_shutdown()
            return True
        return False

"""In a process that sends: hear of kills at once, look for them twice a second, and stop sending when that fails.

- Postgres is looked at every LOOK_S. A process whose last good look began more than FENCE_S ago sends nothing.
- Redis brings kills within milliseconds, and a lease; without it nothing that opens is sent (SPEC section 5).
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.ending import wanted
from adapters.kill import channel
from adapters.store.kills import KillStore
from domain.dispatch import PendingOrder
from domain.errors import StoreUnavailable
from domain.kills import Kill, KillBook, Target, concerns
from domain.sizing import Effect

LOOK_S = 0.5
FENCE_S = 2.0
LEASE_S = 3.0
_MARGIN_S = 0.5  # by how much a lease counts for less here than there
_log = logging.getLogger("vanta.kill")


class KillWatch:
    """`mark` before a claim, `flight` around a send; `run` must be running meanwhile."""

    def __init__(self, store: KillStore, redis: Redis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._redis = redis
        self._clock = clock
        self._book = KillBook()
        self._sender_id = uuid.uuid4().hex
        self._looked = float("-inf")
        self._leased = float("-inf")
        self._flying: dict[int, Target] = {}
        self._flights = 0
        self._first = asyncio.Event()

    @property
    def mark(self) -> int:
        return self._book.count

    @property
    def opens_held(self) -> bool:
        """Whether nothing that opens may be sent now, as Redis does not answer."""
        return self._clock() - self._leased > LEASE_S - _MARGIN_S

    async def run(self) -> None:
        """Until cancelled. Neither a database nor a Redis that is away ends it."""
        async with asyncio.TaskGroup() as group:
            for step in (self._look, self._lease):
                group.create_task(self._often(step))
            group.create_task(self._listen())

    async def ready(self, timeout_s: float = 10) -> None:
        """Until the first look at Postgres has succeeded; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self._first.wait()

    @contextmanager
    def flight(self, order: PendingOrder) -> Iterator[Callable[[], str | None]]:
        """Gives what is asked immediately before the first byte: None, or why nothing may leave."""
        opens = order.guards.effect is Effect.OPEN
        target = Target(order.tenant_id, order.vault_id, order.follower_id, opens, order.mark)
        number = self._flights = self._flights + 1

        def refused() -> str | None:
            why = self._refusal(target)
            if why is None:
                self._flying[number] = target
            return why

        try:
            yield refused
        finally:
            self._flying.pop(number, None)

    def _refusal(self, target: Target) -> str | None:
        if self._book.stops(target):
            return "a kill came before the first byte"
        if self._clock() - self._looked > FENCE_S:
            return "the kill state could not be read for too long"
        if target.opens and self.opens_held:
            return "without Redis nothing that opens is sent"
        return None

    async def _often(self, step: Callable[[], Awaitable[None]]) -> None:
        while wanted():
            try:
                async with asyncio.timeout(FENCE_S):
                    await step()
            except (StoreUnavailable, RedisError, OSError, TimeoutError) as error:
                _log.warning("%s: %s", getattr(step, "__name__", "step"), type(error).__name__)
            except Exception:  # noqa: BLE001  a fault of ours fences this process for as long as it lasts, not for good
                _log.exception("%s", getattr(step, "__name__", "step"))
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        began = self._clock()
        seen_at, kills = await self._store.recent()
        await self._carry_out(kills)
        # Only who has said so counts as having looked: the switch does not wait for those that it cannot see.
        await self._store.say(self._sender_id, seen_at)
        self._looked = began
        self._first.set()

    async def _lease(self) -> None:
        began = self._clock()
        try:
            await self._redis.set(channel.lease(self._sender_id), 1, px=int(LEASE_S * 1000))
        except (RedisError, OSError):
            self._leased = float("-inf")  # it is known to be away: nothing opens from now on, not only when time is up
            raise
        self._leased = began

    async def _listen(self) -> None:
        while wanted():
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(channel.CHANNEL)
                    while wanted():
                        message = await subscription.get_message(timeout=LOOK_S)
                        if message is not None:
                            await self._hear(message["data"])
            except (RedisError, OSError, TimeoutError) as error:
                self._leased = float("-inf")
                _log.warning("not listening: %s", type(error).__name__)
                await asyncio.sleep(LOOK_S)

    async def _hear(self, message: bytes) -> None:
        try:
            kill = channel.decode(message)
        except (ValueError, KeyError, TypeError):
            _log.exception("a message that is no kill; the next look at Postgres finds what it meant")
            return
        await self._carry_out([kill])

    async def _carry_out(self, kills: list[Kill]) -> None:
        """From the first line on nothing in their scope begins; then say so."""
        for kill in self._book.hear(kills):
            in_flight = sum(concerns(kill, target) for target in self._flying.values())
            try:
                key = channel.acks(kill.kill_id)
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.rpush(key, f"{self._sender_id} {in_flight}")
                    pipe.expire(key, channel.ACK_TTL_S)
                    await pipe.execute()
            except (RedisError, OSError, TimeoutError):
                _log.warning("kill %d was carried out, but Redis did not take word of it", kill.kill_id)

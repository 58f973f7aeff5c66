"""In the API: after a kill is committed, wait until no process that sends can begin a send in its scope any more."""

import asyncio
import logging
import time
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.kill import channel
from adapters.kill.watch import FENCE_S, LOOK_S
from adapters.store.kills import KillStore
from domain.kills import EVERYBODY, Kill, KillAcknowledgement

# By then every sender has looked at Postgres since the commit, or has gone without for so long that it is fenced.
_BARRIER_S = FENCE_S + LOOK_S
_POLL_S = 0.02
_log = logging.getLogger("vanta.kill")


class KillSwitch:
    def __init__(self, store: KillStore, redis: Redis) -> None:
        self._store = store
        self._redis = redis

    async def barrier(
        self, tenant_id: str, *, vault_id: str | None = None, follower_id: str | None = None
    ) -> KillAcknowledgement:
        """Wait for the scope's newest kill, committed before this is called; at most _BARRIER_S.

        Raises StoreUnavailable. Without Redis it takes longer and says so; it never answers too early.
        """
        began = time.monotonic()
        kill = await self._store.latest(tenant_id, vault_id, follower_id)
        since, senders = await self._store.senders(FENCE_S)
        acked: dict[str, int] = {}
        if kill is not None and senders:
            acked = await self._by_redis(kill, set(senders), began)
        via = "redis" if kill is not None and acked.keys() >= senders.keys() else "postgres"
        if via == "postgres":
            await self._by_postgres(since, set(senders) - acked.keys(), began)
        in_flight = sum(acked.values())
        if via == "postgres" and tenant_id != EVERYBODY:
            in_flight = await self._store.in_flight(tenant_id, vault_id, follower_id)
        waited = round((time.monotonic() - began) * 1000)
        return KillAcknowledgement(None if kill is None else kill.kill_id, in_flight, len(senders), via, waited)

    async def _by_redis(self, kill: Kill, senders: set[str], began: float) -> dict[str, int]:
        """In flight by sender, for those that have answered in time."""
        acked: dict[str, int] = {}
        key = channel.acks(kill.kill_id)
        try:
            await self._redis.publish(channel.CHANNEL, channel.encode(kill))
            while not senders <= acked.keys() and time.monotonic() - began < LOOK_S:
                for ack in await self._redis.lrange(key, 0, -1):
                    sender_id, _, count = (ack if isinstance(ack, str) else ack.decode()).partition(" ")
                    acked[sender_id] = int(count)
                if not senders <= acked.keys():
                    await asyncio.sleep(_POLL_S / 10)
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("a kill goes through Postgres alone: %s", type(error).__name__)
        return acked

    async def _by_postgres(self, since: datetime, silent: set[str], began: float) -> None:
        """Until each of them has looked since then, or so much time has passed that it must have fenced itself."""
        while silent and time.monotonic() - began < _BARRIER_S:
            await asyncio.sleep(_POLL_S)
            _, seen = await self._store.senders(FENCE_S + _BARRIER_S)
            silent = {sender for sender in silent if sender in seen and seen[sender] <= since}

"""What tenants may use, kept in Redis for less than a second and dropped when it changes.

What is kept ends by Redis' own clock, counted from before Postgres was read: so nothing is used longer than a second
after it changed, also where nobody was told, where the answer came late, or where a reader was slow to keep what it
had read. A reader that has read what was true before a change does not keep it after the change was told of.

Without Redis every process remembers for itself, as shortly, and Postgres answers the rest. An error is never kept.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.relay import Message
from adapters.store.overrides import OVERRIDE_ENDED, OVERRIDE_SET
from domain.entitlements import Granted, from_stored
from domain.offers import allows

_log = logging.getLogger("vanta.entitlements")
_FORMAT = 1  # of what is kept: another one is of another release, and not read
# Of the second that it may take, the rest is for the way of an answer from Redis to whoever asked.
LIFETIME_MS = 700
_TIMEOUT_S, _PAUSE_S = 0.1, 1.0
_MOST = 10_000
# What is there, what it was last changed at, and the time in microseconds.
_READ = """
local clock = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', clock[1] * 1000000 + clock[2]}
"""
_KEEP = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
"""
# The mark outlives every reading that was under way, and two marks are never the same.
_FORGET = """
local clock = redis.call('TIME')
redis.call('SET', KEYS[2], string.format('%d.%d', clock[1], clock[2]), 'PX', 60000)
return redis.call('DEL', KEYS[1])
"""


class Entitling(Protocol):
    """`adapters.store.entitlements.EntitlementStore`, and this cache of it."""

    async def of(self, tenant_id: str) -> Granted: ...

    async def require(self, tenant_id: str, entitlement: str, need: Any) -> None: ...


class EntitlementCache:
    """`clock`: seconds that never run backwards."""

    def __init__(
        self,
        redis: Redis,
        store: Entitling,
        *,
        timeout_s: float = _TIMEOUT_S,
        pause_s: float = _PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._read, self._keep, self._forget = (redis.register_script(text) for text in (_READ, _KEEP, _FORGET))
        self._timeout_s, self._pause_s, self._clock = timeout_s, pause_s, clock
        self._away_until = clock()
        self._remembered: OrderedDict[str, tuple[float, Granted]] = OrderedDict()

    async def of(self, tenant_id: str) -> Granted:
        """At most a second old. Raises StoreUnavailable where it has to be read and cannot be."""
        found = await self._ask(self._read, tenant_id)
        if found is None:
            return await self._without(tenant_id)
        self._remembered.clear()
        value, mark, now_us = found
        kept = _read(value)
        if kept is not None:
            return kept
        fresh = await self._store.of(tenant_id)
        until = int(now_us) // 1000 + LIFETIME_MS
        await self._ask(self._keep, tenant_id, mark, _written(fresh), until)
        return fresh

    async def require(self, tenant_id: str, entitlement: str, need: Any) -> None:
        """Raises NotEntitled, once Postgres has said so, too: who has just paid is not refused."""
        if not allows((await self.of(tenant_id)).entitlements, entitlement, need):
            await self._store.require(tenant_id, entitlement, need)

    async def forget(self, tenant_id: str) -> None:
        """After a change: the next one who asks reads it. Does nothing where Redis is away."""
        self._remembered.pop(tenant_id, None)
        await self._ask(self._forget, tenant_id)

    async def heard(self, messages: Sequence[Message]) -> None:
        """What the relay passes by: forget whom an event says something new about."""
        for tenant_id in {message.body["tenant_id"] for message in messages if _changes(message.body)}:
            await self.forget(tenant_id)

    async def _without(self, tenant_id: str) -> Granted:
        now = self._clock()
        since, known = self._remembered.get(tenant_id, (0.0, None))
        if known is not None and now - since < LIFETIME_MS / 1000:
            return known
        fresh = await self._store.of(tenant_id)
        self._remembered[tenant_id] = (now, fresh)
        self._remembered.move_to_end(tenant_id)
        while len(self._remembered) > _MOST:
            self._remembered.popitem(last=False)
        return fresh

    async def _ask(self, script: Any, tenant_id: str, *args: Any) -> Any:
        """None: Redis did not answer now or a moment ago."""
        if self._clock() < self._away_until:
            return None
        key = f"vanta:entitled:{{{tenant_id}}}"  # in braces: both must lie on one node of a cluster
        try:
            async with asyncio.timeout(self._timeout_s):
                return await script(keys=[key, f"{key}:changed"], args=args)
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = self._clock() + self._pause_s
            _log.warning("entitlements are not cached for %s s: %s", self._pause_s, type(error).__name__)
            return None


def _changes(event: Mapping[str, Any]) -> bool:
    return event.get("entity") == "subscription" or event.get("action") in {OVERRIDE_SET, OVERRIDE_ENDED}


def _written(granted: Granted) -> bytes:
    body = {"plan_id": granted.plan_id, "status": granted.status, "entitlements": granted.entitlements.to_json()}
    return orjson.dumps({"v": _FORMAT, **body})


def _read(value: bytes | str) -> Granted | None:
    """None for what is not there, or not ours to read."""
    if not value:
        return None
    try:
        stored = orjson.loads(value)
        if stored["v"] != _FORMAT:
            return None
        return Granted(from_stored(stored["entitlements"]), stored["plan_id"], stored["status"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

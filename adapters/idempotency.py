"""Who asks first under an Idempotency-Key, and what he was answered: in Redis, and in Postgres where that is away.

Neither is what makes a request act once: `adapters.store.once` and the ids of workflows do, whatever is lost here. This
spares the work and gives the same answer again.
"""

import asyncio
import hashlib
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import IdempotencyKeyReused, RequestInFlight, StoreUnavailable
from domain.requests import Answer, Asked

KEPT = timedelta(hours=24)
PREFIX = "vanta:idempotency:"
MOST_BYTES = 262_144
_Known = tuple[str, Answer | None]
_AWAY = (RedisError, OSError, TimeoutError)
_APART_S = 5.0  # while Redis is away, one request in this time finds out whether it is back
_COMPLETE = """
    local known = redis.call('GET', KEYS[1])
    if not known or known == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_log = logging.getLogger("vanta.idempotency")


class Keeper(Protocol):
    """Where keys are reserved and answers kept."""

    async def reserve(self, asked: Asked, token: str, lease: timedelta) -> _Known | None: ...

    async def complete(self, asked: Asked, token: str, answer: Answer, kept: timedelta) -> None: ...

    async def release(self, asked: Asked, token: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry a request out, until it is answered or its lease is over."""

    asked: Asked
    token: str
    keeper: Keeper


class Answers:
    """`lease`: how long a request may be under way; a process that dies in between frees its keys by it.

    `patience_s`: a request that waits longer for where keys are kept goes on without.
    """

    def __init__(self, redis: Redis, fallback: Keeper, *, lease: timedelta, patience_s: float = 2.0) -> None:
        self._redis = InRedis(redis)
        self._fallback = fallback
        self._lease = lease
        self._patience_s = patience_s
        self._away_until: float | None = None

    async def claim(self, asked: Asked, *, guarded: bool) -> Claim | Answer | None:
        """The right to carry it out, or what it was answered before; None: Redis is away, and it is not `guarded`.

        Raises RequestInFlight, IdempotencyKeyReused, and, where it is guarded, StoreUnavailable.
        """
        token = uuid.uuid4().hex
        if self._may_ask_redis():
            try:
                async with asyncio.timeout(self._patience_s):
                    known = await self._redis.reserve(asked, token, self._lease)
            except _AWAY as error:
                self._away_until = time.monotonic() + _APART_S
                _log.warning("keys are not in Redis for now: %s", type(error).__name__)
            else:
                self._away_until = None
                return _decide(asked, known, Claim(asked, token, self._redis))
        if not guarded:
            return None
        known = await self._fallback.reserve(asked, token, self._lease)
        return _decide(asked, known, Claim(asked, token, self._fallback))

    def _may_ask_redis(self) -> bool:
        if self._away_until is None:
            return True
        now = time.monotonic()
        due = now >= self._away_until
        if due:
            self._away_until = now + _APART_S  # the others do not wait for the one that finds out
        return due

    async def complete(self, claim: Claim, answer: Answer) -> None:
        """Keep the answer for a day. Where that fails, the key is free after its lease."""
        if len(answer.body) > MOST_BYTES:
            await self.release(claim)
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await claim.keeper.complete(claim.asked, claim.token, answer, KEPT)
        except (*_AWAY, StoreUnavailable) as error:
            _log.warning("an answer of %s is not kept: %s", claim.asked.route, type(error).__name__)

    async def release(self, claim: Claim) -> None:
        """Nothing is kept, and the key is free at once."""
        try:
            async with asyncio.timeout(self._patience_s):
                await claim.keeper.release(claim.asked, claim.token)
        except (*_AWAY, StoreUnavailable) as error:
            _log.warning("a key of %s is held until its lease ends: %s", claim.asked.route, type(error).__name__)


def _decide(asked: Asked, known: _Known | None, claim: Claim) -> Claim | Answer:
    if known is None:
        return claim
    fingerprint, answer = known
    if fingerprint != asked.fingerprint:
        raise IdempotencyKeyReused("Idempotency-Key was already used for another request")
    if answer is None:
        raise RequestInFlight("The first request under this Idempotency-Key is still being answered.")
    return answer


class InRedis:
    """One value per key: who holds it, or a line about the answer and the answer itself. Raises what `_AWAY` names."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._complete = redis.register_script(_COMPLETE)
        self._release = redis.register_script(_RELEASE)

    async def reserve(self, asked: Asked, token: str, lease: timedelta) -> _Known | None:
        mine = _held(asked, token)
        found: Any = await self._redis.set(_name(asked), mine, nx=True, get=True, px=lease)
        if found is None or found == mine:  # the client repeats a command whose answer it did not get
            return None
        return _read(found)

    async def complete(self, asked: Asked, token: str, answer: Answer, kept: timedelta) -> None:
        head = {"f": asked.fingerprint, "s": answer.status, "c": answer.content_type, "l": answer.location}
        value = orjson.dumps(head) + b"\n" + answer.body
        await self._complete([_name(asked)], [_held(asked, token), value, kept // timedelta(milliseconds=1)])

    async def release(self, asked: Asked, token: str) -> None:
        await self._release([_name(asked)], [_held(asked, token)])


def _name(asked: Asked) -> str:
    """Hashed, as callers choose keys and subjects; no two lists of parts come to the same text."""
    parts = orjson.dumps([asked.tenant_id, asked.caller, asked.route, asked.key])
    return PREFIX + hashlib.sha256(parts).hexdigest()


def _held(asked: Asked, token: str) -> bytes:
    return orjson.dumps({"f": asked.fingerprint, "t": token})


def _read(value: bytes) -> _Known:
    line, _, body = value.partition(b"\n")
    head: dict[str, Any] = orjson.loads(line)
    if "s" not in head:
        return head["f"], None
    return head["f"], Answer(head["s"], body, head["c"], head["l"])

"""Quotas counted in Redis for all processes together: one script, one round trip, whatever the number of buckets.

Redis may go away. A request waits for it at most `timeout_s`; then nobody asks it for `pause_s`, so that its absence
costs one request that time and not all of them. Meanwhile reads, other writes and callers without a name are counted in
this process alone, kills are not counted at all, and order entry is refused: see `_WITHOUT`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import LimiterUnavailable
from domain.rate_limits import Bucket, LocalLimits, RouteClass, Standing

_log = logging.getLogger("vanta.limits")
# KEYS: one per bucket; ARGV: limit and window in seconds of each. Takes one from every bucket, or from none. Answers
# for each: allowed, remaining, microseconds until it is full and until it has room. As domain.rate_limits.standing.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local found, afters, open = {}, {}, true
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i - 1]), ARGV[2 * i] * 1000000
  local step = window / limit
  local started = math.max(tonumber(redis.call('GET', key)) or now, now)
  local after = started + step
  local over = after - now - window - step / 2
  if over > 0 then
    open = false
    found[i] = {0, 0, math.ceil(started - now), math.ceil(over + step / 2)}
  else
    found[i] = {1, math.floor((window - after + now) / step + 0.5), math.ceil(after - now), 0}
  end
  afters[i] = after
end
if open then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.3f', afters[i]), 'PX', math.ceil((afters[i] - now) / 1000) + 1)
  end
end
return found
"""
_LOCAL, _OPEN, _CLOSED = "local", "open", "closed"
_WITHOUT = {
    RouteClass.READ: _LOCAL,
    RouteClass.WRITE: _LOCAL,
    RouteClass.AUTH: _LOCAL,
    RouteClass.CALLBACK: _LOCAL,
    RouteClass.KILL: _OPEN,
    RouteClass.ORDER_ENTRY: _CLOSED,
}


@dataclass
class _Patience:
    """How long a request waits for Redis, and until when it is not asked again."""

    timeout_s: float
    away_until: float | None = None


class Limiter:
    """`timeout_s`: the longest wait for Redis. `patience_s`: the same where a request is refused without it.

    `clock`: seconds that never run backwards.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        timeout_s: float,
        patience_s: float,
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._script = redis.register_script(_TAKE)
        # Apart, so that a hiccup which a read does not wait for refuses no order.
        self._quick, self._patient = _Patience(timeout_s), _Patience(patience_s)
        self._pause_s, self._clock = pause_s, clock
        self._local = LocalLimits(clock)

    async def take(self, route_class: RouteClass, buckets: Sequence[Bucket]) -> list[Standing]:
        """One request of each bucket. Empty: let in uncounted. Raises LimiterUnavailable where that must not be."""
        without = _WITHOUT[route_class]
        found = await self._shared(buckets, self._patient if without is _CLOSED else self._quick)
        if found is not None:
            return found
        if without is _CLOSED:
            raise LimiterUnavailable("requests cannot be counted at the moment; nothing was done")
        return self._local.take(buckets) if without is _LOCAL else []

    async def _shared(self, buckets: Sequence[Bucket], patience: _Patience) -> list[Standing] | None:
        """None: Redis did not answer now or a moment ago."""
        if patience.away_until is not None:
            if self._clock() < patience.away_until:
                return None
            self._pause(patience)  # the others go on without Redis until this one has had its answer
        numbers = [number for bucket in buckets for number in (bucket.quota.limit, bucket.quota.window_s)]
        try:
            async with asyncio.timeout(patience.timeout_s):
                answers = await self._script(keys=[bucket.key for bucket in buckets], args=numbers)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(patience)
            _log.warning("requests are not counted in Redis for %s s: %s", self._pause_s, type(error).__name__)
            return None
        patience.away_until = None
        return [_standing(bucket, answer) for bucket, answer in zip(buckets, answers, strict=True)]

    def _pause(self, patience: _Patience) -> None:
        patience.away_until = self._clock() + self._pause_s


def _standing(bucket: Bucket, answer: Sequence[int]) -> Standing:
    allowed, remaining, reset_us, retry_us = answer
    return Standing(bucket, bool(allowed), remaining, reset_us / 1e6, retry_us / 1e6)

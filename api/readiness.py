"""Is every dependency there? Asked side by side, each for a short time, and not more often than once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Probe = Callable[[], Awaitable[None]]
PROBE_TIMEOUT_S = 2.0
_FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """Of one dependency. Why it failed is for the log: errors of drivers name hosts and users."""

    ok: bool
    vital: bool
    latency_ms: int


class Readiness:
    """Without a vital dependency no order can be taken; without another, something is late but nothing is lost."""

    def __init__(
        self, probes: Mapping[str, Probe], vital: frozenset[str], *, timeout_s: float = PROBE_TIMEOUT_S
    ) -> None:
        self._probes = probes
        self._vital = vital
        self._timeout_s = timeout_s
        self._asking = asyncio.Lock()
        self._known: dict[str, Health] = {}
        self._known_at = float("-inf")

    async def check(self) -> dict[str, Health]:
        async with self._asking:
            if time.monotonic() - self._known_at > _FRESH_S:
                answers = await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))
                self._known = dict(zip(self._probes, answers, strict=True))
                self._known_at = time.monotonic()
            return self._known

    async def _ask(self, name: str, probe: Probe) -> Health:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                await probe()
            ok = True
        except Exception:  # noqa: BLE001 - whatever a driver raises means the same here: it does not answer
            ok = False
        return Health(ok, name in self._vital, round((time.monotonic() - started) * 1000))

"""Follows the demonstration's orders until all have settled, and plays the OS that appends to its queue."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.store.database import Database
from domain.orders import FOLLOWER_ENDS, FollowerState, ManagerState
from stack.demo_scenario import TENANT, QueuedOrder, Script
from stack.demo_stage import Enrolled

_EVERY_S = 0.4
_SETTLED = frozenset({ManagerState.SETTLED, ManagerState.SETTLED_WITH_ERRORS})

_ORDERS = "SELECT mo_id, state FROM manager_orders WHERE mo_id = ANY(%s)"
_FOLLOWER_ORDERS = """
SELECT mo_id, follower_id, state, dispatch_attempts, last_error, next_attempt_at
FROM follower_orders WHERE mo_id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A follower order between two attempts; `due_in_s` may be a little below zero."""

    follower_id: str
    attempts: int
    due_in_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One manager order at one moment; `state` is None until it has been admitted."""

    order: QueuedOrder
    state: ManagerState | None
    states: Mapping[FollowerState, int]
    waiting: tuple[Waiting, ...]
    ended: frozenset[str]

    @property
    def is_settled(self) -> bool:
        return self.state in _SETTLED


Look = Callable[[Sequence[Progress], float], None]


class Watch:
    """`look` is called with every reading and the seconds since the watch began."""

    def __init__(self, database: Database, script: Script, enrolled: Sequence[Enrolled], queue: Path) -> None:
        self._database = database
        self._script = script
        self._enrolled = enrolled
        self._queue = queue
        self._later = dict(script.later)

    async def run(self, look: Look, timeout_s: float) -> bool:
        """Write the queue's first lines, append the others when their turn has come; False when time is up."""
        began = time.monotonic()
        self._append(self._script.opening)
        while (elapsed := time.monotonic() - began) < timeout_s:
            readings = await self._read()
            look(readings, elapsed)
            if all(r.is_settled for r in readings):
                return True
            for reading in readings:
                label = reading.order.cast.label
                if label in self._later and reading.order.nth == 0 and self._is_confirmed(reading):
                    self._append([self._later.pop(label)])
            await asyncio.sleep(_EVERY_S)
        return False

    def _is_confirmed(self, reading: Progress) -> bool:
        """Whether all are over but those whose endpoint is dead, for which nobody waits."""
        order = reading.order
        live = {
            e.follower_id
            for e in self._enrolled
            if e.cast is order.cast and order.expected(e.member).state is not FollowerState.DEAD_LETTER
        }
        return live <= reading.ended

    def _append(self, lines: Sequence[str]) -> None:
        with self._queue.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    async def _read(self) -> list[Progress]:
        mo_ids = [order.mo_id for order in self._script.orders]
        async with self._database.cursor(TENANT) as cursor:
            cursor.filtered = False  # it looks at whole tables, so at the tenant's part of them
            await cursor.execute(_ORDERS, [mo_ids])
            states = {row["mo_id"]: ManagerState(row["state"]) for row in await cursor.fetchall()}
            await cursor.execute(_FOLLOWER_ORDERS, [mo_ids])
            rows = await cursor.fetchall()
        now = datetime.now(UTC)
        readings = []
        for order in self._script.orders:
            mine = [row for row in rows if row["mo_id"] == order.mo_id]
            waiting = tuple(
                Waiting(
                    row["follower_id"],
                    row["dispatch_attempts"],
                    (row["next_attempt_at"] - now).total_seconds(),
                    row["last_error"] or "",
                )
                for row in mine
                if row["next_attempt_at"] is not None and row["state"] in {FollowerState.RETRY, FollowerState.UNKNOWN}
            )
            counts = Counter(FollowerState(row["state"]) for row in mine)
            ended = frozenset(row["follower_id"] for row in mine if row["state"] in FOLLOWER_ENDS)
            readings.append(Progress(order, states.get(order.mo_id), counts, waiting, ended))
        return readings

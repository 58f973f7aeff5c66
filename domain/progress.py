"""An order's progress as it is told, event by event. Pure.

Whoever resumes after an event is told the rest in the same words: all of it follows from the audit log alone.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.orders import MANAGER_TRANSITIONS, ManagerState

ORDER, FOLLOWER_ORDER, END, CLOSED = "order", "follower_order", "end", "closed"
_ENDS = frozenset(state for state, to in MANAGER_TRANSITIONS.items() if not to) | {ManagerState.SETTLED_WITH_ERRORS}
# Of what an event says, what somebody who watches an order wants to know; a sizing trace is not progress.
_TOLD = (
    "follower_id", "symbol", "side", "qty", "leg", "reason", "last_error", "filled_qty", "avg_price", "fill_id",
    "price", "source",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Logged:
    """An audit event of the order; `payload` without what is never told."""

    event_id: int
    entity: str
    entity_id: str
    action: str
    payload: Mapping[str, Any]
    ts: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """`event_id` is None for what sums up the events before it: it may be told again, or never."""

    name: str
    data: Mapping[str, Any]
    event_id: int | None = None


@dataclass(slots=True)
class Progress:
    """Where an order stands after the events that `tell` has been given, which must come in their order."""

    mo_id: str
    state: str = ManagerState.RECEIVED.value
    counts: Counter[str] = field(default_factory=Counter)

    def tell(self, events: Iterable[Logged], *, after: int = 0) -> list[Told]:
        """What is to be told of these events; those up to number `after` only count.

        Where followers' orders have moved, the order with its counts comes after them.
        """
        told: list[Told] = []
        summed_up = True
        for event in events:
            if event.entity == "follower_order":
                self._count(event)
                if event.event_id > after:
                    told.append(Told(FOLLOWER_ORDER, self._follower_order(event), event.event_id))
                    summed_up = False
            elif event.entity == "manager_order":
                self.state = event.payload.get("to", self.state)
                if event.event_id > after:
                    told.append(Told(ORDER, self._order(event), event.event_id))
                    summed_up = True
        if not summed_up:
            told.append(Told(ORDER, self._order(None)))
        return told

    def end(self) -> Told:
        return Told(END, self._order(None))

    def _count(self, event: Logged) -> None:
        """By what each event says of its own step: an order of thousands of followers takes no more room than one."""
        state, before = event.payload.get("to"), event.payload.get("from")
        if state is None:
            return
        self.counts[state] += 1
        if before is not None:
            self.counts[before] -= 1

    def _order(self, event: Logged | None) -> dict[str, Any]:
        counts = {state: n for state, n in sorted(self.counts.items()) if n}
        told: dict[str, Any] = {"mo_id": self.mo_id, "state": self.state, "follower_states": counts}
        if event is not None:
            told |= {"action": event.action, "reason": event.payload.get("reason"), "ts": event.ts}
        return told

    def _follower_order(self, event: Logged) -> dict[str, Any]:
        payload = event.payload
        told: dict[str, Any] = {"mo_id": self.mo_id, "fo_id": event.entity_id, "action": event.action}
        told |= {"state": payload.get("to"), "attempt": payload.get("dispatch_attempts"), "ts": event.ts}
        return told | {name: payload[name] for name in _TOLD if payload.get(name) is not None}


def is_over(state: str, *, live: bool) -> bool:
    """Whether nothing of the order may move by itself any more; what an operator sends again makes it live again."""
    return not live and state in _ENDS


class Horizon:
    """Up to which event the log is whole: no event with a lower number may still come to light.

    Numbers are given while a transaction is under way and show with its commit, so that a lower one may show later.
    Whoever writes events holds a lock on their table from before the number is given until after the commit. So what is
    hidden below a number that shows is of a transaction that held the lock when that number was seen, and holds it
    still; once each of those has let go, nothing is hidden below it.
    """

    def __init__(self, most: int = 16) -> None:
        self.settled = 0
        self._waiting: deque[tuple[int, frozenset[str]]] = deque()
        self._most = most

    def look(self, newest: int, writers: Collection[str]) -> int:
        """The number up to which all is there for whoever reads events after this look.

        `newest` is the highest number that shows; `writers`, read after it, are the transactions that hold the lock.
        """
        self._waiting = deque((seen, held & frozenset(writers)) for seen, held in self._waiting)
        if newest > self.settled and len(self._waiting) < self._most:
            self._waiting.append((newest, frozenset(writers)))
        while self._waiting and not self._waiting[0][1]:
            self.settled = max(self.settled, self._waiting.popleft()[0])
        return self.settled

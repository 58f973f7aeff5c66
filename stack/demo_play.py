"""The whole demonstration once it is over: who was to do what, and what each really did, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from domain import ids
from stack.demo_facts import Facts
from stack.demo_scenario import Outcome, QueuedOrder, Script
from stack.demo_stage import Enrolled


@dataclass(frozen=True, slots=True)
class Part:
    """One follower in one manager order. `found` is its follower order in the DAG, where there is one."""

    order: QueuedOrder
    follower: Enrolled
    found: Mapping[str, Any] | None

    @property
    def expected(self) -> Outcome:
        return self.order.expected(self.follower.member)

    @property
    def route(self) -> str:
        return self.follower.member.route

    @property
    def fo_id(self) -> str:
        return ids.follower_order_id(self.order.mo_id, self.follower.follower_id)

    @property
    def name(self) -> str:
        return f"{self.order.title}, {self.follower.member.label}"

    def fault(self) -> str | None:
        """What differs from what was expected, or None."""
        if self.found is None:
            return "has no order"
        want, found = self.expected, self.found
        compared = {
            "state": (want.state.value, found["state"]),
            "size": (want.qty, Decimal(found["qty"])),
            "attempts": (want.attempts, found["dispatch_attempts"]),
            "filled": (want.filled, Decimal(found["filled_qty"])),
            "reason": (want.reason, found["reason"] if want.reason is not None else None),
        }
        return (
            ", ".join(f"{n} {got} instead of {to_be}" for n, (to_be, got) in compared.items() if got != to_be) or None
        )

    def waits_s(self) -> list[float]:
        """From each attempt's end to the next one's start."""
        attempts = self.found["attempts"] if self.found else []
        return [
            (datetime.fromisoformat(later["started_at"]) - datetime.fromisoformat(earlier["ended_at"])).total_seconds()
            for earlier, later in pairwise(attempts)
            if earlier["ended_at"] is not None
        ]


@dataclass(frozen=True, slots=True)
class Play:
    script: Script
    enrolled: Sequence[Enrolled]
    facts: Facts

    def parts(self, order: QueuedOrder | None = None) -> Iterator[Part]:
        """All of them, or those of one order."""
        for each in self.script.orders if order is None else (order,):
            found = {o["follower_id"]: o for o in self.facts.dags[each.mo_id]["follower_orders"]}
            for follower in self.enrolled:
                if follower.cast is each.cast:
                    yield Part(each, follower, found.get(follower.follower_id))

"""Whether the demonstration ended as it should. Pure: what happened in, verdicts out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from domain import retry
from stack import demo_elsewhere as elsewhere
from stack.demo_play import Part, Play

# Between the due time and the next send lie a workflow task and a claim; on a busy machine they take a while.
_LATE_S = 5.0
_CLOCK_S = 0.1
_JITTER = float(retry.JITTER)


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation; `faults` says, one line each, where it does not hold."""

    name: str
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults


def check(play: Play) -> list[Check]:
    """Every expectation of the demonstration, in the order in which things happen."""
    return [Check(name, tuple(faults(play))) for name, faults in _EXPECTATIONS.items()]


def _queue(play: Play) -> Iterator[str]:
    orders, facts = play.script.orders, play.facts
    if facts.ingested != len(orders):
        yield f"{facts.ingested} entries were taken, not {len(orders)}"
    for order in orders:
        state = facts.dags[order.mo_id].get("manager_order", {}).get("state")
        if state != order.ends:
            yield f"{order.title} is {state} instead of {order.ends}"


def _rejects(play: Play) -> Iterator[str]:
    rejects = play.facts.rejects
    if [r["entry"] for r in rejects] != list(play.script.bad):
        yield f"{len(rejects)} lines were rejected, not {len(play.script.bad)}"
    if not all(r["reason"] for r in rejects):
        yield "a rejected line has no reason"


def _orders(play: Play) -> Iterator[str]:
    for part in play.parts():
        if fault := part.fault():
            yield f"{part.name}: {fault}"


def _waits(play: Play) -> Iterator[str]:
    for part in play.parts():
        for number, wait in enumerate(part.waits_s()):
            planned = float(retry.WAITS_S[number])
            asked = _retry_after(part) if number == 0 else 0.0
            least = max(planned * (1 - _JITTER), asked)
            most = max(planned * (1 + _JITTER), asked) + _LATE_S
            if not least - _CLOCK_S <= wait <= most:
                yield f"{part.name}: attempt {number + 2} came after {wait:.1f} s"


def _retry_after(part: Part) -> float:
    member = part.follower.member
    behaviour = member.account.get("behaviour", {})
    return float(member.receiver.get("retry_after") or behaviour.get("fault", {}).get("retry_after_s") or 0)


_EXPECTATIONS: dict[str, Callable[[Play], Iterator[str]]] = {
    "every good line of the queue became exactly one manager order": _queue,
    "the bad line is in the rejects file, with its reason": _rejects,
    "every follower order has its expected state, size, attempts and fill": _orders,
    "retries came after 1, 5, 15 and 60 s, and not before Retry-After": _waits,
    "the broker booked each order exactly once": elsewhere.booked,
    "every delivery was processed once, under one id, its signatures valid": elsewhere.delivered,
    "the dead letter is in the table and in the stream, with its attempts": elsewhere.buried,
    "positions equal the broker's, and what the webhooks confirmed": elsewhere.positions,
    "every audit event reached the event bus once": elsewhere.events,
    "each order's trade log is in S3, one line per audit event": elsewhere.trade_logs,
}

"""Why a follower's position is not what it should be, and what may be done about it. Pure; no clock, no network.

Three quantities: `expected` by its orders (`domain.expectation`), `booked` in our positions, `actual` at its broker, or
by its receiver's receipts. What is missing between them is classified by evidence, one cause at a time: what is under
way, then what we failed to book, then what is gone from the account, then what never was sent or filled, then what the
account holds beyond ours. Signed units.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.evidence import Account, Evidence, Policy
from domain.expectation import ZERO, Cause, Expectation, OrderFact, expect
from domain.ports import AccountOrder, VenueOrder, VenueStatus
from domain.sizing import floor_to, plain

__all__ = ["Account", "Action", "ActionKind", "DriftFinding", "Evidence", "Policy", "classify"]
_LISTED = 20
_VENUE_OVER = frozenset(
    {VenueStatus.FILLED, VenueStatus.CANCELLED, VenueStatus.EXPIRED, VenueStatus.REJECTED}
)  # fmt: skip
# Where two parts are equally large, the one that more can be done about is named.
_RANK = (Cause.KILL_OR_SKIP, Cause.CAP, Cause.ROUNDING)
_BPS = Decimal("0.01")


class ActionKind(StrEnum):
    BOOK_FILL = "book_fill"
    ADOPT = "adopt"
    REDUCE = "reduce"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Action:
    """`qty` is what it adds to our books, signed; `fills` are the broker's orders of ours that it books."""

    kind: ActionKind
    qty: Decimal
    fills: tuple[VenueOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """`cause` is None where everything is as it should be. `drift_bps`: actual P&L less expected, of `base_usd`."""

    follower_id: str
    symbol: str
    expected: Decimal
    booked: Decimal
    actual: Decimal | None
    cause: Cause | None
    evidence: dict[str, Any] = field(default_factory=dict)
    action: Action | None = None
    drift_bps: Decimal | None = None

    @property
    def is_drift(self) -> bool:
        """What is under way is none yet."""
        return self.cause not in {None, Cause.IN_FLIGHT}


def classify(evidence: Evidence) -> DriftFinding:
    """Never raises; the same evidence in any order gives the same finding."""
    opening = evidence.booked - sum((f.qty for f in evidence.fills), ZERO)
    x = expect(opening, evidence.orders, evidence.fills, evidence.step, evidence.mark)
    return _Case(evidence, x).finding()


@dataclass(slots=True)
class _Case:
    e: Evidence
    x: Expectation
    why: dict[str, Any] = field(default_factory=dict)

    def finding(self) -> DriftFinding:
        cause, action = self._decide()
        if cause is not None:
            self._tell(cause)
        if action is not None and (held_back := self._held_back(action)):
            self.why["held_back"] = held_back
            action = None
        return DriftFinding(
            self.e.follower_id, self.e.symbol, self.x.expected, self.e.booked, self._actual(), cause, self.why,
            action, self._drift_bps(),
        )  # fmt: skip

    def _decide(self) -> tuple[Cause | None, Action | None]:
        e, gap = self.e, self.x.expected - self.e.booked
        if self._under_way():
            return Cause.IN_FLIGHT, None
        if e.unreachable is not None:
            return (Cause.UNKNOWN if e.booked != 0 or gap != 0 else None), None
        if missed := self._missed():
            return Cause.MISSED_FILL, self._book(missed)
        rest = (self._actual() or ZERO) - e.booked
        if rest * e.booked < 0:
            return self._deficit(rest)
        if gap != 0:
            return self._shortfall(gap)
        return (None, None) if rest == 0 else self._surplus(rest)

    def _actual(self) -> Decimal | None:
        if self.e.account is not None:
            return self.e.account.qty
        return None if self.e.unreachable is not None else self.x.held

    def _under_way(self) -> list[str]:
        """Our orders that may still change by themselves."""
        over = {o.order.client_order_id for o in self._venue_orders() if o.order.status in _VENUE_OVER}
        return sorted(o.fo_id for o in self.e.orders if not o.is_over and not (o.fo_id in over and o.is_stale))

    def _venue_orders(self) -> tuple[AccountOrder, ...]:
        return () if self.e.account is None else self.e.account.orders

    def _missed(self) -> list[tuple[OrderFact, AccountOrder]]:
        """Orders of ours of which the broker has filled more than we have booked."""
        ours = {o.fo_id: o for o in self.e.orders}
        found = [(ours[v.order.client_order_id], v) for v in self._venue_orders() if v.order.client_order_id in ours]
        return sorted(((o, v) for o, v in found if v.order.filled_qty > o.filled), key=lambda pair: pair[0].fo_id)

    def _book(self, missed: list[tuple[OrderFact, AccountOrder]]) -> Action:
        self.why["missed"] = [
            {"fo_id": o.fo_id, "ref": v.order.ref, "filled": plain(v.order.filled_qty), "booked": plain(o.filled)}
            for o, v in missed[:_LISTED]
        ]
        qty = sum((o.side.sign * (v.order.filled_qty - o.filled) for o, v in missed), ZERO)
        return Action(ActionKind.BOOK_FILL, qty, tuple(v.order for _, v in missed))

    def _deficit(self, rest: Decimal) -> tuple[Cause, Action | None]:
        """The account holds less than our books say, or the other side."""
        if not self._own_trade(rest):
            return (Cause.ROUNDING if abs(rest) < self.e.step else Cause.UNKNOWN), None
        # Down to nothing at most: a position on the other side is the follower's own.
        qty = rest if abs(rest) <= abs(self.e.booked) else -self.e.booked
        return Cause.OWN_TRADE, Action(ActionKind.ADOPT, qty)

    def _surplus(self, rest: Decimal) -> tuple[Cause, None]:
        """More than ours is in the account: the follower's own, and nothing of our business."""
        if self._own_trade(rest):
            return Cause.OWN_TRADE, None
        return (Cause.ROUNDING if abs(rest) < self.e.step else Cause.UNKNOWN), None

    def _own_trade(self, rest: Decimal) -> bool:
        """Whether orders that are not ours, since we last took such over, moved the position as far this way."""
        own = [o for o in self._own_orders() if o.side.sign * rest > 0]
        self.why["own"] = [
            {"ref": o.order.ref, "side": o.side.value, "filled": plain(o.order.filled_qty), "at": o.submitted_at}
            for o in own[-_LISTED:]
        ]
        return bool(own) and sum((o.order.filled_qty for o in own), ZERO) >= abs(rest)

    def _own_orders(self) -> list[AccountOrder]:
        ours, since = {o.fo_id for o in self.e.orders}, self.x.adopted_at
        own = [
            o
            for o in self._venue_orders()
            if o.order.filled_qty > 0
            and o.order.client_order_id not in ours
            and (since is None or o.submitted_at > since)
        ]
        return sorted(own, key=lambda o: (o.submitted_at, o.order.ref))

    def _shortfall(self, gap: Decimal) -> tuple[Cause, Action | None]:
        """Our books differ from what is expected: the largest part names the cause."""
        if abs(gap) < self.e.step:
            return Cause.ROUNDING, None
        parts = [(abs(self.x.parts.get(cause, ZERO)), -rank, cause) for rank, cause in enumerate(_RANK)]
        size, _, cause = max(parts)
        if size == 0:
            return Cause.UNKNOWN, None
        if cause is not Cause.KILL_OR_SKIP:
            return cause, None
        return cause, self._correction(gap)

    def _correction(self, gap: Decimal) -> Action | None:
        if gap * self.e.booked < 0:
            qty = -self.e.booked if abs(gap) >= abs(self.e.booked) else floor_to(gap, self.e.step)
            return Action(ActionKind.REDUCE, qty) if qty != 0 else None
        part = self.x.parts[Cause.KILL_OR_SKIP]  # what a cap has taken stays taken
        qty = floor_to(min(gap, part, key=abs) if part * gap > 0 else ZERO, self.e.step)
        return Action(ActionKind.OPEN, qty) if qty != 0 else None

    def _held_back(self, action: Action) -> str | None:
        """Why an action that the evidence asks for is not taken."""
        if self.e.policy is Policy.OBSERVE:
            return "the follower's policy is to observe"
        if action.kind is ActionKind.ADOPT and all(o.turned_away for o in self.e.orders):
            return "there is no order to book it under"
        if action.kind in {ActionKind.BOOK_FILL, ActionKind.ADOPT}:
            return None
        if self.e.stopped:
            return "a kill switch, a halt or a maintenance keeps orders from this follower"
        if self.x.failed_correction is not None:
            return f"an earlier correction did not fill: {self.x.failed_correction}"
        return self._not_opened(action) if action.kind is ActionKind.OPEN else None

    def _not_opened(self, action: Action) -> str | None:
        if self.e.policy is not Policy.CORRECT_AND_OPEN:
            return "the follower's policy opens nothing"
        if self.e.opens_stopped:
            return "a halt keeps what opens from this follower"
        if self.e.is_webhook:
            return "nobody can tell what a webhook follower has closed by hand"
        if any(o.side.sign * action.qty < 0 for o in self._own_orders()):
            return "the follower has closed by hand"
        behind = self.x.orders.get(Cause.KILL_OR_SKIP, [])
        if any(o.expires_at is not None and o.expires_at <= self.e.now for o in behind):
            return "the manager's order has expired"
        return None

    def _drift_bps(self) -> Decimal | None:
        base = self.e.base_usd
        if base is None or base <= 0 or self.e.mark is None:
            return None
        return ((self.x.actual_pnl - self.x.expected_pnl) / base * 10_000).quantize(_BPS)

    def _tell(self, cause: Cause) -> None:
        self.why["source"] = "receipts" if self.e.is_webhook else "venue"
        if self.e.unreachable is not None:
            self.why["unreachable"] = self.e.unreachable
        if cause is Cause.IN_FLIGHT:
            self.why["in_flight"] = self._under_way()[:_LISTED]
        if self.x.parts:
            self.why["parts"] = {c.value: plain(q) for c, q in sorted(self.x.parts.items()) if q != 0}
            self.why["orders"] = {c.value: _ids(orders) for c, orders in sorted(self.x.orders.items())}
        if not self.why.get("own", True):
            del self.why["own"]


def _ids(orders: Iterable[OrderFact]) -> list[dict[str, Any]]:
    shown = list(orders)[-_LISTED:]
    return [{"fo_id": o.fo_id, "state": o.state.value, "reason": o.reason} for o in shown]

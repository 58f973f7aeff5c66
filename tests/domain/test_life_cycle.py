"""A follower order under any interleaving of claims, answers, venue reports, crashes and cancels."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain import guards
from domain.dispatch import Change, NewFill, PendingOrder, absent, orphaned, reported, resolve
from domain.errors import IllegalTransition
from domain.orders import FOLLOWER_ENDS, FOLLOWER_TRANSITIONS, FollowerState, ManagerState
from domain.ports import OutcomeKind, ReportedFill, VenueOrder, VenueStatus
from domain.redrive import refusal, reopened
from domain.retry import MAX_ATTEMPTS
from tests.domain.life import follow
from tests.domain.pending import NOW, outcome, pending, redrive_facts, venue_order

F = FollowerState


class OrderLife(RuleBasedStateMachine):
    """`taken` is what the other side has really got of us: it may fill from then on, and only then."""

    def __init__(self) -> None:
        super().__init__()
        self.order: PendingOrder = pending(state=F.SIZED, attempts=0)
        self.states = [F.SIZED]
        self.booked: dict[str, NewFill] = {}
        self.taken = 0
        self.venue_filled = 0
        self.venue_end: VenueStatus | None = None
        self.cancelled = False
        self.outcomes: list[str | None] = []

    @initialize(route=st.sampled_from(["webhook", "alpaca"]), failed=st.integers(0, 4))
    def begin(self, route: str, failed: int) -> None:
        """`failed` attempts have already been answered with "try again"."""
        self.order = replace(self.order, route=route, attempts=failed, state=F.RETRY if failed else F.SIZED)
        self.states = [F.SIZED, *[F.SENT, F.RETRY] * failed]
        self.outcomes = ["retryable"] * failed

    @precondition(lambda self: self.order.state in {F.SIZED, F.RETRY} or self._may_resend())
    @rule()
    def claim(self) -> None:
        stop = guards.check(self.order.guards, NOW)
        if stop is None:
            self._do(Change("FO-1", self.order.state, (F.SENT,), attempts=self.order.attempts + 1))
        elif self.order.state is F.UNKNOWN:
            self._do(Change("FO-1", F.UNKNOWN, (F.DEAD_LETTER,), reason=stop.reason))
        else:
            self._do(Change("FO-1", self.order.state, (stop.state,), reason=stop.reason))

    @precondition(lambda self: self.order.state is F.SENT)
    @rule(kind=st.sampled_from(OutcomeKind), arrived=st.booleans(), part=st.integers(1, 20))
    def answer(self, kind: OutcomeKind, arrived: bool, part: int) -> None:
        self.order = replace(self.order, maybe_there=self.order.is_webhook and "ambiguous" in self.outcomes)
        self.outcomes.append(kind.value)
        if kind is OutcomeKind.ACK or (kind is OutcomeKind.AMBIGUOUS and arrived):
            self.taken = 1
        fills = (ReportedFill("a", Decimal(part), Decimal(100)),) if kind is OutcomeKind.ACK else ()
        self._do(resolve(self.order, outcome(kind, fills=fills if self.order.is_webhook else ())))

    @precondition(lambda self: self.order.state is F.SENT)
    @rule(arrived=st.booleans())
    def crash(self, arrived: bool) -> None:
        self.taken = self.taken or int(arrived)
        self.outcomes.append("ambiguous")
        self._do(orphaned(self.order))

    @precondition(lambda self: self.taken and not self.order.is_webhook and self.venue_end is None)
    @rule(by=st.integers(0, 10), end=st.none() | st.sampled_from([VenueStatus.CANCELLED, VenueStatus.EXPIRED]))
    def trade_at_venue(self, by: int, end: VenueStatus | None) -> None:
        self.venue_filled = min(10, self.venue_filled + by)
        self.venue_end = VenueStatus.FILLED if self.venue_filled == 10 else end

    @precondition(lambda self: self._is_asked())
    @rule(stale=st.booleans())
    def ask_venue(self, stale: bool) -> None:
        if not self.taken:
            self._do(absent(self.order) if self.order.state is F.UNKNOWN else Change("FO-1", self.order.state))
        else:
            self._do(reported(self.order, self._report(stale=stale), "alpaca"))

    @precondition(lambda self: not self.cancelled)
    @rule()
    def cancel(self) -> None:
        self.cancelled = True
        if self.order.state in {F.SIZED, F.RETRY}:
            self._do(Change("FO-1", self.order.state, (F.CANCELLED,), reason="manager_order_cancelled"))
        facts = replace(self.order.guards, manager_state=ManagerState.CANCELLED)
        self.order = replace(self.order, guards=facts)

    @precondition(lambda self: self.order.state not in FOLLOWER_ENDS)
    @rule()
    def give_up(self) -> None:
        self._do(Change("FO-1", self.order.state, (F.DEAD_LETTER,), reason="unresolved"))

    @precondition(lambda self: self.order.state is F.DEAD_LETTER and not (self.order.is_webhook and self.booked))
    @rule()
    def redrive(self) -> None:
        """By an operator, as domain.redrive decides: `unknown` unless no attempt can have arrived."""
        facts = redrive_facts(self.order, outcomes=tuple(self.outcomes))
        if refusal(facts, NOW) is None:
            self._do(Change("FO-1", F.DEAD_LETTER, (reopened(facts),), reason="redriven"))
            self.order = replace(self.order, attempts_base=self.order.attempts)

    @precondition(lambda self: self.order.state in FOLLOWER_ENDS)
    @rule(target_state=st.sampled_from(FollowerState))
    def stay_ended(self, target_state: FollowerState) -> None:
        if target_state not in FOLLOWER_TRANSITIONS[self.order.state]:
            with pytest.raises(IllegalTransition):
                Change("FO-1", self.order.state, (target_state,))

    @invariant()
    def moved_by_the_table_only(self) -> None:
        assert all(b in FOLLOWER_TRANSITIONS[a] for a, b in pairwise(self.states))
        assert self.states[-1] is self.order.state

    @invariant()
    def filled_no_more_than_ordered_and_what_was_booked(self) -> None:
        assert self.order.filled_qty == sum(f.qty for f in self.booked.values())
        assert 0 <= self.order.filled_qty <= self.order.qty

    @invariant()
    def is_never_sent_more_than_five_times_a_round(self) -> None:
        assert self.order.tries <= MAX_ATTEMPTS
        assert self.states.count(F.SENT) == self.order.attempts

    @invariant()
    def is_never_called_dead_on_arrival_after_it_may_have_arrived(self) -> None:
        if self.order.state in {F.KILLED, F.CANCELLED} and not self.booked and self.venue_end is None:
            assert not self.taken

    def _may_resend(self) -> bool:
        return self.order.state is F.UNKNOWN and self.order.is_webhook

    def _is_asked(self) -> bool:
        return not self.order.is_webhook and self.order.state in {F.UNKNOWN, F.ACK, F.PARTIALLY_FILLED}

    def _report(self, *, stale: bool) -> VenueOrder:
        """What the venue says now, or what it said before its last trades."""
        if stale or self.venue_end is None:
            filled = self.venue_filled // 2 if stale else self.venue_filled
            return venue_order(VenueStatus.PARTIALLY_FILLED if filled else VenueStatus.WORKING, filled, Decimal(100))
        return venue_order(self.venue_end, self.venue_filled, Decimal(100))

    def _do(self, change: Change) -> None:
        self.order = follow(self.order, change, self.booked, self.states)


OrderLife.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
test_any_life_of_an_order_stays_within_the_rules = OrderLife.TestCase

import itertools
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import retry
from domain.dispatch import Change, NewFill, absent, orphaned, reported, resolve, webhook_body
from domain.errors import IllegalTransition
from domain.orders import FOLLOWER_TRANSITIONS, FollowerState, OrderType
from domain.ports import OutcomeKind, ReportedFill, VenueOrder, VenueStatus
from domain.sizing import Effect
from tests.domain.life import follow
from tests.domain.pending import NOW, outcome, pending, venue_order

F = FollowerState
K = OutcomeKind
V = VenueStatus
ATTEMPTS = range(1, 6)


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("kind", [K.RETRYABLE, K.AMBIGUOUS])
def test_a_webhook_without_an_answer_waits_its_turn_and_dies_after_the_fifth(attempt: int, kind: OutcomeKind):
    change = resolve(pending(attempts=attempt), outcome(kind))
    waiting = F.UNKNOWN if kind is K.AMBIGUOUS else F.RETRY
    assert change.path == ((waiting,) if attempt < 5 else (F.DEAD_LETTER,))
    assert change.wait == retry.wait_after("FO-1", attempt)
    assert change.reason == (None if attempt < 5 else "retries_exhausted")
    assert change.last_error == f"test_{kind.value}"


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_broker_without_an_answer_is_asked_at_once_on_every_attempt(attempt: int):
    change = resolve(pending(route="alpaca", attempts=attempt), outcome(K.AMBIGUOUS))
    assert (change.path, change.wait) == ((F.UNKNOWN,), timedelta(0))


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_order_that_the_broker_never_got_is_sent_again_while_attempts_are_left(attempt: int):
    change = absent(pending(route="alpaca", state=F.UNKNOWN, attempts=attempt))
    assert change.path == ((F.RETRY,) if attempt < 5 else (F.DEAD_LETTER,))
    assert change.wait == retry.wait_after("FO-1", attempt)


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("route", ["webhook", "alpaca"])
def test_a_refusal_is_final_on_every_attempt(attempt: int, route: str):
    change = resolve(pending(attempts=attempt, route=route), outcome(K.FINAL, code="http_400", detail="no such symbol"))
    assert (change.path, change.wait) == ((F.REJECTED,), None)
    assert (change.reason, change.last_error) == ("http_400", "http_400: no such symbol")


def test_a_redriven_order_has_its_five_attempts_anew():
    again = pending(attempts=6, attempts_base=5)
    assert resolve(again, outcome(K.RETRYABLE)).target is F.RETRY
    assert resolve(replace(again, attempts=10), outcome(K.RETRYABLE)).target is F.DEAD_LETTER
    assert orphaned(again).path == (F.UNKNOWN,)


def test_a_redriven_order_that_its_broker_never_got_is_sent_at_once():
    change = absent(pending(route="alpaca", state=F.UNKNOWN, attempts=5, attempts_base=5))
    assert (change.target, change.wait) == (F.RETRY, timedelta(0))


def test_410_disables_the_endpoint():
    assert resolve(pending(), outcome(K.FINAL, disable_endpoint=True)).disable_endpoint
    assert not resolve(pending(), outcome(K.FINAL)).disable_endpoint


def test_retry_after_lengthens_the_wait():
    change = resolve(pending(), outcome(K.RETRYABLE, retry_after_s=30))
    assert change.wait == timedelta(seconds=30)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_bare_ack_of_a_webhook_confirms_and_books_at_the_snapshots_price(attempt: int):
    change = resolve(pending(attempts=attempt), outcome(K.ACK))
    assert change.path == (F.ACK, F.CONFIRMED)
    assert change.fills == (NewFill("FO-1:ack", Decimal(10), Decimal(200), "ack"),)
    assert change.filled_qty == 10
    assert change.avg_price == 200


def test_a_bare_ack_without_a_price_books_a_fill_without_a_price():
    change = resolve(pending(price=None), outcome(K.ACK))
    assert change.filled_qty == 10
    assert change.avg_price is None


def test_fills_in_the_answer_count_instead_of_the_order():
    fills = (ReportedFill("a", Decimal(4), Decimal(100)), ReportedFill("b", Decimal(6), Decimal(200)))
    change = resolve(pending(), outcome(K.ACK, fills=fills))
    assert change.path == (F.ACK, F.CONFIRMED)
    assert change.filled_qty == 10
    assert change.avg_price == 160
    assert [f.fill_id for f in change.fills] == ["FO-1:a", "FO-1:b"]


def test_fills_of_more_than_the_order_are_left_out_and_the_ack_stands():
    change = resolve(pending(), outcome(K.ACK, fills=(ReportedFill("a", Decimal(400), Decimal(1)),)))
    assert change.path == (F.ACK, F.CONFIRMED)
    assert change.fills == (NewFill("FO-1:ack", Decimal(10), Decimal(200), "ack"),)
    assert change.filled_qty == 10
    assert change.detail["code"] == "fills_ignored"


def test_fewer_fills_than_the_order_leave_it_partially_filled():
    change = resolve(pending(), outcome(K.ACK, fills=(ReportedFill("a", Decimal(4), Decimal(100)),)))
    assert change.path == (F.ACK, F.PARTIALLY_FILLED)
    assert change.filled_qty == 4


def test_a_brokers_bare_ack_waits_for_the_brokers_word():
    change = resolve(pending(route="alpaca"), outcome(K.ACK))
    assert (change.path, change.fills) == ((F.ACK,), ())


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_orphan_is_unknown_and_a_webhooks_last_one_is_dead(attempt: int):
    assert orphaned(pending(route="alpaca", attempts=attempt)).path == (F.UNKNOWN,)
    webhook = orphaned(pending(attempts=attempt))
    assert webhook.path == ((F.UNKNOWN,) if attempt < 5 else (F.UNKNOWN, F.DEAD_LETTER))
    assert webhook.reason == (None if attempt < 5 else "retries_exhausted")


OPEN = [F.SENT, F.UNKNOWN, F.ACK]
REPORTS = {
    V.WORKING: {F.SENT: [F.ACK], F.UNKNOWN: [F.ACK], F.ACK: []},
    V.FILLED: {F.SENT: [F.ACK, F.CONFIRMED], F.UNKNOWN: [F.ACK, F.CONFIRMED], F.ACK: [F.CONFIRMED]},
    V.CANCELLED: {F.SENT: [F.ACK, F.CANCELLED], F.UNKNOWN: [F.ACK, F.CANCELLED], F.ACK: [F.CANCELLED]},
    V.EXPIRED: {F.SENT: [F.ACK, F.CANCELLED], F.UNKNOWN: [F.ACK, F.CANCELLED], F.ACK: [F.CANCELLED]},
    V.REJECTED: {F.SENT: [F.REJECTED], F.UNKNOWN: [F.REJECTED], F.ACK: [F.REJECTED]},
}


@pytest.mark.parametrize("status", REPORTS)
@pytest.mark.parametrize("source", OPEN)
def test_a_report_leads_where_its_status_says(status: VenueStatus, source: FollowerState):
    filled = 10 if status is V.FILLED else 0
    change = reported(pending(route="alpaca", state=source), venue_order(status, filled, Decimal(100)), "alpaca")
    assert list(change.path) == REPORTS[status][source]
    assert sum(f.qty for f in change.fills) == filled
    assert change.broker_order_ref == "ref-1"


@pytest.mark.parametrize("status", [V.CANCELLED, V.EXPIRED, V.REJECTED])
def test_what_was_filled_before_the_end_is_kept(status: VenueStatus):
    change = reported(pending(route="alpaca"), venue_order(status, 4, Decimal(100)), "alpaca")
    assert change.target is F.CANCELLED
    assert change.filled_qty == 4
    assert change.reason == status.value


def test_an_end_that_knows_of_fewer_fills_than_we_do_takes_none_back():
    order = pending(route="alpaca", state=F.PARTIALLY_FILLED, filled_qty=Decimal(4), avg_price=Decimal(100))
    change = reported(order, venue_order(V.REJECTED), "alpaca")
    assert (change.path, change.fills, change.filled_qty) == ((F.CANCELLED,), (), None)
    assert change.detail["filled_qty"] == "4"


_cumulative = st.lists(st.integers(0, 10), min_size=1, max_size=6).map(sorted)
_lives = st.lists(st.integers(0, 5), max_size=8)


@given(_cumulative, _lives, st.sampled_from([F.SENT, F.UNKNOWN, F.ACK]), st.sampled_from([V.FILLED, V.CANCELLED]))
def test_fills_by_deltas_add_up_however_reports_repeat_or_overtake_each_other(
    sizes: list[int], picks: list[int], start: FollowerState, end: VenueStatus
):
    order = pending(route="alpaca", state=start)
    told = [sizes[pick % len(sizes)] for pick in picks]
    last = 10 if end is V.FILLED else sizes[-1]
    booked: dict[str, NewFill] = {}
    states = [start]
    for filled in told:
        status = V.PARTIALLY_FILLED if filled else V.WORKING
        order = follow(order, reported(order, venue_order(status, filled, Decimal(100)), "alpaca"), booked, states)
    order = follow(order, reported(order, venue_order(end, last, Decimal(100)), "alpaca"), booked, states)
    assert sum(f.qty for f in booked.values()) == order.filled_qty == last
    assert order.state is (F.CONFIRMED if end is V.FILLED else F.CANCELLED)
    assert all(b in FOLLOWER_TRANSITIONS[a] for a, b in itertools.pairwise(states))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 500)), min_size=1, max_size=6))
def test_the_prices_of_deltas_give_back_the_venues_average(steps: list[tuple[int, int]]):
    order, booked, states = pending(route="alpaca", qty=Decimal(100)), dict[str, NewFill](), [F.SENT]
    qty, value = Decimal(0), Decimal(0)
    for step, price in steps:
        qty, value = qty + step, value + step * price
        report = venue_order(V.PARTIALLY_FILLED, qty, value / qty)
        order = follow(order, reported(order, report, "alpaca"), booked, states)
    spent = sum((f.qty * f.price for f in booked.values() if f.price is not None), Decimal(0))
    assert abs(spent - value) < Decimal("1e-15")


_kinds = st.sampled_from(list(K))
_reports = st.builds(venue_order, st.sampled_from(V), st.integers(0, 10), st.none() | st.just(Decimal(100)))


@given(st.sampled_from(["webhook", "alpaca"]), st.integers(1, 9), _kinds, st.none() | st.integers(0, 99))
def test_no_answer_leads_to_an_illegal_path(route: str, attempts: int, kind: OutcomeKind, retry_after: int | None):
    # Change itself raises IllegalTransition, so that making one is the assertion.
    change = resolve(pending(route=route, attempts=attempts), outcome(kind, retry_after_s=retry_after))
    assert change.path
    assert (change.wait is not None) == (change.target in {F.RETRY, F.UNKNOWN})


@given(_reports, st.sampled_from([*OPEN, F.PARTIALLY_FILLED]), st.integers(1, 10))
def test_no_report_leads_to_an_illegal_path(report: VenueOrder, state: FollowerState, had: int):
    filled = Decimal(had) if state is F.PARTIALLY_FILLED else Decimal(0)
    order = pending(route="alpaca", state=state, filled_qty=filled, avg_price=Decimal(100))
    change = reported(order, report, "alpaca")
    assert all(fill.qty > 0 for fill in change.fills)


@pytest.mark.parametrize("state", FollowerState)
def test_a_change_with_an_illegal_path_cannot_be_made(state: FollowerState):
    illegal = set(F) - FOLLOWER_TRANSITIONS[state]
    for target in illegal:
        with pytest.raises(IllegalTransition):
            Change("FO-1", state, (target,))


def test_the_body_has_the_contracts_fields_and_nesting():
    order = pending(
        order_type=OrderType.LIMIT, limit_price=Decimal("199.50"), qty=Decimal("1.50"), persona="athena",
        max_pos_usd=Decimal(1_000), meta={"reason_vector": ["momentum"], "conviction": {"score": 1, "band": "high"}},
    )  # fmt: skip
    body = webhook_body(order, 2, NOW)
    assert set(body) >= {
        "ts", "follower_id", "vault_id", "symbol", "side", "qty", "time_in_force", "reason_vector", "conviction",
        "meta", "audit", "provenance",
    }  # fmt: skip
    assert body["ts"] == "2026-01-30T15:00:00Z"
    assert (body["qty"], body["qty_str"], body["limit_price_str"]) == (Decimal("1.5"), "1.5", "199.5")
    assert body["conviction"] == {"score": 1, "band": "high", "persona": "athena", "overrides": {}}
    assert {"manager_order_id", "scale", "max_pos_usd", "kill_switch"} <= set(body["meta"])
    assert body["audit"] == {"dag_id": "M-1", "dispatch_attempts": 2, "last_error": None, "state": "sent"}
    assert set(body["provenance"]) == {"collector", "enriched_at", "os_node", "features_used"}


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        (OutcomeKind.RETRYABLE, F.UNKNOWN, None),
        (OutcomeKind.AMBIGUOUS, F.UNKNOWN, None),
        (OutcomeKind.FINAL, F.DEAD_LETTER, "refused_after_silence"),
        (OutcomeKind.ACK, F.CONFIRMED, None),
    ],
)
def test_what_may_have_arrived_with_an_earlier_attempt_stays_in_doubt(
    kind: OutcomeKind, target: FollowerState, reason: str | None
):
    change = resolve(pending(attempts=2, maybe_there=True), outcome(kind))
    assert (change.target, change.reason) == (target, reason)


def test_a_reduction_says_that_it_closes_and_an_open_leaves_that_to_the_position():
    opens = pending()
    reduces = replace(opens, guards=replace(opens.guards, effect=Effect.REDUCE))
    assert (opens.child_order().closes, reduces.child_order().closes) == (None, True)

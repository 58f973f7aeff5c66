"""What time brings about: examples to the second, and what must hold of every life there may be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.billing import (
    Account,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Provider,
    Subscription,
    SubscriptionState,
)
from domain.entitlements import NOTHING
from domain.periods import next_end
from domain.plans import Interval, Plan
from domain.subscription_life import Happening, advance, next_step, resumed
from domain.subscriptions import TRANSITIONS, StepKind, Terms

_S = SubscriptionState
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
TERMS = Terms(7 * DAY, 30 * DAY, (DAY, 3 * DAY, 6 * DAY), 3 * DAY, timedelta(minutes=5), DAY)
PRO = Plan("pro", 1, "Pro", 19_900, Interval.MONTH, 14, NOTHING)
CORE = Plan("core", 1, "Core", 4_900, Interval.MONTH, 14, NOTHING)
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RENEWAL = datetime(2026, 2, 28, 12, tzinfo=UTC)
HELD = Subscription(
    "SUB-1", "t", "pro", 1, Provider.BTCPAY, _S.ACTIVE, anchor_at=START, period_start=START, renewal_at=RENEWAL,
    paid_through=RENEWAL, created_at=START,
)  # fmt: skip
CARD = replace(HELD, provider=Provider.STRIPE)


def account(held: Subscription, *invoices: Invoice) -> Account:
    return Account(held, PRO, CORE if held.scheduled_plan_id else None, invoices)


def at(held: Subscription, now: datetime, *, heard: bool = True, before: Subscription | None = None) -> Subscription:
    return advance(account(held), TERMS, now, heard=heard, before=before)[0]


def told(held: Subscription, now: datetime) -> list[str]:
    return [each.action for each in advance(account(held), TERMS, now, heard=True)[1]]


def step(held: Subscription, now: datetime, *, heard: bool = True) -> tuple[StepKind, datetime] | None:
    found = next_step(held, TERMS, now, heard=heard)
    return None if found is None else (found.kind, found.at)


def test_a_period_that_is_paid_for_is_entered_and_counted_from_the_anchor():
    ahead = replace(HELD, paid_through=datetime(2026, 3, 31, 12, tzinfo=UTC))
    assert at(ahead, RENEWAL - SECOND) == ahead
    rolled = at(ahead, RENEWAL)
    assert (rolled.status, rolled.period_start, rolled.renewal_at) == (_S.ACTIVE, RENEWAL, ahead.paid_through)
    assert told(ahead, RENEWAL) == ["renewed"]


def test_one_that_is_not_paid_is_past_due_since_its_renewal_and_only_where_that_was_heard():
    late = at(HELD, RENEWAL + HOUR)
    assert (late.status, late.past_due_since, late.grace_until) == (_S.PAST_DUE, RENEWAL, RENEWAL + 7 * DAY)
    assert not late.close_only
    assert at(HELD, RENEWAL + 100 * DAY, heard=False) == HELD


def test_grace_ends_in_close_only_and_a_payment_ends_both():
    late = at(HELD, RENEWAL)
    assert not at(late, RENEWAL + 7 * DAY - SECOND).close_only
    assert not at(late, RENEWAL + 8 * DAY, heard=False).close_only
    closed = at(late, RENEWAL + 7 * DAY)
    assert (closed.status, closed.close_only) == (_S.PAST_DUE, True)
    assert told(late, RENEWAL + 7 * DAY) == ["close_only", "reminded"]
    paid = replace(closed, paid_through=datetime(2026, 3, 31, 12, tzinfo=UTC))
    back, happened = advance(account(paid), TERMS, RENEWAL + 9 * DAY, heard=True)
    assert (back.status, back.close_only, back.past_due_since, back.grace_until, back.reminded) == (
        _S.ACTIVE, False, None, None, (),
    )  # fmt: skip
    assert [each.action for each in happened] == ["paid", "reopened", "renewed"]


def test_each_reminder_comes_once_and_those_that_were_missed_come_together():
    late = at(HELD, RENEWAL)
    first, happened = advance(account(late), TERMS, RENEWAL + DAY, heard=True)
    assert happened == (Happening("reminded", {"reminders": ["past_due/86400"]}),)
    assert told(first, RENEWAL + 2 * DAY) == []
    assert len(at(first, RENEWAL + 6 * DAY).reminded) == 3
    assert told(at(late, RENEWAL + 6 * DAY), RENEWAL + 6 * DAY) == []


def test_what_is_owed_for_too_long_is_given_up_and_may_still_be_paid():
    late = at(HELD, RENEWAL)
    assert at(late, RENEWAL + 30 * DAY - SECOND).status is _S.PAST_DUE
    given_up = at(late, RENEWAL + 30 * DAY)
    assert (given_up.status, given_up.close_only) == (_S.UNPAID, True)
    paid = replace(given_up, paid_through=datetime(2026, 4, 30, 12, tzinfo=UTC))
    assert at(paid, RENEWAL + 31 * DAY).status is _S.ACTIVE


def test_a_trial_is_told_of_before_it_ends_and_ends_as_it_is_paid():
    end = START + 14 * DAY
    trial = replace(HELD, status=_S.TRIALING, anchor_at=end, renewal_at=end, paid_through=end, trial_end=end)
    assert step(trial, START) == (StepKind.LOOK, START + DAY)
    assert step(trial, end - 3 * DAY - HOUR) == (StepKind.TRIAL_REMINDER, end - 3 * DAY)
    reminded = at(trial, end - 3 * DAY)
    assert reminded.reminded == ("trial",)
    assert told(reminded, end - DAY) == []
    assert step(reminded, end - HOUR) == (StepKind.TRIAL_END, end)
    assert at(reminded, end).status is _S.PAST_DUE
    paid = at(replace(reminded, paid_through=next_end(end, Interval.MONTH, end)), end)
    assert (paid.status, paid.period_start, paid.reminded) == (_S.ACTIVE, end, ())


def test_a_scheduled_downgrade_waits_for_the_renewal_at_both():
    ahead = replace(HELD, paid_through=datetime(2026, 3, 31, 12, tzinfo=UTC))
    scheduled = replace(ahead, scheduled_plan_id="core", scheduled_plan_version=1)
    assert at(scheduled, RENEWAL - SECOND).plan_id == "pro"
    assert at(scheduled, RENEWAL, heard=False) == scheduled
    assert (at(scheduled, RENEWAL).plan_id, at(scheduled, RENEWAL).scheduled_plan_id) == ("core", None)
    assert "downgraded" in told(scheduled, RENEWAL)
    card = replace(CARD, scheduled_plan_id="core", scheduled_plan_version=1)
    rolled = replace(card, period_start=RENEWAL, renewal_at=RENEWAL + 31 * DAY)
    assert at(card, RENEWAL, before=card).plan_id == "pro"  # Stripe has not renewed it yet
    assert at(rolled, RENEWAL, before=card).plan_id == "core"


def test_a_card_that_is_declined_has_grace_from_what_was_paid_for():
    declined = replace(CARD, status=_S.PAST_DUE, period_start=RENEWAL, renewal_at=RENEWAL + 31 * DAY)
    heard = at(declined, RENEWAL + 2 * HOUR, before=CARD)
    assert (heard.past_due_since, heard.grace_until) == (RENEWAL, RENEWAL + 7 * DAY)
    assert at(CARD, RENEWAL + 9 * DAY) == CARD  # until Stripe says so, it is not
    assert step(CARD, RENEWAL + HOUR) == (StepKind.LOOK, RENEWAL + HOUR + TERMS.look_again)


def test_what_stripe_says_of_a_card_does_not_undo_what_is_ours_to_say():
    declined = replace(CARD, status=_S.PAST_DUE, period_start=RENEWAL, renewal_at=RENEWAL + 31 * DAY)
    given_up = at(declined, RENEWAL + 30 * DAY, before=CARD)
    assert (given_up.status, given_up.close_only) == (_S.UNPAID, True)
    again = replace(given_up, status=_S.PAST_DUE)  # as Stripe goes on to say
    assert advance(account(again), TERMS, RENEWAL + 31 * DAY, heard=True, before=given_up) == (given_up, ())
    paid = replace(given_up, status=_S.ACTIVE, paid_through=given_up.renewal_at)
    back = at(paid, RENEWAL + 31 * DAY - HOUR, before=given_up)
    assert (back.status, back.close_only, back.grace_until, back.reminded) == (_S.ACTIVE, False, None, ())


def test_an_end_that_was_wished_comes_at_its_time():
    ending = replace(HELD, cancel_at=RENEWAL, scheduled_plan_id="core", scheduled_plan_version=1)
    assert step(ending, RENEWAL - HOUR) == (StepKind.CANCEL, RENEWAL)
    assert at(ending, RENEWAL, heard=False) == ending
    over = at(ending, RENEWAL + HOUR)
    assert (over.status, over.ended_at, over.close_only) == (_S.CANCELED, RENEWAL, True)
    assert step(over, RENEWAL + HOUR) is None
    assert at(over, RENEWAL + 99 * DAY) == over


def test_a_pause_ends_at_its_time_heard_or_not_and_moves_what_was_paid_for():
    paused = replace(HELD, status=_S.PAUSED, paused_at=START + DAY, resume_at=START + 50 * DAY, close_only=True)
    assert at(paused, START + 50 * DAY - SECOND) == paused
    assert step(paused, START + 49 * DAY + HOUR) == (StepKind.RESUME, START + 50 * DAY)
    for heard in (True, False):
        back = at(paused, START + 50 * DAY + HOUR, heard=heard)
        assert back == resumed(paused, START + 50 * DAY)
        assert (back.status, back.renewal_at, back.close_only) == (_S.ACTIVE, RENEWAL + 49 * DAY, False)


def test_who_never_paid_is_forgotten_unless_a_payment_is_under_way():
    fresh = replace(HELD, status=_S.INCOMPLETE, renewal_at=None, paid_through=None, anchor_at=None)
    assert step(fresh, START + 22 * HOUR + HOUR / 2 + SECOND) == (StepKind.EXPIRE, START + 23 * HOUR)
    assert at(fresh, START + 23 * HOUR, heard=False) == fresh
    gone = at(fresh, START + 24 * HOUR)
    assert (gone.status, gone.ended_at) == (_S.INCOMPLETE_EXPIRED, START + 23 * HOUR)
    coming = Invoice("IN-1", "SUB-1", Provider.BTCPAY, InvoiceKind.PERIOD, InvoiceStatus.PROCESSING, 19_900)
    assert advance(account(fresh, coming), TERMS, START + 24 * HOUR, heard=True)[0] == fresh


@dataclass(frozen=True)
class Moment:
    """A look after `wait`. `heard`; `pays`: the next period is paid before it."""

    wait: timedelta
    heard: bool
    pays: bool


MOMENTS = st.lists(
    st.builds(Moment, st.timedeltas(timedelta(minutes=1), 20 * DAY), st.booleans(), st.booleans()), max_size=25
)


def lived(moments: Sequence[Moment], held: Subscription) -> list[tuple[Moment, datetime, Subscription, Subscription]]:
    """(moment, time, before, after) of each look at a subscription that is paid in bitcoin."""
    now, found = START, []
    for moment in moments:
        now += moment.wait
        before, read = held, held
        if moment.heard and moment.pays and not held.over and held.paid_through is not None and held.anchor_at:
            read = replace(held, paid_through=next_end(held.anchor_at, PRO.interval, held.paid_through))
        held, _ = advance(account(read), TERMS, now, heard=moment.heard, before=before)
        found.append((moment, now, before, held))
    return found


STARTS = st.sampled_from([
    HELD,
    replace(HELD, status=_S.TRIALING, trial_end=RENEWAL),
    replace(HELD, cancel_at=RENEWAL),
    replace(HELD, scheduled_plan_id="core", scheduled_plan_version=1),
    replace(HELD, status=_S.PAUSED, paused_at=START, resume_at=RENEWAL, close_only=True),
    replace(HELD, status=_S.INCOMPLETE, renewal_at=None, paid_through=None, anchor_at=None),
])  # fmt: skip


@settings(max_examples=80)
@given(MOMENTS, STARTS)
def test_nothing_is_taken_away_while_the_payment_system_cannot_be_read(moments: list[Moment], start: Subscription):
    worse = {_S.PAST_DUE, _S.UNPAID, _S.CANCELED, _S.INCOMPLETE_EXPIRED, _S.PAUSED}
    for moment, _, before, after in lived(moments, start):
        if not moment.heard:
            assert not (after.close_only and not before.close_only)
            assert after.plan_id == before.plan_id
            assert after.status not in worse - {before.status}


@settings(max_examples=80)
@given(MOMENTS, STARTS)
def test_close_only_is_what_lies_beyond_grace_and_every_step_is_in_the_table(
    moments: list[Moment], start: Subscription
):
    for moment, now, before, after in lived(moments, start):
        if after.status is _S.PAST_DUE and moment.heard:
            assert after.grace_until is not None
            assert after.close_only == (after.grace_until <= now)
        elif after.status is not _S.PAST_DUE:
            assert after.close_only == (after.status in {_S.UNPAID, _S.PAUSED, _S.CANCELED})
        assert after.status is before.status or after.status in TRANSITIONS[before.status]
        if after.status in {_S.ACTIVE, _S.TRIALING}:
            assert after.past_due_since is None
            if moment.heard:  # whoever is in force has paid for now
                assert after.paid_through is not None
                assert after.paid_through > now


@settings(max_examples=80)
@given(MOMENTS, STARTS, st.booleans())
def test_looking_twice_changes_nothing_and_something_later_is_always_waited_for(
    moments: list[Moment], start: Subscription, heard: bool
):
    for moment, now, _, after in lived(moments, start):
        assert advance(account(after), TERMS, now, heard=moment.heard) == (after, ())
        step = next_step(after, TERMS, now, heard=heard)
        if after.over:
            assert step is None
        else:
            assert step is not None
            assert now < step.at <= now + TERMS.look_every


@settings(max_examples=60)
@given(MOMENTS, STARTS, st.timedeltas(timedelta(), 100 * DAY))
def test_however_often_it_was_looked_at_the_end_is_the_same(
    moments: list[Moment], start: Subscription, more: timedelta
):
    """Without payments, one look at the end sees what many have seen on the way."""
    unpaid = [replace(moment, pays=False) for moment in moments]
    end = sum((moment.wait for moment in unpaid), more) + HOUR
    many = lived([*unpaid, Moment(more + HOUR, heard=True, pays=False)], start)[-1][3]
    once = lived([Moment(end, heard=True, pays=False)], start)[-1][3]
    assert replace(many, reminded=()) == replace(once, reminded=())

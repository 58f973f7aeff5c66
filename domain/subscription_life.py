"""What time brings about in a subscription's life, and when it has to be looked at next. Pure.

At Stripe, Stripe says when a period or a trial is over and whether the next one is paid; what is paid in bitcoin is
counted here. Grace, reminders and giving up are ours at both. Something is taken away only where the payment system
was read after it was due (`heard`): while it cannot be read, everybody keeps what he has.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from domain.billing import Account, InvoiceStatus, Provider, Subscription, SubscriptionState
from domain.periods import next_end
from domain.subscriptions import CHECKOUT_WITHIN, Step, StepKind, Terms

_S = SubscriptionState
_PAID_UP = frozenset({_S.ACTIVE, _S.TRIALING})
_RENEWING = frozenset({_S.TRIALING, _S.ACTIVE, _S.PAST_DUE, _S.UNPAID})
_CLOSED = frozenset({_S.UNPAID, _S.PAUSED, _S.CANCELED})
TRIAL = "trial"
# Somebody is about to pay, and the event that he did may be lost.
_LOOK_FOR_FIRST_PAYMENT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Happening:
    """`action` is an audit event's; `detail` goes into its payload."""

    action: str
    detail: dict[str, Any] = field(default_factory=dict)


def advance(
    account: Account, terms: Terms, now: datetime, *, heard: bool, before: Subscription | None = None
) -> tuple[Subscription, tuple[Happening, ...]]:
    """The subscription as it stands at `now`, and what has happened to it since `before`, which is as it was stored.

    `heard`: `account` was read from the payment system just now. Carrying it out twice changes nothing more.
    """
    held = account.subscription
    was = before or held
    if not held.over:
        held = _ended(account, held, now) if heard else held
        if held.provider is Provider.BTCPAY:
            held = _rolled(account, _resumed_in_time(held, now), now, heard=heard)
        else:
            held = _downgraded(held, was, now)
        held = _late(_paid_up(held), terms, now) if heard else _paid_up(held)
        held = _remind_of_trial(held, terms, now)
    if held.status in _CLOSED:
        held = replace(held, close_only=True)
    if held.over and held.ended_at is None:
        held = replace(held, ended_at=now)
    return held, happened(was, held)


def _ended(account: Account, held: Subscription, now: datetime) -> Subscription:
    """What was never paid, and what is to end; at Stripe that is Stripe's to say."""
    if held.status is _S.INCOMPLETE:
        until = None if held.created_at is None else held.created_at + CHECKOUT_WITHIN
        under_way = any(invoice.status is InvoiceStatus.PROCESSING for invoice in account.invoices)
        if until is not None and until <= now and not under_way:
            return replace(held, status=_S.INCOMPLETE_EXPIRED, ended_at=until)
    elif held.provider is Provider.BTCPAY and held.cancel_at is not None and held.cancel_at <= now:
        return replace(_unscheduled(held), status=_S.CANCELED, ended_at=held.cancel_at)
    return held


def resumed(held: Subscription, at: datetime) -> Subscription:
    """After a pause in which time stood still: what was paid for lasts longer by as long as it was paused."""
    pause = at - (held.paused_at or at)
    moved = {
        name: getattr(held, name) + pause
        for name in ("anchor_at", "period_start", "renewal_at", "paid_through", "cancel_at")
        if getattr(held, name) is not None
    }
    return replace(held, status=_S.ACTIVE, paused_at=None, resume_at=None, close_only=False, **moved)


def _resumed_in_time(held: Subscription, now: datetime) -> Subscription:
    due = held.status is _S.PAUSED and held.resume_at is not None and held.resume_at <= now
    return resumed(held, held.resume_at) if due and held.resume_at is not None else held


def _rolled(account: Account, held: Subscription, now: datetime, *, heard: bool) -> Subscription:
    """Bitcoin: into the periods that are paid for already; past due where the next one is not."""
    plan = account.plan
    if held.status not in _RENEWING:
        return held
    end = held.renewal_at or held.trial_end
    while end is not None and end <= now:
        if held.paid_through is None or held.paid_through <= end:
            lapses = heard and held.status in _PAID_UP
            return replace(held, status=_S.PAST_DUE, past_due_since=end) if lapses else held
        if held.scheduled_plan_id is not None and account.scheduled is not None:
            if not heard:
                return held
            plan, held = account.scheduled, _on_scheduled(held)
        start, anchor = end, held.anchor_at or end
        end = next_end(anchor, plan.interval, start)
        held = replace(held, status=_S.ACTIVE, anchor_at=anchor, period_start=start, renewal_at=end)
    return held


def _downgraded(held: Subscription, was: Subscription, now: datetime) -> Subscription:
    """Stripe: the plan that was scheduled, once the period that it waited for is over there."""
    if held.scheduled_plan_id is None or was.renewal_at is None or held.renewal_at is None:
        return held
    over = was.renewal_at <= now and was.renewal_at < held.renewal_at
    return _on_scheduled(held) if over else held


def _on_scheduled(held: Subscription) -> Subscription:
    assert held.scheduled_plan_id is not None
    version = held.scheduled_plan_version or 1
    return replace(_unscheduled(held), plan_id=held.scheduled_plan_id, plan_version=version)


def _unscheduled(held: Subscription) -> Subscription:
    return replace(held, scheduled_plan_id=None, scheduled_plan_version=None)


def _paid_up(held: Subscription) -> Subscription:
    """Who has paid is owed everything again, and is reminded anew the next time."""
    if held.status not in _PAID_UP:
        return held
    kept = tuple(key for key in held.reminded if key == TRIAL and held.status is _S.TRIALING)
    return replace(held, past_due_since=None, grace_until=None, close_only=False, reminded=kept)


def _late(held: Subscription, terms: Terms, now: datetime) -> Subscription:
    """Whoever owes is reminded, each time once, then may only close, and is given up at last."""
    if held.status is not _S.PAST_DUE:
        return held
    since = held.past_due_since or min(now, held.paid_through or now)
    grace_until = held.grace_until or since + terms.grace
    due = {_reminder(wait.total_seconds()): since + wait for wait in terms.reminders}
    new = tuple(key for key, at in due.items() if at <= now and key not in held.reminded)
    return replace(
        held,
        past_due_since=since,
        grace_until=grace_until,
        reminded=held.reminded + new,
        close_only=held.close_only or grace_until <= now,
        status=_S.UNPAID if since + terms.unpaid <= now else held.status,
    )


def _reminder(seconds: float) -> str:
    return f"past_due/{int(seconds)}"


def _remind_of_trial(held: Subscription, terms: Terms, now: datetime) -> Subscription:
    at = _trial_reminder(held, terms)
    if at is None or held.trial_end is None or not at <= now < held.trial_end:
        return held
    return replace(held, reminded=(*held.reminded, TRIAL))


def _trial_reminder(held: Subscription, terms: Terms) -> datetime | None:
    """None where there is none to come: no trial, reminded already, to end anyway, or paid for beyond it."""
    if held.status is not _S.TRIALING or held.trial_end is None or TRIAL in held.reminded or held.cancel_at is not None:
        return None
    paid = held.paid_through is not None and held.paid_through > held.trial_end
    return None if paid else held.trial_end - terms.trial_reminder


def next_step(held: Subscription, terms: Terms, now: datetime, *, heard: bool) -> Step | None:
    """The earliest timer; None where it is over.

    What is due and has not come about waits for the payment system: it is looked at again soon.
    """
    if held.over:
        return None
    steps = list(_timers(held, terms))
    wait = terms.look_every
    if held.status is _S.INCOMPLETE:
        wait = min(wait, _LOOK_FOR_FIRST_PAYMENT)
    if not heard or any(step.at <= now for step in steps):
        wait = min(wait, terms.look_again)
    steps.append(Step(StepKind.LOOK, now + wait))
    return min((step for step in steps if step.at > now), key=lambda step: step.at)


def upcoming(held: Subscription, terms: Terms, now: datetime) -> Step | None:
    """What is to come next as people see it: looks at the payment system are none of it."""
    return min((step for step in _timers(held, terms) if step.at > now), key=lambda step: step.at, default=None)


def _timers(held: Subscription, terms: Terms) -> Iterable[Step]:
    """Those that are to come, and those that are due and have not come about."""
    created, since = held.created_at, held.past_due_since
    wanted = {
        StepKind.EXPIRE: created + CHECKOUT_WITHIN if held.status is _S.INCOMPLETE and created is not None else None,
        StepKind.TRIAL_REMINDER: _trial_reminder(held, terms),
        StepKind.TRIAL_END: held.trial_end if held.status is _S.TRIALING else None,
        StepKind.CANCEL: held.cancel_at,
        StepKind.RENEWAL: held.renewal_at if held.status in _PAID_UP else None,
        StepKind.RESUME: held.resume_at if held.status is _S.PAUSED else None,
    }
    yield from (Step(kind, at) for kind, at in wanted.items() if at is not None)
    if held.status is not _S.PAST_DUE or since is None:
        return
    for wait in terms.reminders:
        if _reminder(wait.total_seconds()) not in held.reminded:
            yield Step(StepKind.REMINDER, since + wait)
    if held.grace_until is not None and not held.close_only:
        yield Step(StepKind.GRACE_END, held.grace_until)
    yield Step(StepKind.GIVE_UP, since + terms.unpaid)


_NEW_STATE = {
    _S.TRIALING: "trial_started",
    _S.PAST_DUE: "past_due",
    _S.UNPAID: "unpaid",
    _S.PAUSED: "paused",
    _S.CANCELED: "canceled",
    _S.INCOMPLETE_EXPIRED: "expired",
}
_NOW_ACTIVE = {_S.PAUSED: "resumed", _S.PAST_DUE: "paid", _S.UNPAID: "paid"}


def happened(before: Subscription, after: Subscription) -> tuple[Happening, ...]:
    """The difference of two moments in words; whatever has no word of its own is `updated`."""
    if before == after:
        return ()
    found = [*_state_changes(before, after), *_plan_changes(before, after)]
    if new := [key for key in after.reminded if key not in before.reminded]:
        found.append(Happening("reminded", {"reminders": new}))
    if before.cancel_at is None and after.cancel_at is not None and not after.over:
        found.append(Happening("cancel_scheduled", {"at": after.cancel_at}))
    if before.cancel_at is not None and after.cancel_at is None:
        found.append(Happening("kept", {"what": "end"}))
    return tuple(found) or (Happening("updated"),)


def _state_changes(before: Subscription, after: Subscription) -> Iterable[Happening]:
    if before.status is not after.status:
        named = _NEW_STATE.get(after.status) or _NOW_ACTIVE.get(before.status, "activated")
        yield Happening(named, {"from": before.status, "to": after.status})
    if after.close_only and not before.close_only:
        yield Happening("close_only", {"grace_until": after.grace_until})
    if before.close_only and not after.close_only:
        yield Happening("reopened")
    later = before.period_start and after.period_start and before.period_start < after.period_start
    if later and before.status is not _S.PAUSED:  # a pause only moves the period that it interrupts
        yield Happening("renewed", {"period_start": after.period_start, "renewal_at": after.renewal_at})


def _plan_changes(before: Subscription, after: Subscription) -> Iterable[Happening]:
    was, now = (before.plan_id, before.plan_version), (after.plan_id, after.plan_version)
    scheduled = (before.scheduled_plan_id, before.scheduled_plan_version)
    if was != now:
        named = "downgraded" if now == scheduled else "plan_changed"
        yield Happening(named, {"from": f"{was[0]} v{was[1]}", "to": f"{now[0]} v{now[1]}"})
    elif before.scheduled_plan_id is not None and after.scheduled_plan_id is None and not after.over:
        yield Happening("kept", {"what": "plan"})
    if after.scheduled_plan_id is not None and after.scheduled_plan_id != before.scheduled_plan_id:
        yield Happening("downgrade_scheduled", {"plan_id": after.scheduled_plan_id, "at": after.renewal_at})

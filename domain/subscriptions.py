"""A subscription's states, what may be wished of one, and what crosses the border of the workflow that owns it.

What time alone brings about is in `domain.subscription_life`. Nothing here holds a secret; a payer's e-mail address is
in the wish for a page to pay at, as receipts go there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.billing import OVER, CheckoutPage, Invoice, Provider, Refund, RefundStatus, Subscription, SubscriptionState
from domain.errors import Conflict, IllegalTransition, InvalidInput
from domain.plans import Plan

# Nobody pays later than this at a page that was opened for a new subscription.
CHECKOUT_WITHIN = timedelta(hours=23)
MAX_PAUSE = timedelta(days=366)
_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Terms:
    """`grace`: access after a renewal that is not paid, then close-only; `unpaid`: after that long it is given up.

    `reminders` count from the unpaid renewal, `trial_reminder` before a trial's end. `look_again`: after a payment
    system could not be read; `look_every`: the longest time between two readings.
    """

    grace: timedelta
    unpaid: timedelta
    reminders: tuple[timedelta, ...]
    trial_reminder: timedelta
    look_again: timedelta
    look_every: timedelta


_S = SubscriptionState
# A payment system is read now and then, and what lies between two readings is not seen: so most leads to most. Nothing
# comes back to before its first payment, or from what is over; a trial is not what somebody gets who owes.
_LIVE = frozenset({_S.ACTIVE, _S.PAST_DUE, _S.UNPAID, _S.PAUSED})
TRANSITIONS: dict[SubscriptionState, frozenset[SubscriptionState]] = {
    _S.INCOMPLETE: _LIVE | {_S.TRIALING, _S.INCOMPLETE_EXPIRED, _S.CANCELED},
    _S.TRIALING: _LIVE | {_S.CANCELED},
    _S.ACTIVE: _LIVE - {_S.ACTIVE} | {_S.TRIALING, _S.CANCELED},
    _S.PAST_DUE: _LIVE - {_S.PAST_DUE} | {_S.CANCELED},
    _S.UNPAID: _LIVE - {_S.UNPAID} | {_S.CANCELED},
    _S.PAUSED: _LIVE - {_S.PAUSED} | {_S.TRIALING, _S.CANCELED},
    _S.CANCELED: frozenset(),
    _S.INCOMPLETE_EXPIRED: frozenset(),
}


def check(source: SubscriptionState, target: SubscriptionState) -> None:
    """Raise IllegalTransition unless the table has it."""
    if target not in TRANSITIONS[source]:
        raise IllegalTransition("subscription", source, target)


class StepKind(StrEnum):
    """What a subscription's workflow waits for; `LOOK`: nothing is due, the payment system is read all the same."""

    EXPIRE = "expire"
    TRIAL_REMINDER = "trial_reminder"
    TRIAL_END = "trial_end"
    CANCEL = "cancel"
    RENEWAL = "renewal"
    REMINDER = "reminder"
    GRACE_END = "grace_end"
    GIVE_UP = "give_up"
    RESUME = "resume"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Step:
    kind: StepKind
    at: datetime


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription as its workflow knows it. `next`: its earliest timer, None where it is over.

    `heard`: its payment system could be read the last time; `note` says why not.
    """

    subscription: Subscription
    next: Step | None
    heard: bool = True
    note: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionInput:
    """`view` is set by a run that continues an earlier one."""

    tenant_id: str
    subscription_id: str
    view: SubscriptionView | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for. `actor` is what audit events name, `key` tells one wish from another and repeats none.

    As it is: to keep a subscription whose end or downgrade is scheduled, or to resume one that is paused.
    """

    tenant_id: str
    subscription_id: str
    actor: str
    key: str


@dataclass(frozen=True, slots=True)
class CheckoutWish(Wish):
    """A new subscription, or another page to pay at for one that is not paid yet. `coupon`: its id there."""

    provider: Provider
    plan_id: str
    plan_version: int
    email: str
    success_url: str
    cancel_url: str
    coupon: str | None = None
    trial: bool = True


@dataclass(frozen=True, slots=True)
class PlanWish(Wish):
    plan_id: str
    plan_version: int


@dataclass(frozen=True, slots=True)
class CancelWish(Wish):
    at_period_end: bool = True


@dataclass(frozen=True, slots=True)
class PauseWish(Wish):
    """`until` None: until somebody resumes it."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefundWish(Wish):
    """`refund_id` (`domain.ids.refund_id`) makes it one refund however often it is asked for; money in minor units."""

    refund_id: str
    invoice_id: str
    amount_minor: int
    reason: str


@dataclass(frozen=True, slots=True)
class Look:
    """Read what is true of a subscription at `now`, which is the workflow's time."""

    tenant_id: str
    subscription_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class CheckedOut:
    page: CheckoutPage
    view: SubscriptionView


@dataclass(frozen=True, slots=True)
class Refunded:
    """`refund` is without its `claim_url`: whoever has that may claim the money, so only the store tells it."""

    refund: Refund
    view: SubscriptionView


def check_checkout(held: Subscription, wish: CheckoutWish) -> None:
    """Raises Conflict where the subscription is at another payment system, over, or runs and is not to be paid by hand.

    One that is paid in bitcoin and runs gets a page for what is due of its own plan.
    """
    _refuse_over(held)
    if held.provider is not wish.provider:
        reason = f"it is paid by {held.provider}: cancel the subscription before paying otherwise"
        raise Conflict("other-provider", reason, "provider")
    if held.status is _S.INCOMPLETE:
        return
    by_hand = held.provider is Provider.BTCPAY and held.status is not _S.PAUSED
    if not by_hand or (wish.plan_id, wish.plan_version) != (held.plan_id, held.plan_version):
        raise Conflict("already-subscribed", f"there is a subscription already, which is {held.status}", "subscription")


def check_change(held: Subscription, wish: PlanWish) -> None:
    """Raises Conflict where no plan can be changed now, and InvalidInput for the one that it has, or will have."""
    _refuse_over(held)
    if held.status not in {_S.ACTIVE, _S.TRIALING}:
        raise Conflict("not-in-force", f"a subscription that is {held.status} changes no plan", "subscription")
    if held.cancel_at is not None:
        raise Conflict("cancel-scheduled", "it is to end: keep it before changing its plan", "subscription")
    wanted = (wish.plan_id, wish.plan_version)
    if wanted == (held.scheduled_plan_id, held.scheduled_plan_version):
        raise InvalidInput("plan_id", f"{wish.plan_id} is scheduled for the renewal already")
    if wanted == (held.plan_id, held.plan_version):
        hint = "; keep it to take back the downgrade" if held.scheduled_plan_id else ""
        raise InvalidInput("plan_id", f"{wish.plan_id} is the present plan{hint}")


def check_plans(old: Plan, new: Plan) -> None:
    """Raises Conflict for a downgrade from one interval to another, which no renewal could carry out."""
    if new.yearly_minor < old.yearly_minor and new.interval is not old.interval:
        raise Conflict(
            "other-interval", f"a downgrade cannot go from plans by {old.interval} to {new.interval}", "plan"
        )


def check_cancel(held: Subscription, wish: CancelWish, now: datetime) -> None:
    """Raises Conflict, and InvalidInput where there is no period to wait for the end of."""
    _refuse_over(held)
    if not wish.at_period_end:
        return
    if held.cancel_at is not None:
        raise Conflict("cancel-scheduled", f"it is to end at {held.cancel_at.isoformat()} already", "subscription")
    if held.renewal_at is None or held.renewal_at <= now or held.status is _S.INCOMPLETE:
        raise InvalidInput("at_period_end", "no period is under way: cancel at once")


def check_keep(held: Subscription) -> None:
    """Raises Conflict where nothing is scheduled."""
    _refuse_over(held)
    if held.cancel_at is None and held.scheduled_plan_id is None:
        raise Conflict("nothing-scheduled", "neither an end nor a downgrade is scheduled", "subscription")


def check_pause(held: Subscription, wish: PauseWish, now: datetime) -> None:
    """Raises Conflict, and InvalidInput for a time that is past or too far."""
    _refuse_over(held)
    if held.status is not _S.ACTIVE:
        raise Conflict("not-in-force", f"a subscription that is {held.status} cannot be paused", "subscription")
    if held.cancel_at is not None:
        raise Conflict("cancel-scheduled", "it is to end: keep it before pausing it", "subscription")
    if wish.until is not None and not now < wish.until <= now + MAX_PAUSE:
        raise InvalidInput("until", f"must be later than now, by at most {MAX_PAUSE.days} days")


def check_resume(held: Subscription) -> None:
    """Raises Conflict."""
    _refuse_over(held)
    if held.status is not _S.PAUSED:
        raise Conflict("not-paused", f"it is {held.status}", "subscription")


def check_refund(invoice: Invoice, others: tuple[Refund, ...], wish: RefundWish) -> None:
    """`others` are the refunds that were asked for before. Raises InvalidInput for more than is left to give back."""
    if not wish.reason.strip() or len(wish.reason) > _MAX_REASON:
        raise InvalidInput("reason", f"must say why, in at most {_MAX_REASON} characters")
    left = invoice.paid_minor - max(invoice.refunded_minor, given_back(invoice, others))
    if not 0 < wish.amount_minor <= left:
        raise InvalidInput("amount_minor", f"must be from 1 to {left}, which is what is left of the invoice")


def given_back(invoice: Invoice, refunds: tuple[Refund, ...]) -> int:
    """What refunds have given back of it, or are about to, in minor units."""
    mine = (r for r in refunds if r.invoice_id == invoice.invoice_id and r.status is not RefundStatus.FAILED)
    return sum(refund.amount_minor for refund in mine)


def _refuse_over(held: Subscription) -> None:
    if held.status in OVER:
        raise Conflict("subscription-over", f"it is {held.status}: check out a new one", "subscription")


@dataclass(frozen=True, slots=True)
class ListedSubscription:
    """The least of a subscription, whoever's it is."""

    tenant_id: str
    subscription_id: str
    provider: Provider
    status: SubscriptionState
    ended_at: datetime | None = None

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from domain import subscriptions as rules
from domain.billing import (
    OVER,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.entitlements import NOTHING
from domain.errors import Conflict, IllegalTransition, InvalidInput, VantaError
from domain.plans import Interval, Plan
from domain.subscriptions import CancelWish, CheckoutWish, PauseWish, PlanWish, RefundWish

_S = SubscriptionState
DAY = timedelta(days=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAMED = ("t", "SUB-1", "user:ann", "k")
HELD = Subscription(
    "SUB-1", "t", "core", 1, Provider.BTCPAY, _S.ACTIVE, period_start=NOW - DAY, renewal_at=NOW + 29 * DAY,
    paid_through=NOW + 29 * DAY,
)  # fmt: skip
INVOICE = Invoice("IN-1", "SUB-1", Provider.BTCPAY, InvoiceKind.PERIOD, InvoiceStatus.PAID, 4_900, paid_minor=4_900)
# Written out a second time, by hand: what may never be.
NEVER = {(source, source) for source in _S}
NEVER |= {(source, _S.INCOMPLETE) for source in _S} | {(source, target) for source, target in product(OVER, _S)}
NEVER |= {(source, _S.INCOMPLETE_EXPIRED) for source in _S if source is not _S.INCOMPLETE}
NEVER |= {(_S.PAST_DUE, _S.TRIALING), (_S.UNPAID, _S.TRIALING)}


@pytest.mark.parametrize(("source", "target"), list(product(_S, _S)))
def test_the_table_of_transitions_is_whole(source: SubscriptionState, target: SubscriptionState):
    if (source, target) in NEVER:
        with pytest.raises(IllegalTransition):
            rules.check(source, target)
    else:
        rules.check(source, target)


def test_every_state_but_the_first_is_reached_and_those_that_are_over_are_left_by_none():
    reached = {target for targets in rules.TRANSITIONS.values() for target in targets}
    assert reached == set(_S) - {_S.INCOMPLETE}
    assert {source for source, targets in rules.TRANSITIONS.items() if not targets} == OVER


def _code(error: pytest.ExceptionInfo[VantaError]) -> str:
    """A Conflict's code, or which field is wrong."""
    return error.value.field if isinstance(error.value, InvalidInput) else error.value.code


def test_a_checkout_is_for_what_is_not_paid_yet_or_due_in_bitcoin():
    wish = CheckoutWish(*NAMED, Provider.BTCPAY, "core", 1, "ann@example.com", "s", "c")
    rules.check_checkout(replace(HELD, status=_S.INCOMPLETE), replace(wish, plan_id="pro"))
    for status in (_S.TRIALING, _S.ACTIVE, _S.PAST_DUE, _S.UNPAID):
        rules.check_checkout(replace(HELD, status=status), wish)
    card = replace(HELD, provider=Provider.STRIPE)
    refused = [
        (replace(HELD, status=_S.PAUSED), wish, "already-subscribed"),
        (HELD, replace(wish, plan_id="pro"), "already-subscribed"),
        (card, replace(wish, provider=Provider.STRIPE), "already-subscribed"),
        (replace(card, status=_S.INCOMPLETE), wish, "other-provider"),
        (replace(HELD, status=_S.CANCELED), wish, "subscription-over"),
        (replace(HELD, status=_S.INCOMPLETE_EXPIRED), wish, "subscription-over"),
    ]
    for held, asked, code in refused:
        with pytest.raises(Conflict) as error:
            rules.check_checkout(held, asked)
        assert _code(error) == code


def test_a_plan_is_changed_while_the_subscription_is_in_force():
    wish = PlanWish(*NAMED, "pro", 1)
    rules.check_change(HELD, wish)
    rules.check_change(replace(HELD, status=_S.TRIALING), wish)
    refused = [
        *((replace(HELD, status=status), "not-in-force") for status in (_S.PAST_DUE, _S.UNPAID, _S.PAUSED)),
        (replace(HELD, status=_S.INCOMPLETE), "not-in-force"),
        (replace(HELD, status=_S.CANCELED), "subscription-over"),
        (replace(HELD, cancel_at=NOW + DAY), "cancel-scheduled"),
        (replace(HELD, plan_id="pro"), "plan_id"),
        (replace(HELD, scheduled_plan_id="pro", scheduled_plan_version=1), "plan_id"),
    ]
    for held, code in refused:
        with pytest.raises((Conflict, InvalidInput)) as error:
            rules.check_change(held, wish)
        assert _code(error) == code


def test_a_downgrade_stays_within_its_interval_and_an_upgrade_need_not():
    month = Plan("m", 1, "M", 1_000, Interval.MONTH, 0, NOTHING)
    year = Plan("y", 1, "Y", 10_000, Interval.YEAR, 0, NOTHING)
    rules.check_plans(year, month)
    rules.check_plans(month, replace(month, plan_id="less", price_minor=1))
    rules.check_plans(month, replace(year, price_minor=20_000))
    with pytest.raises(Conflict):
        rules.check_plans(month, year)


def test_an_end_waits_for_a_period_or_is_at_once():
    rules.check_cancel(HELD, CancelWish(*NAMED), NOW)
    for status in set(_S) - OVER:
        rules.check_cancel(replace(HELD, status=status), CancelWish(*NAMED, at_period_end=False), NOW)
    refused = [
        (replace(HELD, cancel_at=NOW + DAY), "cancel-scheduled"),
        (replace(HELD, renewal_at=None), "at_period_end"),
        (replace(HELD, renewal_at=NOW), "at_period_end"),
        (replace(HELD, status=_S.INCOMPLETE), "at_period_end"),
        (replace(HELD, status=_S.CANCELED), "subscription-over"),
    ]
    for held, code in refused:
        with pytest.raises((Conflict, InvalidInput)) as error:
            rules.check_cancel(held, CancelWish(*NAMED), NOW)
        assert _code(error) == code


def test_keeping_takes_back_what_is_scheduled():
    rules.check_keep(replace(HELD, cancel_at=NOW + DAY))
    rules.check_keep(replace(HELD, scheduled_plan_id="core"))
    for held, code in ((HELD, "nothing-scheduled"), (replace(HELD, status=_S.CANCELED), "subscription-over")):
        with pytest.raises(Conflict) as error:
            rules.check_keep(held)
        assert _code(error) == code


def test_a_pause_has_bounds_and_is_what_a_resume_ends():
    rules.check_pause(HELD, PauseWish(*NAMED), NOW)
    rules.check_pause(HELD, PauseWish(*NAMED, NOW + rules.MAX_PAUSE), NOW)
    rules.check_resume(replace(HELD, status=_S.PAUSED))
    for until in (NOW, NOW - DAY, NOW + rules.MAX_PAUSE + DAY):
        with pytest.raises(InvalidInput):
            rules.check_pause(HELD, PauseWish(*NAMED, until), NOW)
    for held in (
        replace(HELD, status=_S.PAST_DUE),
        replace(HELD, cancel_at=NOW + DAY),
        replace(HELD, status=_S.PAUSED),
    ):
        with pytest.raises(Conflict):
            rules.check_pause(held, PauseWish(*NAMED), NOW)
    with pytest.raises(Conflict):
        rules.check_resume(HELD)


def test_no_more_is_given_back_than_came_in():
    wish = RefundWish(*NAMED, "RF-3", "IN-1", 4_000, "a mistake")
    earlier = Refund("RF-1", "IN-1", 900, RefundStatus.SUCCEEDED, "x", "user:ann")
    failed = replace(earlier, refund_id="RF-2", amount_minor=4_000, status=RefundStatus.FAILED)
    other = replace(earlier, refund_id="RF-4", invoice_id="IN-2", amount_minor=4_000)
    rules.check_refund(INVOICE, (earlier, failed, other), wish)
    refused = [
        (INVOICE, replace(wish, amount_minor=4_001)),
        (INVOICE, replace(wish, amount_minor=0)),
        (INVOICE, replace(wish, amount_minor=-1)),
        (replace(INVOICE, refunded_minor=901), wish),  # by hand, at the payment system
        (replace(INVOICE, paid_minor=0), wish),
        (INVOICE, replace(wish, reason=" ")),
    ]
    for invoice, asked in refused:
        with pytest.raises(InvalidInput):
            rules.check_refund(invoice, (earlier, failed, other), asked)

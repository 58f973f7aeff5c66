"""What a change of plan is said to cost, and when it counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.payments.catalogue import load_catalogue
from domain.billing import Provider, Subscription, SubscriptionState
from domain.plan_changes import ChangePreview, When, preview
from domain.plans import Interval

CORE, PRO, _ = load_catalogue().sold()
START, END = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
HALF = START + timedelta(days=15)
HELD = Subscription(
    "SUB-1", "t", "core", 1, Provider.STRIPE, SubscriptionState.ACTIVE, period_start=START, renewal_at=END
)


def test_an_upgrade_costs_the_difference_for_what_is_left() -> None:
    found = preview(HELD, CORE, PRO, HALF)
    assert found == ChangePreview(When.NOW, HALF, 2_450, 9_950, 19_900, END)
    assert found.due_minor == 7_500


def test_a_downgrade_costs_nothing_and_waits() -> None:
    found = preview(HELD, PRO, CORE, HALF)
    assert found == ChangePreview(When.AT_RENEWAL, END, 0, 0, 4_900, END)


@pytest.mark.parametrize(
    ("provider", "new", "when"),
    [
        (Provider.STRIPE, PRO, When.NOW),
        (Provider.BTCPAY, PRO, When.NOW),
        (Provider.BTCPAY, CORE, When.NOW),
        (Provider.STRIPE, CORE, When.AT_RENEWAL),
    ],
)
def test_within_a_trial_nothing_is_to_pay(provider: Provider, new: object, when: When) -> None:
    held = replace(HELD, status=SubscriptionState.TRIALING, provider=provider)
    old, new_plan = (CORE, PRO) if new is PRO else (PRO, CORE)
    found = preview(held, old, new_plan, HALF)
    assert (found.when, found.due_minor, found.renewal_minor) == (when, 0, new_plan.price_minor)


def test_an_upgrade_to_another_interval_begins_a_period_of_it() -> None:
    yearly = replace(PRO, interval=Interval.YEAR, price_minor=199_000)
    found = preview(HELD, CORE, yearly, HALF)
    assert (found.credit_minor, found.charge_minor, found.due_minor) == (2_450, 199_000, 196_550)
    assert found.renewal_at == datetime(2027, 4, 16, tzinfo=UTC)


def test_a_clock_that_is_off_takes_nobody_out_of_his_period() -> None:
    assert preview(HELD, CORE, PRO, END + timedelta(seconds=5)).due_minor == 0
    assert preview(HELD, CORE, PRO, START - timedelta(seconds=5)).due_minor == 15_000

"""What a change of plan would do: at once and for how much, or from when on. Pure; nothing is changed by asking."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.billing import Provider, Subscription, SubscriptionState
from domain.periods import period_end, prorate
from domain.plans import Plan


class When(StrEnum):
    NOW = "now"
    AT_RENEWAL = "at_renewal"


@dataclass(frozen=True, slots=True)
class ChangePreview:
    """Money in minor units. `credit_minor`: of the old plan, for what is left; `charge_minor`: of the new one.

    `at`: from when on the new plan is in force. `renewal_at`, `renewal_minor`: when and what the next period costs.
    """

    when: When
    at: datetime
    credit_minor: int
    charge_minor: int
    renewal_minor: int
    renewal_at: datetime | None

    @property
    def due_minor(self) -> int:
        """To pay now, never below nothing."""
        return max(0, self.charge_minor - self.credit_minor)


def preview(held: Subscription, old: Plan, new: Plan, now: datetime) -> ChangePreview:
    """Of a change that is allowed (`domain.subscriptions.check_change`, `check_plans`).

    Upgrades count at once: within a trial for nothing, else for the difference of what is left of the period, to the
    second. Downgrades count from the renewal on; in a trial that is paid in bitcoin, where no card is charged by a plan
    that was agreed on, at once. A card's upgrade to another interval begins a period of the new plan now. These are our
    figures: what is paid by card is what Stripe's invoice says, which may round a half of a cent otherwise.
    """
    on_trial = held.status is SubscriptionState.TRIALING
    at_once = on_trial and held.provider is Provider.BTCPAY
    if new.yearly_minor < old.yearly_minor and not at_once:
        return ChangePreview(When.AT_RENEWAL, held.renewal_at or now, 0, 0, new.price_minor, held.renewal_at)
    start, end = held.period_start, held.renewal_at
    if on_trial or start is None or end is None:
        return ChangePreview(When.NOW, now, 0, 0, new.price_minor, end)
    at = min(max(now, start), end)
    parts = prorate(old.price_minor, new.price_minor, start, end, at)
    if new.interval is old.interval:
        return ChangePreview(When.NOW, now, parts.credit_minor, parts.charge_minor, new.price_minor, end)
    end = period_end(now, new.interval, 1)
    return ChangePreview(When.NOW, now, parts.credit_minor, new.price_minor, new.price_minor, end)

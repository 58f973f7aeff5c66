"""What a person may change on a subscription that is paid in bitcoin. Pure; raises BillingRefused (`code`)."""

from dataclasses import replace
from datetime import datetime, timedelta

from domain.billing import Account, BillingRefused, Invoice, InvoiceKind, InvoiceStatus, Subscription, SubscriptionState
from domain.bitcoin_charges import Rules, charges, give_back, prepaid
from domain.plans import Plan

UNPAID_YET = frozenset({SubscriptionState.INCOMPLETE, SubscriptionState.TRIALING})
_RUNNING = frozenset({SubscriptionState.TRIALING, SubscriptionState.ACTIVE, SubscriptionState.PAST_DUE})


def with_plan(account: Account, plan: Plan) -> Account:
    """Under that plan at once, and no other one scheduled."""
    held = replace(account.subscription, plan_id=plan.plan_id, plan_version=plan.version)
    return unscheduled(replace(account, subscription=held, plan=plan))


def on_trial(account: Account, plan: Plan, now: datetime) -> Account:
    """Periods are counted from the trial's end, up to which nothing is to pay."""
    end = now + timedelta(days=plan.trial_days)
    held = replace(
        account.subscription,
        status=SubscriptionState.TRIALING,
        anchor_at=end,
        period_start=now,
        renewal_at=end,
        paid_through=end,
        trial_end=end,
    )
    return replace(account, subscription=held)


def check_change(account: Account, plan: Plan) -> None:
    held = account.subscription
    if held.status not in _RUNNING | UNPAID_YET:
        raise BillingRefused("not-now", f"a subscription that is {held.status} keeps its plan")
    if (plan.plan_id, plan.version) == (account.plan.plan_id, account.plan.version):
        raise BillingRefused("same-plan", f"the plan is {plan.plan_id} already")
    if plan.interval is not account.plan.interval and held.status not in UNPAID_YET:
        raise BillingRefused("other-interval", "a running subscription keeps its interval")
    if held.status is SubscriptionState.PAST_DUE and plan.yearly_minor > account.plan.yearly_minor:
        raise BillingRefused("not-paid", "the present period has to be paid before an upgrade")
    if any(i.kind is InvoiceKind.UPGRADE and i.status is InvoiceStatus.PROCESSING for i in account.invoices):
        raise BillingRefused("under-way", "an upgrade is being paid; wait for its confirmation")


def scheduled(account: Account, plan: Plan) -> Account:
    """From the renewal on."""
    held = replace(account.subscription, scheduled_plan_id=plan.plan_id, scheduled_plan_version=plan.version)
    return replace(account, subscription=held, scheduled=plan)


def unscheduled(account: Account) -> Account:
    held = replace(account.subscription, scheduled_plan_id=None, scheduled_plan_version=None)
    return replace(account, subscription=held, scheduled=None)


def nothing_ahead(account: Account, now: datetime, rules: Rules) -> Account:
    """What was paid ahead is balance again, as the next period may cost something else now."""
    ahead = prepaid(account)
    return account if ahead is None else give_back(account, ahead, now, rules)


def without_upgrade(account: Account) -> Account:
    """Upgrades that were asked for and not paid are not asked for any more; open ones have to be voided there."""
    paid = {charge.invoice_id for charge in charges(account)}

    def dropped(invoice: Invoice) -> Invoice:
        waits = invoice.kind is InvoiceKind.UPGRADE and invoice.invoice_id not in paid
        return replace(invoice, status=InvoiceStatus.VOID) if waits and invoice.status in _DROPPED else invoice

    return replace(account, invoices=tuple(dropped(invoice) for invoice in account.invoices))


_DROPPED = frozenset({InvoiceStatus.OPEN, InvoiceStatus.EXPIRED, InvoiceStatus.PAID})


def cancelled(account: Account, now: datetime, *, at_period_end: bool) -> Account:
    """At the end of what is paid for, or at once; what is left of the balance stays, and can be refunded."""
    held = account.subscription
    until = held.paid_through
    if at_period_end and until is not None and until > now:
        return unscheduled(replace(account, subscription=replace(held, cancel_at=until)))
    held = replace(held, status=SubscriptionState.CANCELED, cancel_at=now, ended_at=now)
    return unscheduled(replace(account, subscription=held))


def kept(account: Account, now: datetime, rules: Rules) -> Account:
    if account.scheduled is not None:
        account = nothing_ahead(account, now, rules)  # paid at the other plan's price
    return unscheduled(replace(account, subscription=replace(account.subscription, cancel_at=None)))


def paused(held: Subscription, now: datetime, until: datetime | None) -> Subscription:
    if held.status is SubscriptionState.PAUSED:
        return replace(held, resume_at=until)
    if held.status not in _RUNNING:
        raise BillingRefused("not-now", f"a subscription that is {held.status} cannot be paused")
    return replace(held, status=SubscriptionState.PAUSED, paused_at=now, resume_at=until)

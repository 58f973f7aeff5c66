"""How an account that is paid in bitcoin is settled: what its balance pays, and what has to be given up again. Pure.

Money that has settled is balance. The balance pays what is due, whole or not at all: an upgrade that was asked for,
else the next period. When a payment turns invalid, what was paid last is given back until the balance is no longer
below zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.billing import (
    Account,
    Entry,
    EntryKind,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    RefundStatus,
    SubscriptionState,
)
from domain.bitcoin import Reading, invoice_as_read, payment_entries
from domain.periods import next_end, period_end, prorate
from domain.plans import Catalogue, Plan

# An invoice is read this long after the server stopped to watch it, as a chain may still be re-organised.
AFTERMATH = timedelta(days=7)
_UNANSWERED = frozenset({InvoiceStatus.OPEN, InvoiceStatus.PROCESSING})
_GIVEN = frozenset({RefundStatus.CLAIMABLE, RefundStatus.SUCCEEDED})
_NOT_BILLED = frozenset({SubscriptionState.PAUSED, SubscriptionState.CANCELED, SubscriptionState.INCOMPLETE_EXPIRED})
_ANEW = frozenset({SubscriptionState.INCOMPLETE, SubscriptionState.UNPAID})


@dataclass(frozen=True, slots=True)
class Rules:
    """`lead`: a period may be paid, and is invoiced, this long before it. `monitoring`: after an invoice expired."""

    catalogue: Catalogue
    lead: timedelta
    monitoring: timedelta


@dataclass(frozen=True, slots=True)
class Due:
    """A period to pay. `anew`: it begins with the payment; `start` and `end` are what they would be now."""

    start: datetime
    end: datetime
    plan: Plan
    anew: bool


def settle(account: Account, readings: Iterable[Reading], now: datetime, rules: Rules) -> Account:
    """The account after what was read: lines are only added. Readings of invoices that it does not know are left."""
    by_order = {reading.order_id: reading for reading in readings}
    lines = list(account.entries)
    for invoice in account.invoices:
        if (reading := by_order.get(invoice.invoice_id)) is not None:
            lines.extend(payment_entries(lines, reading, now))
    invoices = tuple(
        invoice_as_read(invoice, by_order[invoice.invoice_id], now) if invoice.invoice_id in by_order else invoice
        for invoice in account.invoices
    )
    account = _refunded(replace(account, entries=tuple(lines), invoices=invoices), now)
    while account.balance_minor < 0 and (charge := _last_charge(account, now)) is not None:
        account = give_back(account, charge, now, rules)
    account = _pay_upgrade(account, now, rules)
    while (due := due_period(account, now, rules)) is not None and in_hand(account) >= due.plan.price_minor:
        account = _pay_period(account, due, now)
    return account


def in_hand(account: Account) -> int:
    """The balance without what is about to be refunded from it."""
    asked = sum(refund.amount_minor for refund in account.refunds if refund.status is RefundStatus.PENDING)
    return account.balance_minor - min(asked, max(account.balance_minor, 0))


def _refunded(account: Account, now: datetime) -> Account:
    """A refund takes what is left of the balance. What it gives of money that was used already is on the house:

    neither is a period given up for it, nor is it owed.
    """
    lines, balance = list(account.entries), account.balance_minor
    known = {entry.entry_id for entry in lines}
    for refund in account.refunds:
        entry_id = f"refund/{refund.refund_id}"
        if refund.status not in _GIVEN or entry_id in known:
            continue
        lines.append(Entry(entry_id, EntryKind.REFUND, -refund.amount_minor, now, refund.invoice_id))
        if (used := refund.amount_minor - max(balance, 0)) > 0:
            lines.append(Entry(f"used/{refund.refund_id}", EntryKind.CREDIT, used, now, refund.invoice_id))
        balance -= min(refund.amount_minor, max(balance, 0))
    return replace(account, entries=tuple(lines))


def due_period(account: Account, now: datetime, rules: Rules) -> Due | None:
    """The period that is to be paid next, from `rules.lead` before it begins; None where none is, or not yet."""
    held = account.subscription
    if held.status in _NOT_BILLED:
        return None
    start, anchor = held.paid_through, held.anchor_at
    if held.status in _ANEW or start is None or anchor is None:
        plan = account.scheduled or account.plan
        return Due(now, period_end(now, plan.interval, 1), plan, anew=True)
    if start - rules.lead > now or (held.cancel_at is not None and held.cancel_at <= start):
        return None
    if start > now and pending_upgrade(account, now, rules) is not None:
        return None  # the balance is spoken for
    renewed = held.renewal_at is not None and start >= held.renewal_at
    plan = account.scheduled if account.scheduled is not None and renewed else account.plan
    end = next_end(anchor, plan.interval, start)
    if end <= now:  # a period that has gone by without access is not sold afterwards
        return Due(now, period_end(now, plan.interval, 1), plan, anew=True)
    return Due(start, end, plan, anew=False)


def pending_upgrade(account: Account, now: datetime, rules: Rules) -> Invoice | None:
    """The invoice of an upgrade that was asked for and may still be paid."""
    held = account.subscription
    if held.status is not SubscriptionState.ACTIVE:
        return None
    paid = {charge.invoice_id for charge in charges(account)}
    waiting = [
        invoice
        for invoice in account.invoices
        if invoice.kind is InvoiceKind.UPGRADE
        and invoice.invoice_id not in paid
        and invoice.period_end == held.renewal_at
        and invoice.period_end is not None
        and invoice.period_end > now
        and (invoice.status in _UNANSWERED or invoice.status is InvoiceStatus.PAID or _late(invoice, now, rules))
    ]
    return max(waiting, key=lambda invoice: invoice.created_at or now, default=None)


def _late(invoice: Invoice, now: datetime, rules: Rules) -> bool:
    expired = invoice.status is InvoiceStatus.EXPIRED
    return expired and invoice.due_at is not None and invoice.due_at + rules.monitoring > now


def charges(account: Account) -> list[Entry]:
    """What the balance has paid and was not given back, in the order of what it is for."""
    back = {entry.detail.get("gives_back") for entry in account.entries}
    paid = [e for e in account.entries if e.kind is EntryKind.APPLIED and e.entry_id not in back]
    return sorted(paid, key=lambda e: (str(e.detail.get("end")), e.at, e.detail.get("for") == InvoiceKind.UPGRADE))


def prepaid(account: Account) -> Entry | None:
    """The charge of the period after the present one, where it is paid already."""
    held, paid = account.subscription, charges(account)
    ahead = held.paid_through and held.renewal_at and held.paid_through > held.renewal_at
    return paid[-1] if ahead and paid else None


def _last_charge(account: Account, now: datetime) -> Entry | None:
    """None where what was paid last has been used up: then the balance stays below zero, and is owed."""
    until, paid = account.subscription.paid_through, charges(account)
    return paid[-1] if paid and until is not None and until > now else None


def give_back(account: Account, charge: Entry, now: datetime, rules: Rules) -> Account:
    """Undo a charge, and what it paid: the period is open again, the plan is the one before the upgrade."""
    detail = {"gives_back": charge.entry_id}
    entry_id = f"back/{charge.entry_id}"
    line = Entry(entry_id, EntryKind.CREDIT, -charge.amount_minor, now, charge.invoice_id, detail)
    held = account.subscription
    plan = account.plan
    if charge.detail.get("for") == InvoiceKind.UPGRADE:
        plan = _plan(rules, charge.detail.get("from")) or plan
        held = replace(held, plan_id=plan.plan_id, plan_version=plan.version)
    elif held.renewal_at is not None and held.paid_through is not None and held.paid_through > held.renewal_at:
        held = replace(held, paid_through=held.renewal_at)
    else:
        held = replace(held, paid_through=held.period_start)
        if held.status is SubscriptionState.ACTIVE:
            held = replace(held, status=SubscriptionState.PAST_DUE, past_due_since=now)
    return replace(account, subscription=held, plan=plan, entries=(*account.entries, line))


def _pay_upgrade(account: Account, now: datetime, rules: Rules) -> Account:
    invoice = pending_upgrade(account, now, rules)
    plan = None if invoice is None else rules.catalogue.get(invoice.plan_id or "", invoice.plan_version or 0)
    if invoice is None or plan is None or in_hand(account) < (price := upgrade_price(account, plan, invoice, now)):
        return account
    return pay_upgrade(account, plan, price, invoice.invoice_id, now)


def upgrade_price(account: Account, plan: Plan, invoice: Invoice | None, now: datetime) -> int:
    """The difference of the two plans for the rest of the period, as of when the upgrade was asked for."""
    held = account.subscription
    start, end = held.period_start, held.renewal_at
    if start is None or end is None:
        raise ValueError("only within a period is there a plan to leave")
    asked = (invoice.created_at if invoice is not None else None) or now
    at = min(max(asked, start), end)
    return prorate(account.plan.price_minor, plan.price_minor, start, end, at).due_minor


def pay_upgrade(account: Account, plan: Plan, price: int, invoice_id: str | None, now: datetime) -> Account:
    held = account.subscription
    detail = {
        "for": InvoiceKind.UPGRADE.value, "plan": plan.ref, "from": account.plan.ref,
        "end": held.renewal_at.isoformat() if held.renewal_at else "",
    }  # fmt: skip
    start = held.period_start or now
    line = _charge(account, f"applied/upgrade/{start.isoformat()}", price, now, invoice_id, detail)
    held = replace(
        held, plan_id=plan.plan_id, plan_version=plan.version, scheduled_plan_id=None, scheduled_plan_version=None
    )
    return replace(account, subscription=held, plan=plan, scheduled=None, entries=(*account.entries, line))


def _pay_period(account: Account, due: Due, now: datetime) -> Account:
    detail = {"for": InvoiceKind.PERIOD.value, "plan": due.plan.ref, "end": due.end.isoformat()}
    base = f"applied/period/{due.start.isoformat()}"
    paid = invoice_for(account, account.subscription.paid_through)
    line = _charge(account, base, due.plan.price_minor, now, paid.invoice_id if paid else None, detail)
    held = replace(account.subscription, paid_through=due.end)
    account = replace(account, entries=(*account.entries, line))
    if due.start > now:  # paid before its time: nothing else changes yet
        return replace(account, subscription=held)
    held = replace(
        held,
        status=SubscriptionState.ACTIVE,
        anchor_at=due.start if due.anew else held.anchor_at,
        period_start=due.start,
        renewal_at=due.end,
        past_due_since=None,
        grace_until=None,
        close_only=False,
        plan_id=due.plan.plan_id,
        plan_version=due.plan.version,
    )
    if account.scheduled == due.plan:
        held = replace(held, scheduled_plan_id=None, scheduled_plan_version=None)
        account = replace(account, scheduled=None)
    return replace(account, subscription=held, plan=due.plan)


def invoice_for(account: Account, start: datetime | None) -> Invoice | None:
    """The newest invoice of the period that follows what is paid up to `start` (None: of the very first)."""
    found = [i for i in account.invoices if i.kind is InvoiceKind.PERIOD and i.period_start == start]
    return max(found, key=lambda invoice: invoice.number, default=None)


def _charge(
    account: Account, base: str, amount: int, now: datetime, invoice_id: str | None, detail: dict[str, str]
) -> Entry:
    """What was given back may be paid again: the id then has the number of the time."""
    times = sum(e.entry_id == base or e.entry_id.startswith(f"{base}/") for e in account.entries)
    entry_id = base if times == 0 else f"{base}/{times + 1}"
    return Entry(entry_id, EntryKind.APPLIED, -amount, now, invoice_id, detail)


def _plan(rules: Rules, ref: object) -> Plan | None:
    return rules.catalogue.by_ref(str(ref))

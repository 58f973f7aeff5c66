"""How an account that is paid in bitcoin is settled: what its balance pays, and what has to be given up again. Pure.

Money that has settled is balance. The balance pays what is due, whole or not at all: an upgrade that was asked for,
else the next period. When a payment turns invalid, what was paid last is given back until the balance is no longer
below zero.
"""

from collections.abc import Iterable
from dataclasses import replace
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
from domain.bitcoin_charges import Due, Rules, charges, give_back, pay_period, pay_upgrade, upgrade_price
from domain.periods import next_end, period_end

# An invoice is read this long after the server stopped to watch it, as a chain may still be re-organised.
AFTERMATH = timedelta(days=7)
_UNANSWERED = frozenset({InvoiceStatus.OPEN, InvoiceStatus.PROCESSING})
_GIVEN = frozenset({RefundStatus.CLAIMABLE, RefundStatus.SUCCEEDED})
_NOT_BILLED = frozenset({SubscriptionState.PAUSED, SubscriptionState.CANCELED, SubscriptionState.INCOMPLETE_EXPIRED})
_ANEW = frozenset({SubscriptionState.INCOMPLETE, SubscriptionState.UNPAID})


def settle(account: Account, readings: Iterable[Reading], now: datetime, rules: Rules) -> Account:
    """The account after what was read: lines are only added. Readings of invoices that it does not know are left."""
    read = {reading.ref: reading for reading in readings}
    lines, invoices = list(account.entries), list(account.invoices)
    for place, invoice in enumerate(invoices):
        if (reading := read.get(invoice.provider_ref or "")) is not None:
            lines.extend(payment_entries(lines, invoice, reading, now))
            invoices[place] = invoice_as_read(invoice, reading, now)
    account = _refunded(replace(account, entries=tuple(lines), invoices=tuple(invoices)), now)
    while account.balance_minor < 0 and (charge := _last_charge(account, now)) is not None:
        account = give_back(account, charge, now, rules)
    account = _pay_upgrade(account, now, rules)
    while (due := due_period(account, now, rules)) is not None and in_hand(account) >= due.plan.price_minor:
        account = pay_period(account, due, now)
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


def _last_charge(account: Account, now: datetime) -> Entry | None:
    """None where what was paid last has been used up: then the balance stays below zero, and is owed."""
    until, paid = account.subscription.paid_through, charges(account)
    return paid[-1] if paid and until is not None and until > now else None


def _pay_upgrade(account: Account, now: datetime, rules: Rules) -> Account:
    invoice = pending_upgrade(account, now, rules)
    plan = None if invoice is None else rules.catalogue.get(invoice.plan_id or "", invoice.plan_version or 0)
    if invoice is None or plan is None:
        return account
    price = upgrade_price(account, plan, invoice, now)
    if price <= 0 or in_hand(account) < price:  # a page that was voided and is paid all the same takes nobody down
        return account
    return pay_upgrade(account, plan, price, invoice.invoice_id, now)

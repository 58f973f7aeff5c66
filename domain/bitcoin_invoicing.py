"""Which invoices an account that is paid in bitcoin needs at the server, and which are still looked at. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from domain.billing import (
    Account,
    EntryKind,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
    Subscription,
)
from domain.bitcoin import Reading, invoice_as_read
from domain.bitcoin_account import AFTERMATH, due_period, in_hand, pending_upgrade
from domain.bitcoin_charges import Rules, invoice_for
from domain.ids import invoice_id
from domain.plans import Plan

_UNANSWERED = frozenset({InvoiceStatus.OPEN, InvoiceStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class Wanted:
    """An invoice to issue. `period_start`: what is paid by then, None for the very first period.

    `period_end` is None where the period begins with the payment.
    """

    invoice_id: str
    kind: InvoiceKind
    number: int
    amount_minor: int
    plan: Plan
    period_start: datetime | None
    period_end: datetime | None

    def invoice(self, held: Subscription, made: Reading, now: datetime) -> Invoice:
        """Our own of the one that was made there."""
        return Invoice(
            invoice_id=self.invoice_id,
            subscription_id=held.subscription_id,
            provider=Provider.BTCPAY,
            kind=self.kind,
            status=InvoiceStatus.OPEN,
            amount_minor=made.amount_minor,
            provider_ref=made.ref,
            plan_id=self.plan.plan_id,
            plan_version=self.plan.version,
            period_start=self.period_start,
            period_end=self.period_end,
            number=self.number,
            created_at=now,
        )


def watched(account: Account, now: datetime, rules: Rules) -> list[Invoice]:
    """What may still change: paid late, confirmed, or re-organised away."""
    return [invoice for invoice in account.invoices if invoice.provider_ref is not None and _open(invoice, now, rules)]


def _open(invoice: Invoice, now: datetime, rules: Rules) -> bool:
    if invoice.status in _UNANSWERED or invoice.due_at is None:
        return True
    return invoice.due_at + rules.monitoring + AFTERMATH > now


def wanted(account: Account, now: datetime, rules: Rules) -> Wanted | None:
    """The invoice that the next period lacks, over what the balance does not cover.

    One that is open is left as it is: those that do not fit any more (`obsolete`) have been voided before.
    """
    due = due_period(account, now, rules)
    if due is None or (lacking := due.plan.price_minor - in_hand(account)) <= 0:
        return None
    start = account.subscription.paid_through
    last = invoice_for(account, start)
    if last is not None and last.status in _UNANSWERED:
        return None
    number = 1 if last is None else last.number + 1
    occasion = f"period/{start.isoformat() if start else 'first'}/{number}"
    end = None if due.anew else due.end
    identity = invoice_id(account.subscription.subscription_id, occasion)
    return Wanted(identity, InvoiceKind.PERIOD, number, lacking, due.plan, start, end)


def obsolete(account: Account, now: datetime, rules: Rules) -> list[Invoice]:
    """Open ones that nobody shall pay any more: for what is paid, not due, or due at another amount.

    One on which some money has come is left to be paid or to expire; what is too much is credit.
    """
    upgrade = pending_upgrade(account, now, rules)
    return [
        invoice
        for invoice in account.invoices
        if invoice.status is InvoiceStatus.OPEN
        and not invoice.paid_minor
        and invoice != upgrade
        and not (invoice.kind is InvoiceKind.PERIOD and _fits(account, invoice, now, rules))
    ]


def _fits(account: Account, invoice: Invoice, now: datetime, rules: Rules) -> bool:
    due = due_period(account, now, rules)
    if due is None or invoice != invoice_for(account, account.subscription.paid_through):
        return False
    return (invoice.plan_id, invoice.plan_version, invoice.amount_minor) == (
        due.plan.plan_id,
        due.plan.version,
        due.plan.price_minor - in_hand(account),
    )


def with_invoice(account: Account, invoice: Invoice) -> Account:
    """In the place of the one with its id, else as a new one."""
    others = [each for each in account.invoices if each.invoice_id != invoice.invoice_id]
    return replace(account, invoices=(*others, invoice))


def as_there(ours: Invoice | None, reading: Reading, subscription_id: str) -> Invoice:
    """An invoice as the server has it; one that is not ours was made there by hand."""
    known = ours or Invoice(
        invoice_id(subscription_id, reading.ref),
        subscription_id,
        Provider.BTCPAY,
        InvoiceKind.OTHER,
        InvoiceStatus.OPEN,
        0,
    )
    known = replace(known, amount_minor=reading.amount_minor, provider_ref=reading.ref)
    return invoice_as_read(known, reading, reading.created_at)


_TOLD = {
    EntryKind.REFUND: "refunded",
    EntryKind.REVERSAL: "a payment is not in the chain any more",
    EntryKind.CREDIT: "given back",
    EntryKind.APPLIED: "paid from the balance",
}


def outcome(before: Account, after: Account) -> Outcome:
    """What has changed between the two."""
    known = {invoice.invoice_id: invoice for invoice in before.invoices}
    lines = after.entries[len(before.entries) :]
    return Outcome(
        subscription=after.subscription,
        invoices=tuple(invoice for invoice in after.invoices if known.get(invoice.invoice_id) != invoice),
        entries=lines,
        notes=tuple(f"{_TOLD[line.kind]}: {line.entry_id}" for line in lines if line.kind in _TOLD),
    )

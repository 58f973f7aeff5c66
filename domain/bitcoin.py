"""What an invoice of a BTCPay Server, as it reads now, makes of an account. Pure: amounts in bitcoin are Decimals.

Only a payment whose own status is Settled is money: that is the confirmation policy. What the invoice is called does
not matter to the account, so a late payment counts, and an invoice that somebody marked as settled by hand does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from domain.billing import Entry, EntryKind, Invoice, InvoiceStatus

SATOSHI = Decimal("0.00000001")
_CENT = Decimal("0.01")


class PaymentStatus(StrEnum):
    """`INVALID`: replaced by another transaction (RBF), spent twice, or no longer in the chain."""

    PROCESSING = "Processing"
    SETTLED = "Settled"
    INVALID = "Invalid"


@dataclass(frozen=True, slots=True)
class Payment:
    """`value` in bitcoin without the fee that the store charges for a payment; `rate` in USD, the invoice's own."""

    payment_id: str
    value: Decimal
    rate: Decimal
    status: PaymentStatus
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """`order_id` is our invoice id as they were told it. `status`, `additional`: the server's words.

    `monitored_until`: until then it sees payments that come late.
    """

    ref: str
    order_id: str
    status: str
    additional: str
    amount_minor: int
    created_at: datetime
    expires_at: datetime
    monitored_until: datetime
    url: str | None = None
    payments: tuple[Payment, ...] = ()

    def received_minor(self, *statuses: PaymentStatus) -> int:
        return sum(credit_minor(p.value, p.rate, self.amount_minor) for p in self.payments if p.status in statuses)


def credit_minor(value: Decimal, rate: Decimal, amount_minor: int) -> int:
    """What a payment of `value` bitcoin to an invoice over `amount_minor` is worth, in US cents.

    Up to the invoice's amount it counts by its share of the invoice in bitcoin (rounded up to the satoshi, as the
    server asks for it), rounded up to the cent: so exactly the invoice is exactly its amount at any rate, and nobody
    who pays it in parts is a cent short. What is over counts at the locked rate, rounded down.
    """
    if value <= 0 or rate <= 0:
        return 0
    asked = (amount_minor * _CENT / rate).quantize(SATOSHI, ROUND_CEILING)
    if asked <= 0:
        return int((value * rate / _CENT).to_integral_value(ROUND_FLOOR))
    if value <= asked:
        return int((value * amount_minor / asked).to_integral_value(ROUND_CEILING))
    return amount_minor + int(((value - asked) * rate / _CENT).to_integral_value(ROUND_FLOOR))


def payment_entries(entries: Iterable[Entry], invoice: Invoice, reading: Reading, now: datetime) -> tuple[Entry, ...]:
    """The lines that the account lacks: a settled payment once, and its reversal once it is invalid.

    A payment that had counted and is merely unconfirmed again keeps counting until it is invalid. One that comes back
    after a reversal counts again, under an id with the number of the time. What is not listed is left as it is.
    """
    known = list(entries)
    new = (_payment_entry(known, invoice, reading, payment, now) for payment in reading.payments)
    return tuple(entry for entry in new if entry is not None)


def _payment_entry(
    known: Sequence[Entry], invoice: Invoice, reading: Reading, payment: Payment, now: datetime
) -> Entry | None:
    key = f"{reading.ref}/{payment.payment_id}"
    paid = [entry for entry in known if entry.kind is EntryKind.PAYMENT and entry.detail.get("payment") == key]
    gone = [entry for entry in known if entry.kind is EntryKind.REVERSAL and entry.detail.get("payment") == key]
    counted = len(paid) > len(gone)
    if payment.status is PaymentStatus.SETTLED and not counted:
        kind, amount = EntryKind.PAYMENT, credit_minor(payment.value, payment.rate, reading.amount_minor)
    elif payment.status is PaymentStatus.INVALID and counted:
        kind, amount = EntryKind.REVERSAL, -paid[-1].amount_minor
    else:
        return None
    number = len(gone) + 1
    detail = {"payment": key, "btc": format(payment.value, "f"), "rate": format(payment.rate, "f")}
    suffix = f"/{number}" if number > 1 else ""
    return Entry(f"{kind}/{key}{suffix}", kind, amount, now, invoice.invoice_id, detail)


def invoice_as_read(invoice: Invoice, reading: Reading, now: datetime) -> Invoice:
    """The invoice as it stands: paid when what has settled is all of it, whenever that came about."""
    settled = reading.received_minor(PaymentStatus.SETTLED)
    status = _status(invoice, reading, settled)
    return replace(
        invoice,
        status=status,
        paid_minor=max(settled, invoice.refunded_minor),
        detail=None if reading.additional == "None" else reading.additional,
        url=reading.url or invoice.url,
        due_at=reading.expires_at,
        paid_at=(invoice.paid_at or now) if status is InvoiceStatus.PAID else None,
    )


_STATUS = {
    "New": InvoiceStatus.OPEN,
    "Processing": InvoiceStatus.PROCESSING,
    "Expired": InvoiceStatus.EXPIRED,
}


def _status(invoice: Invoice, reading: Reading, settled: int) -> InvoiceStatus:
    under_way = reading.received_minor(PaymentStatus.PROCESSING)
    if settled >= reading.amount_minor:
        return InvoiceStatus.PAID
    if settled + under_way >= reading.amount_minor:
        return InvoiceStatus.PROCESSING
    if invoice.status is InvoiceStatus.VOID:
        return InvoiceStatus.VOID
    # Settled there without the money: marked by hand, or the money has gone again.
    return _STATUS.get(reading.status, InvoiceStatus.INVALID)

"""What becomes of invoices as payments arrive, blocks are mined and time passes.

The order of the questions is that of the vendor's watcher. Not confirmed by a document: that an invoice which is paid
in full after its end stays Expired for good (PaidLate), and that a settled one stays Settled when its payment is gone.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from simulators.btcpay.state import (
    METHOD,
    Book,
    Clock,
    Invoice,
    Payment,
    PaymentStatus,
    Status,
    Why,
    new_payment_id,
)

# Invoice, type of event, further members of its body.
Tell = Callable[[Invoice, str, dict[str, Any]], None]
Show = Callable[[Invoice, Payment], dict[str, Any]]


class Ledger:
    """Every change is told as the vendor's webhooks have it. Methods raise ValueError on what cannot be."""

    def __init__(self, book: Book, clock: Clock, tell: Tell, show: Show) -> None:
        self.book = book
        self._clock = clock
        self._tell = tell
        self._show = show

    def find(self, invoice_id: str) -> Invoice:
        try:
            return self.book.invoices[invoice_id]
        except KeyError:
            raise ValueError(f"no invoice {invoice_id!r}") from None

    def add(self, invoice: Invoice) -> None:
        self.book.invoices[invoice.id] = invoice
        self._tell(invoice, "InvoiceCreated", {})

    def pay(self, invoice_id: str, bitcoin: Decimal, *, rbf: bool = False) -> Payment:
        """A transaction that is in nobody's block yet."""
        invoice, now = self.find(invoice_id), self._clock.now()
        self.look(invoice)
        if now >= invoice.watched_until:
            raise ValueError("nobody watches this address any more")
        if bitcoin <= 0:
            raise ValueError("a payment is more than nothing")
        payment = Payment(new_payment_id(), bitcoin, now, invoice.destination, rbf)
        invoice.payments.append(payment)
        self._tell(invoice, "InvoiceReceivedPayment", self._of(invoice, payment))
        self.look(invoice)
        return payment

    def mine(self, blocks: int = 1) -> None:
        if blocks < 1:
            raise ValueError("a block, or more")
        first = self.book.height + 1
        self.book.height += blocks
        for invoice in self.book.invoices.values():
            for payment in invoice.payments:
                if payment.block is None and not payment.gone:
                    payment.block = first
        self.look_at_all()

    def replace(self, payment_id: str, bitcoin: Decimal | None = None) -> Payment | None:
        """Its sender replaces it: by one of `bitcoin` to the same invoice, or by one to somewhere else."""
        invoice, payment = self._by_payment(payment_id)
        if payment.block is not None or payment.gone:
            raise ValueError("only what is in no block can be replaced")
        payment.gone = True
        made = None if bitcoin is None else self.pay(invoice.id, bitcoin, rbf=True)
        self.look(invoice)
        return made

    def reorganise(self, payment_id: str, *, returns: bool = False) -> None:
        """Its block is no part of the chain any more. `returns`: it waits for another one; else it was spent twice."""
        invoice, payment = self._by_payment(payment_id)
        if payment.block is None:
            raise ValueError("it is in no block")
        payment.block = None
        payment.gone = not returns
        self.look(invoice)

    def mark(self, invoice: Invoice, status: Status) -> None:
        if status not in markable(invoice):
            raise ValueError(f"an invoice that is {invoice.status} cannot be marked as {status}")
        invoice.status, invoice.why = status, Why.MARKED
        over = {"overPaid": False} if status is Status.SETTLED else {}
        self._tell(invoice, f"Invoice{status}", {"manuallyMarked": True, **over})

    def expire(self, invoice_id: str) -> None:
        """Move all its times so that it ends now; the clock stays, and so does what webhooks say of the time."""
        invoice, now = self.find(invoice_id), self._clock.now()
        early = max(invoice.expires_at - now, timedelta())
        invoice.created_at -= early
        invoice.expires_at -= early
        invoice.watched_until -= early
        self.look(invoice)

    def look_at_all(self) -> None:
        for invoice in self.book.invoices.values():
            self.look(invoice)

    def look(self, invoice: Invoice) -> None:
        """Bring it to what its payments, the chain and the time make of it."""
        if invoice.why is not Why.MARKED:
            self._end(invoice)
            self._take_payments(invoice)
        self._tell_settled(invoice)
        if invoice.why is not Why.MARKED and invoice.status is Status.PROCESSING:
            self._confirm(invoice)

    def _end(self, invoice: Invoice) -> None:
        if invoice.status is Status.NEW and self._clock.now() >= invoice.expires_at:
            invoice.status = Status.EXPIRED
            self._tell(invoice, "InvoiceExpired", {"partiallyPaid": invoice.paid > 0})

    def _take_payments(self, invoice: Invoice) -> None:
        met, over = invoice.is_met_by(invoice.paid), invoice.paid > invoice.due
        partly = Why.PAID_PARTIAL if invoice.paid > 0 else Why.NONE
        if invoice.status is Status.NEW:
            invoice.why = partly
            if met:
                invoice.status, invoice.why = Status.PROCESSING, _over(over=over)
                self._tell(invoice, "InvoiceProcessing", {"overPaid": over})
        elif invoice.status is Status.EXPIRED:
            invoice.why = Why.PAID_LATE if met else partly
        elif invoice.status is Status.PROCESSING:
            invoice.why = _over(over=over)
            if not met:  # a payment was replaced
                invoice.status, invoice.why = Status.NEW, partly
                self._end(invoice)

    def _tell_settled(self, invoice: Invoice) -> None:
        for payment in invoice.payments:
            settled = payment.status(self.book.height, invoice.speed) is PaymentStatus.SETTLED
            if settled and not payment.told_settled:
                payment.told_settled = True
                self._tell(invoice, "InvoicePaymentSettled", self._of(invoice, payment))

    def _confirm(self, invoice: Invoice) -> None:
        if invoice.is_met_by(invoice.settled(self.book.height)):
            invoice.status = Status.SETTLED
            over = {"overPaid": invoice.why is Why.PAID_OVER}
            self._tell(invoice, "InvoiceSettled", {"manuallyMarked": False, **over})
        elif self._clock.now() >= invoice.watched_until:
            invoice.status, invoice.why = Status.INVALID, Why.NONE
            self._tell(invoice, "InvoiceInvalid", {"manuallyMarked": False})

    def _of(self, invoice: Invoice, payment: Payment) -> dict[str, Any]:
        late = payment.received_at >= invoice.expires_at
        return {"afterExpiration": late, "paymentMethodId": METHOD, "payment": self._show(invoice, payment)}

    def _by_payment(self, payment_id: str) -> tuple[Invoice, Payment]:
        for invoice in self.book.invoices.values():
            for payment in invoice.payments:
                if payment.id == payment_id:
                    return invoice, payment
        raise ValueError(f"no payment {payment_id!r}")


def markable(invoice: Invoice) -> tuple[Status, ...]:
    """As what it may be marked by hand."""
    return tuple(status for status in (Status.SETTLED, Status.INVALID) if status is not invoice.status)


def _over(*, over: bool) -> Why:
    return Why.PAID_OVER if over else Why.NONE

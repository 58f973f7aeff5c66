"""How an invoice is paid from the customer's card, and what takes it back."""

from typing import Any

from localstripe import resources

from simulators.stripe.clock import clock
from simulators.stripe.objects import Invoice

_DAY_S = 86_400
# After an attempt that failed, as Smart Retries would; then the invoice stays open.
_AGAIN_DAYS = (3, 5, 7)


def card_of(invoice: Invoice, subscription: Any = None) -> Any:
    if subscription is not None and subscription.default_payment_method:
        return resources.PaymentMethod._api_retrieve(subscription.default_payment_method)
    return resources.Customer._api_retrieve(invoice.customer)._get_default_payment_method_or_source()


def collect(invoice: Invoice, subscription: Any = None) -> None:
    """Finalize it and try to pay it; while collection is paused, void it."""
    if invoice.status == "draft":
        invoice._finalize()
    paused = subscription is not None and subscription.pause_collection
    if paused and invoice.billing_reason == "subscription_cycle":
        void(invoice)
        return
    if invoice.total <= 0:
        invoice._on_payment_success()
        return
    card = card_of(invoice, subscription)
    if card is None:
        _failed(invoice)
        return
    intent = resources.PaymentIntent(
        amount=invoice.total, currency=invoice.currency, customer=invoice.customer, payment_method=card.id
    )
    invoice.payment_intent, intent.invoice = intent.id, invoice.id
    intent._confirm(on_failure_now=lambda: _failed(invoice))


def _failed(invoice: Invoice) -> None:
    invoice.attempt_count += 1
    due = [clock.now() + days * _DAY_S for days in _AGAIN_DAYS]
    invoice._attempts_at = invoice._attempts_at[1:] if invoice._attempts_at else due
    invoice._on_payment_failure_now()


def void(invoice: Invoice) -> None:
    invoice._draft, invoice._voided = False, True
    invoice.status_transitions["voided_at"] = clock.now()
    resources.schedule_webhook(resources.Event("invoice.voided", invoice))


def undo(invoice: Invoice) -> None:
    """As if it had never been, with the items that were on it; where nothing is to change without being paid."""
    for key, value in list(resources.store.items()):
        if key.startswith("invoiceitem:") and value.invoice == invoice.id:
            del resources.store[key]
    resources.store.pop(f"invoice:{invoice.id}", None)
    if invoice.subscription:
        subscription = resources.store.get(f"subscription:{invoice.subscription}")
        earlier = [v for k, v in resources.store.items() if k.startswith("invoice:")]
        mine = [v.id for v in earlier if v.subscription == invoice.subscription]
        if subscription is not None:
            subscription.latest_invoice = mine[-1] if mine else None

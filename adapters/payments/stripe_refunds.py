"""What is given back of an invoice that was paid by card."""

from dataclasses import replace
from typing import Any

from adapters.payments.stripe_client import StripeApi
from adapters.payments.stripe_reading import intents
from domain.billing import BillingRefused, Invoice, Refund, RefundStatus, Subscription

_STATES = {
    "succeeded": RefundStatus.SUCCEEDED,
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}


async def give_back(api: StripeApi, held: Subscription, invoice: Invoice, refund: Refund) -> Refund:
    """Once, however often: it is looked for by its id, as Stripe forgets keys after a day, and then made under it.

    Raises BillingRefused `too-much`, `not-paid`; Stripe's errors go up as they are.
    """
    if invoice.provider_ref is None:
        raise BillingRefused("not-paid", "Stripe does not know this invoice")
    found = (await api.v1.invoices.retrieve_async(invoice.provider_ref, {"expand": ["payments"]})).to_dict()
    paid = intents(found)
    if not paid:
        raise BillingRefused("not-paid", "Nothing was paid by card for this invoice")
    made = [each.to_dict() for intent in paid for each in await _refunds(api, intent)]
    for each in made:
        if (each.get("metadata") or {}).get("refund_id") == refund.refund_id:
            return _as(refund, each)
    counted = [each for each in made if each.get("status") not in ("failed", "canceled")]
    left = int(found.get("amount_paid") or 0) - sum(int(each["amount"]) for each in counted)
    if refund.amount_minor > left:
        raise BillingRefused("too-much", f"At most {left} minor units of this invoice can be given back")
    wanted: dict[str, Any] = {
        "payment_intent": paid[0],
        "amount": refund.amount_minor,
        "metadata": {
            "refund_id": refund.refund_id,
            "subscription_id": held.subscription_id,
            "tenant_id": held.tenant_id,
        },
    }
    done = await api.v1.refunds.create_async(wanted, {"idempotency_key": refund.refund_id})
    return _as(refund, done.to_dict())


async def _refunds(api: StripeApi, intent: str) -> list[Any]:
    listed = await api.v1.refunds.list_async({"payment_intent": intent, "limit": 100})
    return list(listed.data)


def _as(refund: Refund, told: dict[str, Any]) -> Refund:
    status = _STATES.get(str(told.get("status")), RefundStatus.PENDING)
    return replace(refund, status=status, provider_ref=told["id"])

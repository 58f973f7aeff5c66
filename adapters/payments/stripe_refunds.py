"""What is given back of an invoice that was paid by card."""

from dataclasses import replace
from typing import Any

from adapters.payments.stripe_client import StripeApi
from adapters.payments.stripe_reading import intents
from domain.billing import Account, BillingRefused, Invoice, Refund, RefundStatus, Subscription

_STATES = {
    "succeeded": RefundStatus.SUCCEEDED,
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}


async def settled(api: StripeApi, account: Account) -> tuple[Refund, ...]:
    """Of the account's refunds that were not done when they were last seen, those that stand otherwise now."""
    waiting = [refund for refund in account.refunds if refund.status is RefundStatus.PENDING]
    read = [await _again(api, account, refund) for refund in waiting]
    return tuple(now for now, before in zip(read, waiting, strict=True) if now != before)


async def _again(api: StripeApi, account: Account, refund: Refund) -> Refund:
    """One whose answer was lost is looked for by our id; one that is not there stays as it is."""
    if refund.provider_ref is not None:
        return _as(refund, (await api.v1.refunds.retrieve_async(refund.provider_ref)).to_dict())
    invoice = next((i for i in account.invoices if i.invoice_id == refund.invoice_id), None)
    if invoice is None or invoice.provider_ref is None:
        return refund
    found = _mine(refund, await _made(api, await _paid_by(api, invoice.provider_ref)))
    return refund if found is None else _as(refund, found)


async def give_back(api: StripeApi, held: Subscription, invoice: Invoice, refund: Refund) -> Refund:
    """Once, however often: it is looked for by its id, as Stripe forgets keys after a day, and then made under it.

    Raises BillingRefused `too-much`, `not-paid`; Stripe's errors go up as they are.
    """
    if invoice.provider_ref is None:
        raise BillingRefused("not-paid", "Stripe does not know this invoice")
    found = await _paid_by(api, invoice.provider_ref)
    paid = intents(found)
    if not paid:
        raise BillingRefused("not-paid", "Nothing was paid by card for this invoice")
    made = await _made(api, found)
    if (already := _mine(refund, made)) is not None:
        return _as(refund, already)
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


async def _paid_by(api: StripeApi, ref: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.v1.invoices.retrieve_async(ref, {"expand": ["payments"]})).to_dict()
    return found


async def _made(api: StripeApi, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for intent in intents(invoice):
        listed = await api.v1.refunds.list_async({"payment_intent": intent, "limit": 100})
        made += [each.to_dict() for each in listed.data]
    return made


def _mine(refund: Refund, made: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((each for each in made if (each.get("metadata") or {}).get("refund_id") == refund.refund_id), None)


def _as(refund: Refund, told: dict[str, Any]) -> Refund:
    status = _STATES.get(str(told.get("status")), RefundStatus.PENDING)
    return replace(refund, status=status, provider_ref=told["id"])

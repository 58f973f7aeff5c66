"""Where a customer pays by card for the first time: Stripe's page, one at a time. Stripe's errors go up as they are."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from adapters.payments.stripe_client import StripeApi
from adapters.payments.stripe_reading import Json
from domain.billing import BillingRefused, CheckoutOrder, Subscription
from domain.subscriptions import CHECKOUT_WITHIN

# A little less than a subscription waits for its first payment: nobody pays for one that is given up.
_PAGE_WITHIN = CHECKOUT_WITHIN - timedelta(minutes=15)
_PAGE_AT_LEAST = timedelta(minutes=31)  # Stripe: half an hour
_PAGES = 100


async def make_customer(api: StripeApi, held: Subscription, email: str) -> str:
    made = await api.v1.customers.create_async(
        {"email": email, "metadata": _ours(held)},
        {"idempotency_key": f"sub:{held.subscription_id}:customer:{_mark(email)}"},
    )
    return str(made.id)


async def page_for(api: StripeApi, held: Subscription, order: CheckoutOrder, now: datetime) -> Json:
    """The page that is open for this very order, else a new one, and those that were open are closed.

    Raises BillingRefused `checkout-over`.
    """
    wanted = _wanted(held, order)
    mark = _mark(repr(wanted))
    pages = await _pages(api, held)
    for page in pages:
        if page["status"] == "open" and (page.get("metadata") or {}).get("order") == mark:
            return page
    until = (held.created_at or now) + _PAGE_WITHIN
    if until - now < _PAGE_AT_LEAST:
        raise BillingRefused("checkout-over", "This checkout is about to run out: cancel it, and begin anew")
    await close_pages(api, held)
    wanted |= {"metadata": {**_ours(held), "order": mark}, "expires_at": int(until.timestamp())}
    # After the newest page, so that another wish for the same is not answered with a page that is closed.
    key = f"sub:{held.subscription_id}:checkout:{mark}:{pages[0]['id'] if pages else 'first'}"
    made: Json = (await api.v1.checkout.sessions.create_async(wanted, {"idempotency_key": key})).to_dict()
    return made


async def close_pages(api: StripeApi, held: Subscription) -> None:
    for page in await _pages(api, held):
        if page["status"] == "open" and page.get("client_reference_id") == held.subscription_id:
            await api.v1.checkout.sessions.expire_async(page["id"])


async def _pages(api: StripeApi, held: Subscription) -> list[Json]:
    if held.customer_ref is None:
        return []
    listed = await api.v1.checkout.sessions.list_async({"customer": held.customer_ref, "limit": _PAGES})
    return [page.to_dict() for page in listed.data]


def _wanted(held: Subscription, order: CheckoutOrder) -> dict[str, Any]:
    made: dict[str, Any] = {"metadata": _ours(held)}
    if order.trial and order.plan.trial_days:
        made["trial_period_days"] = order.plan.trial_days
    wanted = {
        "mode": "subscription",
        "customer": held.customer_ref,
        "client_reference_id": held.subscription_id,
        "line_items": [{"price": order.plan.ref, "quantity": 1}],
        "success_url": order.success_url,
        "cancel_url": order.cancel_url,
        "subscription_data": made,
    }
    return wanted | ({"discounts": [{"coupon": order.coupon}]} if order.coupon else {})


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ours(held: Subscription) -> dict[str, str]:
    return {"subscription_id": held.subscription_id, "tenant_id": held.tenant_id}

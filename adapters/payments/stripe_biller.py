"""Cards: Stripe as a `domain.billing.Biller`.

Nothing is remembered here. Each change is made under a key that says what it is for, and is followed by a reading of
everything, from which the outcome is made; so a repeat, or a change that somebody made by hand at Stripe, ends alike.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import stripe

from adapters.payments.stripe_checkout import close_pages, make_customer, page_for
from adapters.payments.stripe_client import StripeApi, billing_error, told
from adapters.payments.stripe_reader import OVER, StripeReader
from adapters.payments.stripe_reading import RESUME_AT, Json, item_of, moment, plan_ref
from adapters.payments.stripe_refunds import give_back
from domain.billing import (
    Account,
    BillingRefused,
    CheckoutOrder,
    CheckoutPage,
    Invoice,
    Outcome,
    Provider,
    Refund,
    SubscriptionState,
)
from domain.plans import Catalogue, Plan


class StripeBiller:
    """`close()` it."""

    provider: ClassVar[Provider] = Provider.STRIPE

    def __init__(self, api: StripeApi, catalogue: Catalogue) -> None:
        self._api, self._reader = api, StripeReader(api, catalogue)

    async def close(self) -> None:
        await self._api.close()

    async def checkout(self, account: Account, order: CheckoutOrder, now: datetime) -> tuple[Outcome, CheckoutPage]:
        """One page is open at a time: the same order gets the same page again, another closes the one before."""
        held = account.subscription
        with told():
            if held.provider_ref is not None or (held.customer_ref and await self._reader.find(held)):
                raise BillingRefused("paid-already", "There is a subscription at Stripe already; it is read soon")
            customer = held.customer_ref or await make_customer(self._api, held, order.email)
            held = replace(held, customer_ref=customer)
            page = await page_for(self._api, held, order, now)
        return Outcome(held), CheckoutPage(page["url"], page["id"], moment(page.get("expires_at")))

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        """A pause that is to end by now is ended: Stripe itself would go on without charging for the period."""
        held = account.subscription
        with told():
            found = await self._reader.find(held)
            if found is None:
                return Outcome(held)
            outcome = await self._reader.outcome(account, found, now)
            due = moment((found.get("metadata") or {}).get(RESUME_AT))
            if due is None or due > now:
                return outcome
            return await self._resumed(account, found, outcome, now, self._key(account, "resume", due.isoformat()))

    async def change(self, account: Account, plan: Plan, now: datetime, key: str) -> Outcome:
        """An upgrade whose payment fails changes nothing (BillingRefused `card-declined`)."""
        upgrade = plan.yearly_minor > account.plan.yearly_minor
        if not upgrade and plan.interval is not account.plan.interval:
            raise BillingRefused("other-interval", "A downgrade stays within months or years; cancel and begin anew")
        with told():
            found = await self._reader.needed(account.subscription)
            ours = self._key(account, "change", key)
            if upgrade:
                found = await self._upgraded(account, found, plan, ours)
            else:
                found = await self._reader.update(found, ours, **_priced(found, plan, "none"))
            return await self._reader.outcome(account, found, now)

    async def cancel(self, account: Account, now: datetime, key: str, *, at_period_end: bool) -> Outcome:
        held = account.subscription
        with told():
            found = await self._reader.find(held)
            if found is None:
                await close_pages(self._api, held)
                return Outcome(replace(held, status=SubscriptionState.CANCELED, ended_at=now))
            if found["status"] not in OVER:
                if at_period_end:
                    found = await self._reader.update(
                        found, self._key(account, "cancel", key), cancel_at_period_end=True
                    )
                else:
                    options = {"idempotency_key": self._key(account, "cancel", key)}
                    await self._api.v1.subscriptions.cancel_async(found["id"], options=options)
                    found = await self._reader.needed(held)
            return await self._reader.outcome(account, found, now)

    async def keep(self, account: Account, now: datetime, key: str) -> Outcome:
        with told():
            found = await self._reader.needed(account.subscription)
            wanted: dict[str, Any] = {}
            if plan_ref(found) != account.plan.ref:
                wanted |= _priced(found, account.plan, "none")
            if found.get("cancel_at_period_end"):
                wanted["cancel_at_period_end"] = False
            elif found.get("cancel_at"):
                wanted["cancel_at"] = ""
            if wanted:
                found = await self._reader.update(found, self._key(account, "keep", key), **wanted)
            return await self._reader.outcome(account, found, now)

    async def pause(self, account: Account, now: datetime, key: str, *, until: datetime | None) -> Outcome:
        """Invoices of the time are void. Stripe is not told when it ends: it would not charge for the rest."""
        at = str(int(until.timestamp())) if until else ""
        with told():
            found = await self._reader.needed(account.subscription)
            found = await self._reader.update(
                found,
                self._key(account, "pause", key),
                pause_collection={"behavior": "void"},
                metadata={RESUME_AT: at},
            )
            return await self._reader.outcome(account, found, now)

    async def resume(self, account: Account, now: datetime, key: str) -> Outcome:
        with told():
            found = await self._reader.needed(account.subscription)
            outcome = await self._reader.outcome(account, found, now)
            return await self._resumed(account, found, outcome, now, self._key(account, "resume", key))

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        held = account.subscription
        with told():
            found = await self._reader.find(held)
            if found is None:
                return ()
            return await self._reader.invoices(held, found, since)

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        with told():
            return await give_back(self._api, account.subscription, invoice, refund)

    async def portal(self, account: Account, return_url: str) -> str:
        customer = account.subscription.customer_ref
        if customer is None:
            raise BillingRefused("not_offered", "There is nothing at Stripe yet: check out first")
        with told():
            made = await self._api.v1.billing_portal.sessions.create_async(
                {"customer": customer, "return_url": return_url}
            )
        return str(made.url)

    async def _upgraded(self, account: Account, found: Json, plan: Plan, ours: str) -> Json:
        """Where a downgrade is scheduled, what is left is worth the price that was paid, not the one to come."""
        if plan_ref(found) not in (account.plan.ref, plan.ref):
            await self._reader.update(found, f"{ours}:back", **_priced(found, account.plan, "none"))
        wanted = _priced(found, plan, "always_invoice")
        try:
            return await self._reader.update(found, ours, payment_behavior="error_if_incomplete", **wanted)
        except stripe.StripeError as error:
            refused = isinstance(billing_error(error), BillingRefused)
            if refused and account.scheduled is not None:
                await self._reader.update(found, f"{ours}:again", **_priced(found, account.scheduled, "none"))
            raise

    async def _resumed(self, account: Account, found: Json, outcome: Outcome, now: datetime, key: str) -> Outcome:
        """Where what was paid for is over, a new period begins now, and is charged for.

        The mark is taken off last: until then, a repeat begins again.
        """
        found = await self._reader.update(found, key, pause_collection="")
        wanted: dict[str, Any] = {"metadata": {RESUME_AT: ""}}
        until = outcome.subscription.paid_through
        if until is not None and until <= now:
            wanted |= {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}
        found = await self._reader.update(found, f"{key}:period", **wanted)
        return await self._reader.outcome(account, found, now)

    @staticmethod
    def _key(account: Account, what: str, key: str) -> str:
        return f"sub:{account.subscription.subscription_id}:{what}:{key}"


def _priced(found: Json, plan: Plan, how: str) -> dict[str, Any]:
    return {"items": [{"id": item_of(found)["id"], "price": plan.ref}], "proration_behavior": how}

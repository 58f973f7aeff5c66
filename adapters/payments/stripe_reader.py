"""What is true at Stripe of one subscription, and the one way of changing it. Stripe's errors go up as they are."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from adapters.payments.stripe_client import StripeApi
from adapters.payments.stripe_reading import Json, read_invoice, read_outcome
from adapters.payments.stripe_refunds import settled
from domain.billing import Account, BillingRefused, Invoice, Outcome, Subscription
from domain.plans import Catalogue

_LATEST = 20
_PER_PAGE = 100
_MAX_PAGES = 20
_SHOWN = {"expand": ["discounts"]}
OVER = ("canceled", "incomplete_expired")


class StripeReader:
    def __init__(self, api: StripeApi, catalogue: Catalogue) -> None:
        self._api, self._catalogue = api, catalogue

    async def find(self, held: Subscription) -> Json | None:
        """By its id there, else among the customer's by ours: an event may be lost, a subscription is not."""
        ref = held.provider_ref or await self._ref(held)
        if ref is None:
            return None
        return _plain(await self._api.v1.subscriptions.retrieve_async(ref, _SHOWN))

    async def needed(self, held: Subscription) -> Json:
        """Raises BillingRefused `not-paid-yet`."""
        found = await self.find(held)
        if found is None:
            raise BillingRefused("not-paid-yet", "There is no subscription at Stripe yet")
        return found

    async def update(self, found: Json, key: str, **wanted: Any) -> Json:
        options = {"idempotency_key": key}
        return _plain(await self._api.v1.subscriptions.update_async(found["id"], {**wanted, **_SHOWN}, options))

    async def outcome(self, account: Account, found: Json, now: datetime) -> Outcome:
        asked = {"subscription": found["id"], "limit": _LATEST, "expand": ["data.payments"]}
        listed = _data(await self._api.v1.invoices.list_async(asked))
        invoices = await self._read(account.subscription, found, listed)
        read = read_outcome(account, self._catalogue, found, invoices, now)
        return replace(read, refunds=await settled(self._api, account))

    async def invoices(self, held: Subscription, found: Json, since: datetime) -> list[Invoice]:
        """Newest first."""
        made = {"gte": int(since.timestamp())}
        asked = {"subscription": found["id"], "limit": _PER_PAGE, "expand": ["data.payments"], "created": made}
        listed: list[Json] = []
        for _ in range(_MAX_PAGES):
            page = await self._api.v1.invoices.list_async(asked)
            listed += _data(page)
            if not page.has_more:
                break
            asked["starting_after"] = listed[-1]["id"]
        return await self._read(held, found, listed)

    async def _ref(self, held: Subscription) -> str | None:
        if held.customer_ref is None:
            return None
        wanted = {"customer": held.customer_ref, "status": "all", "limit": _PER_PAGE}
        listed = _data(await self._api.v1.subscriptions.list_async(wanted))
        mine = [s for s in listed if (s.get("metadata") or {}).get("subscription_id") == held.subscription_id]
        mine.sort(key=lambda s: (s["status"] not in OVER, s["created"]))
        return str(mine[-1]["id"]) if mine else None

    async def _read(self, held: Subscription, found: Json, listed: list[Json]) -> list[Invoice]:
        """An invoice does not tell what was given back of it; its customer's charges do."""
        charges = _data(await self._api.v1.charges.list_async({"customer": found["customer"], "limit": _PER_PAGE}))
        refunded = {c["payment_intent"]: int(c.get("amount_refunded") or 0) for c in charges if c.get("payment_intent")}
        return [read_invoice(held.subscription_id, self._catalogue, each, refunded) for each in listed]


def _plain(made: Any) -> Json:
    plain: Json = made.to_dict()
    return plain


def _data(listed: Any) -> list[Json]:
    return [_plain(each) for each in listed.data]

"""localstripe's objects with what the pinned API version has and they lack, and without what it no longer has."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from localstripe import resources

from simulators.stripe.clock import clock
from simulators.stripe.faults import faults

API_VERSION = "2026-10-28.endive"
# Where the pages are; the port is known when the server listens.
pages = {"url": ""}


def without(shown: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}


def listed(kind: Any, url: Any, limit: Any, starting_after: Any, **wanted: Any) -> Any:
    """Newest first. localstripe's own lists name their class, which is not theirs any more, and would not end."""
    found = resources.StripeObject._api_list_all.__func__(kind, url, limit=limit, starting_after=starting_after)
    found._list = [each for each in found._list if all(getattr(each, k) == v for k, v in wanted.items() if v)]
    found._list.reverse()
    found._list.sort(key=lambda each: each.created, reverse=True)
    return found


def rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


class PaymentMethod(resources.PaymentMethod):
    def _charging_is_declined(self) -> bool:
        return faults.take_decline(self.customer) or super()._charging_is_declined()

    @classmethod
    def _api_list_all(
        cls, url: Any, customer: Any = None, type: Any = None, limit: Any = None, starting_after: Any = None
    ) -> Any:
        return listed(cls, url, limit, starting_after, customer=customer, type=type)


class Discount(resources.StripeObject):
    object = "discount"
    _id_prefix = "di_"

    def __init__(self, coupon: str, subscription: str, customer: str) -> None:
        known = resources.Coupon._api_retrieve(coupon)
        super().__init__()
        self.source = {"type": "coupon", "coupon": coupon}
        self.subscription = subscription
        self.customer = customer
        self.start = clock.now()
        self.end = None
        if known.duration == "repeating":
            self.end = self.start + known.duration_in_months * 30 * 86_400
        self._once = known.duration == "once"

    def _off(self, amount: int) -> int:
        """What it takes off `amount`."""
        coupon = resources.Coupon._api_retrieve(self.source["coupon"])
        if amount <= 0 or (self.end is not None and self.end <= clock.now()):
            return 0
        if coupon.percent_off is not None:
            return rounded(Decimal(amount) * Decimal(str(coupon.percent_off)) / 100)
        return min(amount, coupon.amount_off)


class Item(resources.SubscriptionItem):
    """Its period is set by the subscription; localstripe knows only the first."""

    def __init__(self, **given: Any) -> None:
        self._free = False
        super().__init__(**given)
        self.current_period_start = self.current_period_end = clock.now()

    @property
    def price(self) -> dict[str, Any]:
        plan = self.plan
        recurring = {"interval": plan.interval, "interval_count": plan.interval_count, "usage_type": "licensed"}
        return {
            "id": plan.id,
            "object": "price",
            "product": plan.product,
            "unit_amount": plan.amount,
            "currency": plan.currency,
            "type": "recurring",
            "recurring": recurring,
        }

    @property
    def subscription(self) -> str:
        return self._subscription

    def _current_period(self) -> dict[str, int]:
        return {"start": self.current_period_start, "end": self.current_period_end}

    def _calculate_amount(self) -> int:
        return 0 if self._free else super()._calculate_amount()


class Line(resources.InvoiceLineItem):
    @property
    def parent(self) -> dict[str, Any]:
        if self.type == "subscription":
            detail = {"subscription": self.subscription, "subscription_item": self.subscription_item}
            return {"type": "subscription_item_details", "subscription_item_details": {**detail, "proration": False}}
        detail = {"subscription": self.subscription, "invoice_item": self.invoice_item, "proration": self.proration}
        return {"type": "invoice_item_details", "invoice_item_details": detail}

    @property
    def pricing(self) -> dict[str, Any] | None:
        if self.plan is None:
            return None
        price = {"price": self.plan.id, "product": self.plan.product}
        return {"type": "price_details", "price_details": price}

    def _export(self, expand: Any = None) -> dict[str, Any]:
        shown: dict[str, Any] = super()._export(expand)
        gone = ("type", "plan", "proration", "subscription_item", "invoice_item", "tax_rates", "tax_amounts")
        return without(shown, *gone)


class Invoice(resources.Invoice):
    def __init__(self, **given: Any) -> None:
        self._off: list[tuple[str, int]] = []
        super().__init__(**given)
        self.number = f"{self.id[-8:].upper()}-0001"
        self.auto_advance = True
        self._attempts_at: list[int] = []
        # As Stripe has it: the time before the one that is paid for; that is in the lines.
        self.period_start = self.period_end = self.date

    @classmethod
    def _api_list_all(
        cls,
        url: Any,
        customer: Any = None,
        subscription: Any = None,
        limit: Any = None,
        starting_after: Any = None,
        status: Any = None,
        created: Any = None,
    ) -> Any:
        found = listed(cls, url, limit, starting_after, customer=customer, subscription=subscription, status=status)
        since = int((created or {}).get("gte", 0))
        found._list = [each for each in found._list if each.created >= since]
        return found

    @property
    def discount_minor(self) -> int:
        return sum(amount for _, amount in self._off)

    @property
    def total(self) -> int:
        return max(0, self.subtotal - self.discount_minor - self.starting_balance)

    @property
    def total_discount_amounts(self) -> list[dict[str, Any]]:
        return [{"discount": name, "amount": amount} for name, amount in self._off]

    @property
    def amount_remaining(self) -> int:
        return self.amount_due - self.amount_paid

    @property
    def next_payment_attempt(self) -> int | None:
        return self._attempts_at[0] if self.status == "open" and self._attempts_at else None

    @property
    def hosted_invoice_url(self) -> str | None:
        return None if self.status == "draft" else f"{pages['url']}/i/{self.id}"

    @property
    def invoice_pdf(self) -> str | None:
        return None if self.status == "draft" else f"{pages['url']}/i/{self.id}/pdf"

    @property
    def parent(self) -> dict[str, Any] | None:
        if not self.subscription:
            return None
        metadata = dict(resources.Subscription._api_retrieve(self.subscription).metadata)
        detail = {"subscription": self.subscription, "metadata": metadata}
        return {"type": "subscription_details", "subscription_details": detail, "quote_details": None}

    @property
    def payments(self) -> dict[str, Any]:
        listed = []
        if self.payment_intent:
            payment = {"type": "payment_intent", "payment_intent": self.payment_intent}
            listed.append(
                {
                    "id": f"inpay_{self.payment_intent[3:]}",
                    "object": "invoice_payment",
                    "invoice": self.id,
                    "is_default": True,
                    "amount_requested": self.amount_due,
                    "amount_paid": self.amount_paid or None,
                    "currency": self.currency,
                    "status": "paid" if self.status == "paid" else "open",
                    "payment": payment,
                }
            )
        url = f"/v1/invoice_payments?invoice={self.id}"
        return {"object": "list", "url": url, "has_more": False, "data": listed}

    def _on_payment_success(self) -> None:
        resources.schedule_webhook(resources.Event("invoice.paid", self))
        super()._on_payment_success()

    def _export(self, expand: Any = None) -> dict[str, Any]:
        shown: dict[str, Any] = super()._export(expand)
        old = (
            "subscription",
            "payment_intent",
            "charge",
            "tax",
            "tax_percent",
            "total_tax_amounts",
            "discount",
            "date",
        )
        return without(shown, *old, "discount_minor", "application_fee")

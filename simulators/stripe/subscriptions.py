"""Subscriptions over localstripe's: periods from an anchor, prorations by the second, discounts, pausing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from localstripe import resources
from localstripe.errors import UserError

from simulators.stripe.clock import clock
from simulators.stripe.collecting import collect, undo
from simulators.stripe.objects import Discount, Invoice, Item, listed, rounded, without

# Taken and not acted on: nothing here depends on them.
_TAKEN = {"off_session", "payment_settings", "collection_method", "description", "billing_mode", "trial_settings"}


def period_end(anchor: int, interval: str, count: int) -> int:
    """`count` intervals after the anchor, as unix seconds."""
    step = resources.relativedelta(**{f"{interval}s": count})
    return int((datetime.fromtimestamp(anchor, UTC) + step).timestamp())


def tell(kind: str, about: Any) -> None:
    resources.schedule_webhook(resources.Event(kind, about))


def _plan_of(items: Any) -> str | None:
    if not isinstance(items, list) or len(items) != 1:
        raise UserError(400, "One item is what this simulator knows.")
    named = items[0].get("price") or items[0].get("plan")
    return str(named) if named else None


class Subscription(resources.Subscription):
    def __init__(self, customer: Any = None, items: Any = None, **given: Any) -> None:
        for name in _TAKEN | {"proration_behavior"}:
            given.pop(name, None)
        behaviour = given.pop("payment_behavior", "allow_incomplete")
        coupons, card = given.pop("discounts", None) or [], given.pop("default_payment_method", None)
        days, until = int(given.pop("trial_period_days", None) or 0), given.pop("trial_end", None)
        if unknown := sorted(given.keys() - {"metadata"}):
            raise UserError(400, f"Received unknown parameter: {unknown[0]}")
        for each in coupons:
            resources.Coupon._api_retrieve(each["coupon"])
        # A trial, be it of no days, keeps localstripe from making its own invoice.
        self._periods = 0
        self._all_or_nothing = False
        self.pause_collection: dict[str, Any] | None = None
        self.default_payment_method = card
        self._discounts: list[Discount] = []
        super().__init__(customer, given.get("metadata"), [{"plan": _plan_of(items)}], trial_period_days=0)
        self._discounts = [Discount(each["coupon"], self.id, self.customer) for each in coupons]
        ends = int(until) if until else self.start_date + days * 86_400
        self.trial_end = ends if ends > self.start_date else None
        self._begin(str(behaviour))

    def _begin(self, behaviour: str) -> None:
        if self.trial_end is not None:
            self.status, self.trial_start, self.billing_cycle_anchor = "trialing", self.start_date, self.trial_end
            self._set_period(self.start_date, self.trial_end)
            self._bill("subscription_create", free=True)
            return
        self.billing_cycle_anchor = self.start_date
        self._roll()
        invoice = self._bill("subscription_create")
        if invoice.status != "paid" and behaviour == "error_if_incomplete":
            undo(invoice)
            del resources.store[f"subscription:{self.id}"]
            raise UserError(402, "Your card was declined.", {"code": "card_declined", "type": "card_error"})

    @classmethod
    def _api_list_all(
        cls, url: Any, customer: Any = None, status: Any = None, limit: Any = None, starting_after: Any = None
    ) -> Any:
        wanted = None if status == "all" else status
        found = listed(cls, url, limit, starting_after, customer=customer, status=wanted)
        if status is None:
            found._list = [each for each in found._list if each.ended_at is None]
        return found

    @property
    def currency(self) -> str:
        return self.plan.currency

    @property
    def discounts(self) -> list[str]:
        return [discount.id for discount in self._discounts]

    @property
    def current_period_start(self) -> int:
        return self.items._list[0].current_period_start

    @property
    def current_period_end(self) -> int:
        return self.items._list[0].current_period_end

    def _set_period(self, start: int, end: int) -> None:
        item = self.items._list[0]
        item.current_period_start, item.current_period_end = start, end

    def _roll(self) -> None:
        """To the next period that is paid for."""
        interval = self.plan.interval
        start = period_end(self.billing_cycle_anchor, interval, self._periods)
        self._periods += 1
        self._set_period(start, period_end(self.billing_cycle_anchor, interval, self._periods))

    def _bill(self, reason: str, *, free: bool = False, items: bool = True) -> Invoice:
        item = self.items._list[0]
        item._free = free
        invoice = Invoice(customer=self.customer, subscription=self.id, items=[item] if items else [])
        item._free = False
        invoice.billing_reason = reason
        left = invoice.subtotal
        for discount in [] if free else list(self._discounts):
            off = discount._off(left)
            invoice._off.append((discount.id, off))
            left -= off
            if discount._once:
                self._discounts.remove(discount)
        collect(invoice, self)
        return invoice

    def _on_initial_payment_success(self, _invoice: Invoice) -> None:
        if self.status not in ("incomplete", "past_due", "unpaid"):
            return
        made = resources.Invoice._api_list_all(None, subscription=self.id, limit=99)._list
        if not any(invoice.status == "open" for invoice in made):
            self.status = "active"
            tell("customer.subscription.updated", self)

    def _on_initial_payment_failure_now(self, _invoice: Invoice) -> None:
        """It stays incomplete."""

    def _on_recurring_payment_failure(self, _invoice: Invoice) -> None:
        if not self._all_or_nothing:
            self.status = "past_due"
            tell("customer.subscription.updated", self)

    def _update(self, **given: Any) -> None:
        if self.status in ("canceled", "incomplete_expired"):
            raise UserError(400, "A canceled subscription can only update its cancellation_details and metadata.")
        behaviour = given.pop("payment_behavior", "allow_incomplete")
        proration = given.pop("proration_behavior", "create_prorations")
        at = int(given.pop("proration_date", None) or clock.now())
        known = {
            "items",
            "billing_cycle_anchor",
            "metadata",
            "cancel_at_period_end",
            "cancel_at",
            "pause_collection",
            "discounts",
        }
        if unknown := sorted(given.keys() - known - _TAKEN - {"trial_end", "default_payment_method"}):
            raise UserError(400, f"Received unknown parameter: {unknown[0]}")
        anew = (given.pop("billing_cycle_anchor", None) or {}).get("type") == "now"
        self._set(given)
        plan = _plan_of(given["items"]) if given.get("items") else None
        if plan is not None and plan != self.plan.id:
            self._change_plan(resources.Plan._api_retrieve(plan), str(proration), str(behaviour), at)
        if anew:
            self.billing_cycle_anchor, self._periods = clock.now(), 0
            self._roll()
            self._bill("subscription_update")
        tell("customer.subscription.updated", self)

    def _set(self, given: Mapping[str, Any]) -> None:
        if isinstance(given.get("metadata"), dict):
            self.metadata.update(given["metadata"])
        if "cancel_at_period_end" in given:
            self.cancel_at_period_end = resources.try_convert_to_bool(given["cancel_at_period_end"])
            self.cancel_at = self.current_period_end if self.cancel_at_period_end else None
            self.canceled_at = clock.now() if self.cancel_at_period_end else None
        if "cancel_at" in given:
            self.cancel_at = int(given["cancel_at"]) if given["cancel_at"] else None
        if "pause_collection" in given:
            paused = given["pause_collection"] or None
            self.pause_collection = paused and {
                "behavior": paused["behavior"],
                "resumes_at": int(paused["resumes_at"]) if paused.get("resumes_at") else None,
            }
        if "discounts" in given:
            named = given["discounts"] or []
            self._discounts = [Discount(each["coupon"], self.id, self.customer) for each in named]
        if "default_payment_method" in given:
            self.default_payment_method = given["default_payment_method"]

    def _change_plan(self, plan: Any, proration: str, behaviour: str, at: int) -> None:
        old, anchor, periods = self.items._list[0], self.billing_cycle_anchor, self._periods
        start, end = old.current_period_start, old.current_period_end
        item = Item(subscription=self.id, plan=plan.id)
        item.id, item.current_period_start, item.current_period_end = old.id, start, end
        self.items._list = [item]
        if self.status == "trialing" or proration == "none":
            return
        anew = plan.interval != old.plan.interval
        whole, left = end - start, max(0, end - at)
        unused = rounded(Decimal(old.plan.amount) * left / whole)
        self._item(-unused, old.plan, f"Unused time on {old.plan.name}", at, end)
        if anew:
            self.billing_cycle_anchor, self._periods = at, 0
            self._roll()
        else:
            self._item(rounded(Decimal(plan.amount) * left / whole), plan, f"Remaining time on {plan.name}", at, end)
        if proration != "always_invoice" and not anew:
            return
        self._all_or_nothing = behaviour == "error_if_incomplete"
        invoice = self._bill("subscription_update", items=anew)
        self._all_or_nothing = False
        if invoice.status != "paid" and behaviour == "error_if_incomplete":
            undo(invoice)
            self.items._list, self.billing_cycle_anchor, self._periods = [old], anchor, periods
            raise UserError(402, "Your card was declined.", {"code": "card_declined", "type": "card_error"})

    def _item(self, amount: int, plan: Any, description: str, start: int, end: int) -> None:
        resources.InvoiceItem(
            amount=amount,
            currency=plan.currency,
            customer=self.customer,
            subscription=self.id,
            plan=plan.id,
            proration=True,
            description=description,
            period_start=start,
            period_end=end,
        )

    def _end(self, status: str = "canceled") -> None:
        self.status, self.ended_at = status, clock.now()
        self.canceled_at = self.canceled_at or self.ended_at
        tell("customer.subscription.deleted" if status == "canceled" else "customer.subscription.updated", self)

    @classmethod
    def _api_delete(cls, id: str) -> Any:
        subscription = cls._api_retrieve(id)
        if subscription.ended_at is not None:
            raise UserError(404, f"No such subscription: {id}")
        subscription._end()
        return subscription

    def _export(self, expand: Any = None) -> dict[str, Any]:
        shown: dict[str, Any] = super()._export(expand)
        if "discounts" in (expand or []):
            shown["discounts"] = [discount._export() for discount in self._discounts]
        old = ("current_period_start", "current_period_end", "plan", "quantity", "discount", "tax_percent")
        return without(shown, *old, "trial_period_days", "trial_from_plan")

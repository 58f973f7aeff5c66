"""Subscriptions' store in memory, and a payment system that goes by the time that it is told.

Both count: what was written, and what was asked, so that a test sees what a repeat has done.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

from adapters.payments.catalogue import load_catalogue
from domain.billing import (
    Account,
    BillingRefused,
    BillingUnavailable,
    CheckoutOrder,
    CheckoutPage,
    Entry,
    EntryKind,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.errors import Conflict, InvalidInput, NotFound, Stale
from domain.ids import invoice_id
from domain.periods import next_end, period_end
from domain.plans import Plan
from domain.subscription_life import Happening, resumed
from domain.subscriptions import CheckoutWish

CATALOGUE = load_catalogue()
_S = SubscriptionState


class FakeStore:
    """As `SubscriptionStore` keeps them; `events` are (time, action) of all that happened.

    `forgets`: whoever has changed something never hears of it, as a worker that is killed then.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.events: list[tuple[datetime, str]] = []
        self.forgets = False
        self.lost = 0

    async def open(self, wish: CheckoutWish, now: datetime) -> Account:
        held = self.accounts.get(wish.subscription_id)
        if held is None:
            if any(not each.subscription.over for each in self.accounts.values()):
                raise Conflict("already-subscribed", "there is another one")
            plan = CATALOGUE.get(wish.plan_id, wish.plan_version)
            if plan is None:
                raise InvalidInput("plan_id", "there is no such plan")
            new = Subscription(
                wish.subscription_id, wish.tenant_id, plan.plan_id, plan.version, wish.provider, created_at=now
            )
            held = self.accounts[wish.subscription_id] = Account(new, plan)
            self.events.append((now, "created"))
        return held

    async def account(self, _tenant_id: str, subscription_id: str) -> Account:
        if subscription_id not in self.accounts:
            raise NotFound("subscription", subscription_id)
        return self.accounts[subscription_id]

    async def had_trial(self, _tenant_id: str, _but: str) -> bool:
        return False

    async def write(
        self, stored: Account, outcome: Outcome, happened: Sequence[Happening], now: datetime, *, actor: str
    ) -> Subscription:
        assert actor
        held = self.accounts[stored.subscription.subscription_id]
        if held.subscription.version != stored.subscription.version:
            raise Stale("subscription", held.subscription.subscription_id)
        after = outcome.subscription
        if after != held.subscription:
            after = replace(after, version=after.version + 1)
            self.events += [(now, each.action) for each in happened]
        plan = CATALOGUE.get(after.plan_id, after.plan_version)
        assert plan is not None
        scheduled = None
        if after.scheduled_plan_id is not None:
            scheduled = CATALOGUE.get(after.scheduled_plan_id, after.scheduled_plan_version or 1)
        known = {entry.entry_id for entry in held.entries}
        self.accounts[after.subscription_id] = Account(
            after, plan, scheduled,
            tuple({each.invoice_id: each for each in (*held.invoices, *outcome.invoices)}.values()),
            (*held.entries, *(entry for entry in outcome.entries if entry.entry_id not in known)),
            tuple({each.refund_id: each for each in (*held.refunds, *outcome.refunds)}.values()),
        )  # fmt: skip
        if self.forgets and after != held.subscription:
            self.lost += 1
            raise RuntimeError("the worker was killed")
        return after

    def actions(self) -> list[str]:
        return [action for _, action in self.events]


class FakeBiller:
    """Paid as bitcoin is: by the period, each when `pays` says (None: never), all read by the time that it is asked.

    `down`: spans in which it does not answer. `effects` are what it has done once, `asked` how often it was called.
    """

    provider: ClassVar[Provider] = Provider.BTCPAY

    def __init__(self, pays: Callable[[datetime], datetime | None] = lambda start: start - timedelta(days=1)) -> None:
        self.pays = pays
        self.down: list[tuple[datetime, datetime]] = []
        self.effects: list[str] = []
        self.asked = 0
        self.refusal: BillingRefused | None = None

    async def checkout(self, account: Account, order: CheckoutOrder, now: datetime) -> tuple[Outcome, CheckoutPage]:
        self._knock(now)
        held = replace(account.subscription, customer_ref="cus")
        if order.trial and held.status is _S.INCOMPLETE:
            end = now + timedelta(days=order.plan.trial_days)
            held = replace(
                held, status=_S.TRIALING, anchor_at=end, period_start=now, renewal_at=end, paid_through=end,
                trial_end=end,
            )  # fmt: skip
        return Outcome(held), CheckoutPage("https://pay.example/1", "page", now + timedelta(hours=1))

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        self._knock(now)
        held, invoices, entries = account.subscription, [], []
        if held.status is _S.INCOMPLETE and (at := self.pays(held.created_at or now)) is not None and at <= now:
            plan = account.plan
            held = replace(
                held, status=_S.ACTIVE, anchor_at=at, period_start=at, renewal_at=period_end(at, plan.interval, 1),
                paid_through=period_end(at, plan.interval, 1),
            )  # fmt: skip
        while held.status not in {_S.INCOMPLETE, _S.PAUSED} and not held.over and held.paid_through is not None:
            start, at = held.paid_through, self.pays(held.paid_through)
            if at is None or at > now or (held.cancel_at is not None and held.cancel_at <= start):
                break
            plan = account.scheduled or account.plan
            end = next_end(held.anchor_at or start, plan.interval, start)
            invoice = Invoice(
                invoice_id(held.subscription_id, start.isoformat()), held.subscription_id, held.provider,
                InvoiceKind.PERIOD, InvoiceStatus.PAID, plan.price_minor, paid_minor=plan.price_minor,
                period_start=start, period_end=end, created_at=at, paid_at=at,
            )  # fmt: skip
            invoices.append(invoice)
            entries += [
                Entry(f"payment/{start.isoformat()}", EntryKind.PAYMENT, plan.price_minor, at, invoice.invoice_id),
                Entry(f"applied/{start.isoformat()}", EntryKind.APPLIED, -plan.price_minor, at, invoice.invoice_id),
            ]
            held = replace(held, paid_through=end)
        return Outcome(held, tuple(invoices), tuple(entries))

    async def change(self, account: Account, plan: Plan, now: datetime, key: str) -> Outcome:
        self._knock(now)
        self._once(f"change/{key}")
        held = account.subscription
        if plan.yearly_minor > account.plan.yearly_minor:
            return Outcome(replace(held, plan_id=plan.plan_id, plan_version=plan.version))
        return Outcome(replace(held, scheduled_plan_id=plan.plan_id, scheduled_plan_version=plan.version))

    async def cancel(self, account: Account, now: datetime, key: str, *, at_period_end: bool) -> Outcome:
        self._knock(now)
        self._once(f"cancel/{key}")
        held = account.subscription
        if at_period_end:
            return Outcome(replace(held, cancel_at=held.renewal_at))
        return Outcome(replace(held, status=_S.CANCELED, ended_at=now))

    async def keep(self, account: Account, now: datetime, key: str) -> Outcome:
        self._knock(now)
        self._once(f"keep/{key}")
        held = account.subscription
        return Outcome(replace(held, cancel_at=None, scheduled_plan_id=None, scheduled_plan_version=None))

    async def pause(self, account: Account, now: datetime, key: str, *, until: datetime | None) -> Outcome:
        self._knock(now)
        self._once(f"pause/{key}")
        return Outcome(replace(account.subscription, status=_S.PAUSED, paused_at=now, resume_at=until))

    async def resume(self, account: Account, now: datetime, key: str) -> Outcome:
        self._knock(now)
        self._once(f"resume/{key}")
        return Outcome(resumed(account.subscription, now))

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        return [invoice for invoice in account.invoices if invoice.created_at and invoice.created_at >= since]

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        assert invoice in account.invoices
        self._knock(now)
        self._once(f"refund/{refund.refund_id}/{refund.amount_minor}")
        return replace(
            refund, status=RefundStatus.CLAIMABLE, provider_ref="pull", claim_url="https://pay.example/claim"
        )

    async def portal(self, account: Account, return_url: str) -> str:
        raise BillingRefused("not_offered", f"{account.subscription.provider} has none, back to {return_url}")

    def _knock(self, now: datetime) -> None:
        self.asked += 1
        if any(since <= now < until for since, until in self.down):
            raise BillingUnavailable("no answer")
        if self.refusal is not None:
            raise self.refusal

    def _once(self, effect: str) -> None:
        """By its key, as payment systems do it."""
        if effect not in self.effects:
            self.effects.append(effect)

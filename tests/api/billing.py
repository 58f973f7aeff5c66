"""A subscription's workflow and a payment system in the test's own process, and a tenant that has paid."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.subscriptions import SubscriptionActivities
from adapters.payments.catalogue import load_catalogue
from adapters.store.database import Database
from adapters.store.entitlements import EntitlementStore
from adapters.store.subscriptions import SubscriptionStore
from api.services import Billing
from domain import ids
from domain.billing import (
    Account,
    BillingRefused,
    CheckoutOrder,
    CheckoutPage,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
    Refund,
    RefundStatus,
    SubscriptionState,
)
from domain.entitlements import EVERYTHING
from domain.periods import period_end
from domain.plans import Plan
from domain.subscriptions import CheckoutWish, SubscriptionView
from settings import BillingSettings
from temporal.orders import EngineUnavailable


@dataclass
class FakeCards:
    """Does what it is asked; `error` is what it raises instead. What is paid there, `pay` writes."""

    provider: ClassVar[Provider] = Provider.STRIPE
    asked: list[tuple[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def _ask(self, what: str, detail: Any = None) -> None:
        self.asked.append((what, detail))
        if self.error is not None:
            raise self.error

    async def checkout(self, account: Account, order: CheckoutOrder, now: datetime) -> tuple[Outcome, CheckoutPage]:
        self._ask("checkout", order)
        held = account.subscription
        page = CheckoutPage(f"https://pay.example/{held.subscription_id}", "cs_1", now + timedelta(hours=23))
        return Outcome(replace(held, customer_ref=f"cus_{held.subscription_id}")), page

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        self._ask("refresh")
        return Outcome(account.subscription)

    async def change(self, account: Account, plan: Plan, now: datetime, key: str) -> Outcome:
        self._ask("change", key)
        later = plan.yearly_minor < account.plan.yearly_minor
        names = ("scheduled_plan_id", "scheduled_plan_version") if later else ("plan_id", "plan_version")
        change: Any = dict(zip(names, (plan.plan_id, plan.version), strict=True))
        return Outcome(replace(account.subscription, **change))

    async def cancel(self, account: Account, now: datetime, key: str, *, at_period_end: bool) -> Outcome:
        self._ask("cancel", key)
        held = account.subscription
        if at_period_end:
            return Outcome(replace(held, cancel_at=held.renewal_at))
        return Outcome(replace(held, status=SubscriptionState.CANCELED, ended_at=now))

    async def keep(self, account: Account, now: datetime, key: str) -> Outcome:
        self._ask("keep", key)
        kept = replace(account.subscription, cancel_at=None, scheduled_plan_id=None, scheduled_plan_version=None)
        return Outcome(kept)

    async def pause(self, account: Account, now: datetime, key: str, *, until: datetime | None) -> Outcome:
        self._ask("pause", key)
        held = replace(account.subscription, status=SubscriptionState.PAUSED, paused_at=now, resume_at=until)
        return Outcome(held)

    async def resume(self, account: Account, now: datetime, key: str) -> Outcome:
        self._ask("resume", key)
        held = replace(account.subscription, status=SubscriptionState.ACTIVE, paused_at=None, close_only=False)
        return Outcome(replace(held, resume_at=None))

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        return account.invoices

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        self._ask("refund", refund)
        return replace(refund, status=RefundStatus.CLAIMABLE, claim_url=f"https://pay.example/{refund.refund_id}")

    async def portal(self, account: Account, return_url: str) -> str:
        self._ask("portal", return_url)
        return "https://portal.example/p/1"


class FakeBitcoin(FakeCards):
    provider: ClassVar[Provider] = Provider.BTCPAY

    async def portal(self, account: Account, return_url: str) -> str:
        raise BillingRefused("not_offered", "there is no portal for bitcoin")


@dataclass
class FakeSubscriptions:
    """Does at once what the workflow's activities do. `away`: no engine; `late`: it was done, and nobody heard."""

    steps: SubscriptionActivities
    asked: list[tuple[str, Any]] = field(default_factory=list)
    away: EngineUnavailable | None = None
    late: bool = False

    async def _do(self, name: str, step: Callable[..., Awaitable[Any]], wish: Any) -> Any:
        self.asked.append((name, wish))
        if self.away is not None:
            raise self.away
        try:
            done = await ActivityEnvironment().run(step, wish, datetime.now(UTC))
        except ApplicationError as error:
            raise WorkflowUpdateFailedError(error) from error
        if self.late:
            raise EngineUnavailable("nobody has heard of it", taken=True)
        return done

    async def checkout(self, wish: Any) -> CheckoutPage:
        done = await self._do("checkout", self.steps.checkout_subscription, wish)
        page: CheckoutPage = done.page
        return page

    async def change(self, wish: Any) -> SubscriptionView:
        return await self._view("change", self.steps.change_subscription, wish)

    async def cancel(self, wish: Any) -> SubscriptionView:
        return await self._view("cancel", self.steps.cancel_subscription, wish)

    async def keep(self, wish: Any) -> SubscriptionView:
        return await self._view("keep", self.steps.keep_subscription, wish)

    async def pause(self, wish: Any) -> SubscriptionView:
        return await self._view("pause", self.steps.pause_subscription, wish)

    async def resume(self, wish: Any) -> SubscriptionView:
        return await self._view("resume", self.steps.resume_subscription, wish)

    async def refund(self, wish: Any) -> Refund:
        made: Refund = (await self._do("refund", self.steps.refund_invoice, wish)).refund
        return made

    async def _view(self, name: str, step: Callable[..., Awaitable[Any]], wish: Any) -> SubscriptionView:
        view: SubscriptionView = await self._do(name, step, wish)
        return view


@dataclass
class Till:
    """What the API's tests have of billing. `fresh` before each of them."""

    engine: FakeSubscriptions
    cards: FakeCards
    bitcoin: FakeBitcoin
    store: SubscriptionStore
    desk: Billing

    @classmethod
    def of(cls, database: Database) -> "Till":
        catalogue, terms = load_catalogue(), BillingSettings().terms()
        store, cards, bitcoin = SubscriptionStore(database, catalogue), FakeCards(), FakeBitcoin()
        billers: Any = {each.provider: each for each in (cards, bitcoin)}
        granted = EntitlementStore(database, EVERYTHING, catalogue)
        engine = FakeSubscriptions(SubscriptionActivities(store, billers, catalogue, terms))
        return cls(engine, cards, bitcoin, store, Billing(engine, store, granted, catalogue, terms, billers))

    def fresh(self) -> None:
        for each in (self.cards, self.bitcoin):
            each.asked, each.error = [], None
        self.engine.asked, self.engine.away, self.engine.late = [], None, False

    async def subscribe(self, tenant_id: str, plan_id: str = "institutional", coupon: str | None = None) -> Invoice:
        """A tenant that pays by card, straight into the store."""
        plan = self.desk.catalogue.current(plan_id)
        wish = CheckoutWish(
            tenant_id, ids.subscription_id(tenant_id, "entities"), "user:test", "k", Provider.STRIPE, plan.plan_id,
            plan.version, "ada@manager.example", "https://app.example/", "https://app.example/", coupon,
        )  # fmt: skip
        await self.store.open(wish, datetime.now(UTC))
        return await self.pay(tenant_id)

    async def pay(self, tenant_id: str, *, days_ago: int = 10) -> Invoice:
        """As if the tenant's open checkout had been paid: the subscription runs, and its first invoice is paid."""
        now = datetime.now(UTC)
        held = await self.store.live(tenant_id)
        assert held is not None
        account = await self.store.account(tenant_id, held.subscription_id)
        start = (now - timedelta(days=days_ago)).replace(microsecond=0)
        end = period_end(start, account.plan.interval, 1)
        held = replace(
            account.subscription, status=SubscriptionState.ACTIVE, anchor_at=start, period_start=start, renewal_at=end,
            paid_through=end,
        )  # fmt: skip
        price = account.plan.price_minor
        invoice = Invoice(
            ids.invoice_id(held.subscription_id, "period/1"), held.subscription_id, held.provider, InvoiceKind.PERIOD,
            InvoiceStatus.PAID, price, provider_ref=f"in_{held.subscription_id}", plan_id=held.plan_id,
            plan_version=held.plan_version, paid_minor=price, period_start=start, period_end=end,
            pdf_url="https://pay.example/invoice.pdf", created_at=start, paid_at=start,
        )  # fmt: skip
        await self.store.write(account, Outcome(held, (invoice,)), (), now, actor="system:billing")
        return invoice

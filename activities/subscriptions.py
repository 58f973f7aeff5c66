"""The steps of the workflow that owns a subscription: read its account, ask the payment system, write what is true.

Each may be repeated, by its own retries and by a person: what is so already is not asked for again, what has an effect
at a payment system carries the wish's key, and the store writes only what has changed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporalio import activity

from activities.errors import translated
from activities.heartbeat import beating
from domain import subscription_life as life
from domain import subscriptions as rules
from domain.billing import (
    Account,
    Biller,
    BillingError,
    BillingRefused,
    CheckoutOrder,
    Invoice,
    Outcome,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.errors import Conflict, InvalidInput, NotFound
from domain.plans import Catalogue, Plan
from domain.subscriptions import (
    CancelWish,
    CheckedOut,
    CheckoutWish,
    Look,
    PauseWish,
    PlanWish,
    Refunded,
    RefundWish,
    SubscriptionView,
    Terms,
    Wish,
)

if TYPE_CHECKING:
    from adapters.store.subscriptions import SubscriptionStore

_SYSTEM = "system:billing"
_MAX_NOTE = 300


class SubscriptionActivities:
    """What the caller must hear is an ApplicationError with the error's code as its type; see `activities.errors`."""

    def __init__(
        self, store: "SubscriptionStore", billers: Mapping[Provider, Biller], catalogue: Catalogue, terms: Terms
    ) -> None:
        self._store = store
        self._billers = billers
        self._catalogue = catalogue
        self._terms = terms

    def all(self) -> list[Callable[..., Any]]:
        return [
            self.look_at_subscription, self.checkout_subscription, self.change_subscription, self.cancel_subscription,
            self.keep_subscription, self.pause_subscription, self.resume_subscription, self.refund_invoice,
        ]  # fmt: skip

    @activity.defn
    async def look_at_subscription(self, look: Look) -> SubscriptionView:
        """Read the payment system, and do what time has brought about.

        One that cannot be read is no failure: then nothing is taken away, and `heard` is false.
        """
        async with _told():
            account = await self._store.account(look.tenant_id, look.subscription_id)
            return await self._refresh(account, look.now, _SYSTEM)

    @activity.defn
    async def checkout_subscription(self, wish: CheckoutWish, now: datetime) -> CheckedOut:
        async with _told():
            biller = self._biller(wish.provider)
            stored = await self._store.open(wish, now)
            rules.check_checkout(stored.subscription, wish)
            account = self._for_plan(stored, wish)
            trial = wish.trial and account.plan.trial_days > 0
            trial = trial and not await self._store.had_trial(wish.tenant_id, wish.subscription_id)
            order = CheckoutOrder(
                account.plan, wish.email, wish.success_url, wish.cancel_url, coupon=wish.coupon, trial=trial
            )
            outcome, page = await biller.checkout(account, order, now)
            return CheckedOut(page, await self._finish(stored, outcome, now, wish.actor))

    @activity.defn
    async def change_subscription(self, wish: PlanWish, now: datetime) -> SubscriptionView:
        async with _told():
            stored = await self._stored(wish)
            held, plan = stored.subscription, self._plan(wish.plan_id, wish.plan_version)
            if plan in (stored.plan, stored.scheduled):
                return await self._refresh(stored, now, wish.actor)
            rules.check_change(held, wish)
            rules.check_plans(stored.plan, plan)
            outcome = await self._biller(held.provider).change(stored, plan, now, wish.key)
            return await self._finish(stored, outcome, now, wish.actor)

    @activity.defn
    async def cancel_subscription(self, wish: CancelWish, now: datetime) -> SubscriptionView:
        async with _told():
            stored = await self._stored(wish)
            held = stored.subscription
            if held.over or (wish.at_period_end and held.cancel_at is not None):
                return await self._refresh(stored, now, wish.actor)
            rules.check_cancel(held, wish, now)
            biller = self._biller(held.provider)
            outcome = await biller.cancel(stored, now, wish.key, at_period_end=wish.at_period_end)
            return await self._finish(stored, outcome, now, wish.actor)

    @activity.defn
    async def keep_subscription(self, wish: Wish, now: datetime) -> SubscriptionView:
        return await self._do(wish, now, rules.check_keep, lambda b, account: b.keep(account, now, wish.key))

    @activity.defn
    async def pause_subscription(self, wish: PauseWish, now: datetime) -> SubscriptionView:
        return await self._do(
            wish,
            now,
            lambda held: rules.check_pause(held, wish, now),
            lambda b, account: b.pause(account, now, wish.key, until=wish.until),
        )

    @activity.defn
    async def resume_subscription(self, wish: Wish, now: datetime) -> SubscriptionView:
        return await self._do(wish, now, rules.check_resume, lambda b, account: b.resume(account, now, wish.key))

    @activity.defn
    async def refund_invoice(self, wish: RefundWish, now: datetime) -> Refunded:
        """Written down before it is asked for, so that a repeat finds it and gives back nothing twice."""
        async with _told():
            stored = await self._stored(wish)
            invoice = _invoice(stored, wish.invoice_id)
            biller = self._biller(stored.subscription.provider)
            refund = next((known for known in stored.refunds if known.refund_id == wish.refund_id), None)
            if refund is None:
                rules.check_refund(invoice, stored.refunds, wish)
                refund = Refund(
                    wish.refund_id, invoice.invoice_id, wish.amount_minor, RefundStatus.PENDING, wish.reason,
                    wish.actor, created_at=now,
                )  # fmt: skip
                await self._put_refund(stored, refund, now)
            elif (refund.invoice_id, refund.amount_minor) != (wish.invoice_id, wish.amount_minor):
                raise InvalidInput("refund_id", "is another refund's")
            if refund.status is RefundStatus.PENDING and refund.provider_ref is None:
                refund = await self._give_back(biller, await self._stored(wish), invoice, refund, now)
            view = await self._refresh(await self._stored(wish), now, wish.actor)
            return Refunded(replace(refund, claim_url=None), view)

    async def _give_back(
        self, biller: Biller, stored: Account, invoice: Invoice, refund: Refund, now: datetime
    ) -> Refund:
        try:
            done = await biller.refund(stored, invoice, refund, now)
        except BillingRefused:
            await self._put_refund(stored, replace(refund, status=RefundStatus.FAILED), now)
            raise
        given = 0 if done.status is RefundStatus.FAILED else done.amount_minor
        refunded = min(invoice.paid_minor, invoice.refunded_minor + given)
        await self._put_refund(stored, done, now, replace(invoice, refunded_minor=refunded))
        return done

    async def _put_refund(self, stored: Account, refund: Refund, now: datetime, *invoices: Invoice) -> None:
        outcome = Outcome(stored.subscription, invoices=invoices, refunds=(refund,))
        await self._store.write(stored, outcome, (), now, actor=refund.actor)

    async def _do(
        self,
        wish: Wish,
        now: datetime,
        check: Callable[[Subscription], None],
        ask: Callable[[Biller, Account], Awaitable[Outcome]],
    ) -> SubscriptionView:
        async with _told():
            stored = await self._stored(wish)
            try:
                check(stored.subscription)
            except Conflict:
                if not _repeated():
                    raise
                return await self._refresh(stored, now, wish.actor)  # its worker died when it had been done
            outcome = await ask(self._biller(stored.subscription.provider), stored)
            return await self._finish(stored, outcome, now, wish.actor)

    async def _refresh(self, stored: Account, now: datetime, actor: str) -> SubscriptionView:
        try:
            outcome = await self._biller(stored.subscription.provider).refresh(stored, now)
        except BillingError as error:
            note = f"{error.code}: {error}"[:_MAX_NOTE]
            return await self._finish(stored, Outcome(stored.subscription), now, actor, note)
        return await self._finish(stored, outcome, now, actor)

    async def _finish(
        self, stored: Account, outcome: Outcome, now: datetime, actor: str, unheard: str | None = None
    ) -> SubscriptionView:
        """Add what time has brought about, and write all of it. Raises IllegalTransition, and Stale to be repeated."""
        before, heard = stored.subscription, unheard is None
        if before.over:  # money may still come, or go back; nothing else does
            outcome = replace(outcome, subscription=before)
        account = self._merged(stored, outcome)
        after, happened = life.advance(account, self._terms, now, heard=heard, before=before)
        if after.status is not before.status:
            rules.check(before.status, after.status)
        after = await self._store.write(stored, replace(outcome, subscription=after), happened, now, actor=actor)
        step = life.next_step(after, self._terms, now, heard=heard)
        return SubscriptionView(after, step, heard=heard, note=unheard)

    def _merged(self, stored: Account, outcome: Outcome) -> Account:
        held = outcome.subscription
        invoices = {invoice.invoice_id: invoice for invoice in (*stored.invoices, *outcome.invoices)}
        scheduled = None
        if held.scheduled_plan_id is not None:
            scheduled = self._catalogue.get(held.scheduled_plan_id, held.scheduled_plan_version or 1)
        return replace(
            stored,
            subscription=held,
            plan=self._catalogue.get(held.plan_id, held.plan_version) or stored.plan,
            scheduled=scheduled,
            invoices=tuple(invoices.values()),
        )

    def _for_plan(self, stored: Account, wish: CheckoutWish) -> Account:
        """Whoever has not paid yet may still choose another plan."""
        if stored.subscription.status is not SubscriptionState.INCOMPLETE:
            return stored
        plan = self._plan(wish.plan_id, wish.plan_version)
        held = replace(stored.subscription, plan_id=plan.plan_id, plan_version=plan.version, coupon=wish.coupon)
        return replace(stored, subscription=held, plan=plan)

    async def _stored(self, wish: Wish) -> Account:
        return await self._store.account(wish.tenant_id, wish.subscription_id)

    def _plan(self, plan_id: str, version: int) -> Plan:
        plan = self._catalogue.get(plan_id, version)
        if plan is None:
            raise InvalidInput("plan_id", f"there is no version {version} of plan {plan_id[:40]!r}")
        return plan

    def _biller(self, provider: Provider) -> Biller:
        if provider not in self._billers:
            raise BillingRefused("not-set-up", f"{provider} is not set up here")
        return self._billers[provider]


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """A worker that dies is noticed within seconds, for somebody may be waiting; our errors are told as Temporal's."""
    async with beating(), translated():
        yield


def _repeated() -> bool:
    return activity.in_activity() and activity.info().attempt > 1


def _invoice(account: Account, invoice_id: str) -> Invoice:
    for invoice in account.invoices:
        if invoice.invoice_id == invoice_id:
            return invoice
    raise NotFound("invoice", invoice_id)

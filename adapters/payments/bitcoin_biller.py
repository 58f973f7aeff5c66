"""Subscriptions that are paid in bitcoin. BTCPay Server knows invoices only: the account and the periods are ours.

Whatever is asked, the invoices that may have changed are read first and the account is settled, so that what is
decided is decided on what is true now. Nothing is read from an event.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeVar

from adapters.payments.btcpay import Btcpay
from adapters.payments.btcpay_wire import Asked
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
from domain.bitcoin import invoice_as_read
from domain.bitcoin_account import in_hand, settle
from domain.bitcoin_changes import (
    UNPAID_YET,
    cancelled,
    check_change,
    kept,
    nothing_ahead,
    on_trial,
    paused,
    scheduled,
    with_plan,
    without_upgrade,
)
from domain.bitcoin_charges import Rules, invoice_for, pay_upgrade, upgrade_price
from domain.bitcoin_invoicing import Wanted, as_there, obsolete, outcome, wanted, watched, with_invoice
from domain.ids import invoice_id
from domain.plans import Plan
from domain.subscription_life import resumed

T = TypeVar("T")
_TO_PAY = frozenset({InvoiceStatus.OPEN, InvoiceStatus.PROCESSING})


class BitcoinBiller:
    """A Biller (`domain.billing`). `close()` it.

    Keys of wishes are needed for upgrades only: all else is a state of ours, and asking for it twice is asking once.
    """

    provider: ClassVar[Provider] = Provider.BTCPAY

    def __init__(self, btcpay: Btcpay, rules: Rules) -> None:
        self._btcpay = btcpay
        self._rules = rules

    async def checkout(self, account: Account, order: CheckoutOrder, now: datetime) -> tuple[Outcome, CheckoutPage]:
        """A trial begins at once and nothing is paid; else the page is that of the first period's invoice.

        Of a subscription that runs, it is the page of what is due now, under a fresh invoice where the last one has
        expired. Where nothing is to pay, it is `order.success_url`.
        """
        if order.coupon is not None:
            raise BillingRefused("not-offered", "coupons are for cards only")
        before, held = account, account.subscription
        if held.status is SubscriptionState.INCOMPLETE:
            account = with_plan(account, order.plan)
            if order.trial and order.plan.trial_days and held.trial_end is None:
                account = on_trial(account, order.plan, now)
        account = await self._read(account, now)
        account = await self._invoiced(account, now, redirect_url=order.success_url, asked=True)
        invoice = invoice_for(account, account.subscription.paid_through)
        if invoice is None or invoice.url is None or invoice.status not in _TO_PAY:
            return outcome(before, account), CheckoutPage(order.success_url, held.subscription_id)
        return outcome(before, account), CheckoutPage(invoice.url, invoice.provider_ref or "", invoice.due_at)

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        there = outcome(account, await self._invoiced(await self._read(account, now), now))
        return replace(there, refunds=await self._paid_out(account))

    async def change(self, account: Account, plan: Plan, now: datetime, key: str) -> Outcome:
        before, account = account, await self._read(account, now)
        identity = invoice_id(account.subscription.subscription_id, f"upgrade/{key}")
        if any(invoice.invoice_id == identity for invoice in account.invoices):
            return outcome(before, await self._invoiced(account, now))  # this wish has been taken up before
        check_change(account, plan)
        account = nothing_ahead(await self._dropped(account, now), now, self._rules)
        if account.subscription.status in UNPAID_YET:
            account = with_plan(account, plan)
        elif plan.yearly_minor > account.plan.yearly_minor:
            account = await self._upgraded(account, plan, now, identity)
        else:
            account = scheduled(account, plan)
        return outcome(before, await self._invoiced(account, now))

    async def cancel(self, account: Account, now: datetime, key: str, *, at_period_end: bool) -> Outcome:
        there = cancelled(await self._read(account, now), now, at_period_end=at_period_end)
        return outcome(account, await self._invoiced(there, now))

    async def keep(self, account: Account, now: datetime, key: str) -> Outcome:
        there = await self._dropped(await self._read(account, now), now)
        return outcome(account, await self._invoiced(kept(there, now, self._rules), now))

    async def pause(self, account: Account, now: datetime, key: str, *, until: datetime | None) -> Outcome:
        there = await self._read(account, now)
        there = replace(there, subscription=paused(there.subscription, now, until))
        return outcome(account, await self._invoiced(there, now))

    async def resume(self, account: Account, now: datetime, key: str) -> Outcome:
        there = await self._read(account, now)
        if there.subscription.status is SubscriptionState.PAUSED:
            there = replace(there, subscription=resumed(there.subscription, now))
        return outcome(account, await self._invoiced(there, now))

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        """Those that we do not know are of kind `other`."""
        subscription = account.subscription.subscription_id
        known = {invoice.invoice_id: invoice for invoice in account.invoices}
        readings = await self._btcpay.since(since, ("subscription_id", subscription))
        return [as_there(known.get(reading.order_id), reading, subscription) for reading in readings]

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        """The payer says at `claim_url` where to; an operator of the server then releases the payout there."""
        if invoice.provider_ref is None:
            raise BillingRefused("not-refundable", "nothing was paid for this invoice at BTCPay Server")
        others = sum(
            each.amount_minor
            for each in account.refunds
            if each.invoice_id == invoice.invoice_id
            and each.refund_id != refund.refund_id
            and each.status is not RefundStatus.FAILED
        )
        if refund.amount_minor + others > invoice.paid_minor:
            raise BillingRefused("too-much", "more than was paid for this invoice cannot be given back")
        text = f"Refund of {invoice.invoice_id}"
        made = await self._btcpay.refund(invoice.provider_ref, refund.refund_id, refund.amount_minor, text)
        return replace(refund, status=RefundStatus.CLAIMABLE, provider_ref=made.ref, claim_url=made.claim_url)

    async def portal(self, account: Account, return_url: str) -> str:
        raise BillingRefused("not_offered", "there is no portal for bitcoin: every invoice has a page of its own")

    async def ping(self) -> None:
        await self._btcpay.ping()

    async def close(self) -> None:
        await self._btcpay.close()

    async def _read(self, account: Account, now: datetime) -> Account:
        refs = [invoice.provider_ref for invoice in watched(account, now, self._rules)]
        found = [await self._known(self._btcpay.read(ref)) for ref in refs if ref is not None]
        return settle(account, [reading for reading in found if reading is not None], now, self._rules)

    async def _known(self, asked: Awaitable[T]) -> T | None:
        """None for what the server does not have any more: it must not stand in the way of all the rest."""
        try:
            return await asked
        except BillingRefused as error:
            if error.code != "not-found":
                raise
            return None

    async def _paid_out(self, account: Account) -> tuple[Refund, ...]:
        """The refunds that their receivers have claimed and got since."""
        done = []
        for refund in account.refunds:
            if refund.status is RefundStatus.CLAIMABLE and refund.provider_ref is not None:
                paid = await self._known(self._btcpay.paid_out_minor(refund.provider_ref))
                if paid is not None and paid >= refund.amount_minor:
                    done.append(replace(refund, status=RefundStatus.SUCCEEDED))
        return tuple(done)

    async def _invoiced(
        self, account: Account, now: datetime, *, redirect_url: str | None = None, asked: bool = False
    ) -> Account:
        """Settled, with the invoice that it needs, and without those that it does not.

        A refusal of an invoice that nobody waits for must not keep back what was paid: the next look tries again.
        """
        account = settle(account, (), now, self._rules)
        for invoice in obsolete(account, now, self._rules):
            account = with_invoice(account, await self._void(invoice, now))
        lacking = wanted(account, now, self._rules)
        if lacking is None:
            return account
        try:
            return await self._issued(account, lacking, now, redirect_url)
        except BillingRefused:
            if asked:
                raise
            return account

    async def _issued(
        self, account: Account, lacking: Wanted, now: datetime, redirect_url: str | None = None
    ) -> Account:
        """It is looked up first: it may have been made before a crash."""
        held = account.subscription
        tags = {"subscription_id": held.subscription_id, "tenant_id": held.tenant_id}
        asked = Asked(
            lacking.invoice_id, lacking.amount_minor, lacking.plan.title, tags, redirect_url, number=lacking.number
        )
        reading = await self._btcpay.find(lacking.invoice_id) or await self._btcpay.create(asked)
        invoice = lacking.invoice(held, reading, now)
        return settle(with_invoice(account, invoice), [reading], now, self._rules)

    async def _void(self, invoice: Invoice, now: datetime) -> Invoice:
        """What somebody pays for it nevertheless still counts."""
        voided = replace(invoice, status=InvoiceStatus.VOID)
        try:
            return invoice_as_read(voided, await self._btcpay.mark_invalid(invoice.provider_ref or ""), now)
        except BillingRefused:  # it has expired by itself
            return voided

    async def _dropped(self, account: Account, now: datetime) -> Account:
        """Without upgrades that nobody has paid."""
        for invoice in account.invoices:
            if invoice.kind is InvoiceKind.UPGRADE and invoice.status is InvoiceStatus.OPEN:
                account = with_invoice(account, await self._void(invoice, now))
        return without_upgrade(account)

    async def _upgraded(self, account: Account, plan: Plan, now: datetime, identity: str) -> Account:
        """From the balance where it suffices, else as soon as an invoice over the rest is paid."""
        held, price = account.subscription, upgrade_price(account, plan, None, now)
        lacking = price - in_hand(account)
        if lacking <= 0:
            return pay_upgrade(account, plan, price, None, now)
        kind, start, end = InvoiceKind.UPGRADE, held.period_start, held.renewal_at
        return await self._issued(account, Wanted(identity, kind, 1, lacking, plan, start, end), now)

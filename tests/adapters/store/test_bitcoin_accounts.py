"""An account that is paid in bitcoin, from a BTCPay Server's invoices to the rows of the real Postgres."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.subscriptions import SubscriptionActivities
from adapters.store.database import Database
from adapters.store.subscriptions import SubscriptionStore
from domain import ids
from domain.billing import Account, EntryKind, InvoiceStatus, Provider, RefundStatus
from domain.billing import SubscriptionState as State
from domain.subscriptions import CheckoutWish, Look, RefundWish
from tests.adapters.payments.payer import CATALOGUE, TERMS, THANKS, Payer, paying
from tests.adapters.store.conftest import ACTOR


class Stored:
    """The steps of the workflow, carried out one by one at the simulator's time."""

    def __init__(self, payer: Payer, database: Database, tenant: str) -> None:
        self.server = payer.server
        self.store = SubscriptionStore(database, CATALOGUE)
        self.steps = SubscriptionActivities(self.store, {Provider.BTCPAY: payer.biller}, CATALOGUE, TERMS)
        self.named = (tenant, ids.subscription_id(tenant, "k"))

    async def run(self, step: Any, *given: Any) -> Any:
        return await ActivityEnvironment().run(step, *given)

    async def look(self) -> Account:
        await self.run(self.steps.look_at_subscription, Look(*self.named, self.server.clock.now()))
        return await self.store.account(*self.named)

    async def checkout(self) -> Account:
        wish = CheckoutWish(
            *self.named, ACTOR, "k", Provider.BTCPAY, "core", 1, "a@example.com", THANKS, THANKS, trial=False
        )
        await self.run(self.steps.checkout_subscription, wish, self.server.clock.now())
        return await self.store.account(*self.named)

    async def refund(self, invoice_id: str, amount: int) -> Account:
        refund_id = ids.refund_id(self.named[0], "r")
        wish = RefundWish(*self.named, ACTOR, "r", refund_id, invoice_id, amount, "asked")
        await self.run(self.steps.refund_invoice, wish, self.server.clock.now())
        return await self.store.account(*self.named)


@pytest.fixture
async def stored(database: Database, tenant: str) -> AsyncIterator[Stored]:
    async with paying() as payer:
        yield Stored(payer, database, tenant)


async def test_what_is_paid_too_much_is_refunded_once_and_every_line_is_kept(stored: Stored):
    [invoice] = (await stored.checkout()).invoices
    stored.server.pay(invoice.provider_ref or "", part=Decimal(2))
    assert (await stored.look()).subscription.status is State.INCOMPLETE
    stored.server.mine()
    paid = await stored.look()
    assert (paid.subscription.status, paid.balance_minor) == (State.ACTIVE, 4_900)
    assert await stored.look() == paid
    for _ in range(2):
        given = await stored.refund(invoice.invoice_id, 4_900)
    [refund], [pull] = given.refunds, stored.server.book.pulls.values()
    assert (refund.status, given.balance_minor, given.invoices[0].refunded_minor) == (RefundStatus.CLAIMABLE, 0, 4_900)
    stored.server.claim(pull.id)
    done = await stored.look()
    assert (done.refunds[0].status, done.balance_minor) == (RefundStatus.SUCCEEDED, 0)
    lines = {line.kind: line.amount_minor for line in done.entries}
    assert lines == {EntryKind.PAYMENT: 9_800, EntryKind.APPLIED: -4_900, EntryKind.REFUND: -4_900}


async def test_a_payment_that_is_lost_and_comes_back_leaves_the_period_paid_once(stored: Stored):
    [invoice] = (await stored.checkout()).invoices
    payment = stored.server.pay(invoice.provider_ref or "")
    stored.server.mine()
    paid = await stored.look()
    stored.server.advance(timedelta(hours=1))
    stored.server.reorganise(payment)
    lost = await stored.look()
    held = lost.subscription
    assert (held.status, lost.balance_minor, held.past_due_since) == (State.PAST_DUE, 0, stored.server.clock.now())
    assert held.grace_until is not None
    open_ = [each for each in lost.invoices if each.status is InvoiceStatus.OPEN]
    stored.server.pay(open_[0].provider_ref or "")
    stored.server.mine()
    back = await stored.look()
    assert (back.subscription.status, back.balance_minor) == (State.ACTIVE, 0)
    assert back.subscription.paid_through == paid.subscription.paid_through

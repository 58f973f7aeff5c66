"""A subscription that is paid in bitcoin, from checkout to its end, against the simulator of a BTCPay Server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.billing import (
    BillingRefused,
    BillingUnavailable,
    EntryKind,
    InvoiceKind,
    InvoiceStatus,
    Refund,
    RefundStatus,
)
from domain.billing import SubscriptionState as State
from domain.periods import prorate
from simulators.btcpay import Status
from tests.adapters.payments.payer import CORE, PRO, START, THANKS, Payer, order, paying

DAY = timedelta(days=1)
RENEWAL = datetime(2026, 2, 10, 12, tzinfo=UTC)


@pytest.fixture
async def payer() -> AsyncIterator[Payer]:
    async with paying() as opened:
        yield opened


async def test_a_trial_begins_without_a_payment_and_is_invoiced_before_it_ends(payer: Payer):
    page = await payer.checkout(trial=True)
    assert (page.url, payer.held.status, payer.account.invoices) == (THANKS, State.TRIALING, ())
    end = START + 14 * DAY
    assert (payer.held.trial_end, payer.held.renewal_at) == (end, end)
    await payer.pass_time(7 * DAY)
    assert (payer.newest.amount_minor, payer.newest.period_start) == (CORE.price_minor, end)
    await payer.settle()
    assert (payer.held.status, payer.held.paid_through) == (State.TRIALING, datetime(2026, 2, 24, 12, tzinfo=UTC))
    await payer.pass_time(7 * DAY)
    assert (payer.held.status, payer.held.period_start) == (State.ACTIVE, end)


async def test_a_trial_that_nobody_pays_for_is_past_due_and_comes_back_when_it_is_paid(payer: Payer):
    await payer.checkout(trial=True)
    await payer.pass_time(14 * DAY)
    assert payer.held.status is State.PAST_DUE
    await payer.settle()
    assert (payer.held.status, payer.held.period_start) == (State.ACTIVE, START + 14 * DAY)


async def test_a_renewal_is_invoiced_before_it_and_paid_ahead(payer: Payer):
    await payer.subscribe()
    assert payer.held.renewal_at == RENEWAL
    await payer.pass_time(23 * DAY)
    assert len(payer.account.invoices) == 1
    await payer.pass_time(DAY)
    assert (payer.newest.kind, payer.newest.period_start) == (InvoiceKind.PERIOD, RENEWAL)
    await payer.settle()
    assert (payer.held.renewal_at, payer.held.paid_through) == (RENEWAL, datetime(2026, 3, 10, 12, tzinfo=UTC))
    await payer.pass_time(7 * DAY)
    assert (payer.held.period_start, payer.held.renewal_at) == (RENEWAL, datetime(2026, 3, 10, 12, tzinfo=UTC))


async def test_an_invoice_that_expires_is_replaced_by_one_that_lasts_longer_and_the_rest_is_voided(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(31 * DAY)
    assert payer.held.status is State.PAST_DUE
    for hours in (1, 2, 4):
        due = payer.newest.due_at
        assert due is not None
        assert due - payer.now == timedelta(hours=hours)
        await payer.pass_time(due - payer.now)
    late = payer.account.invoices[-2]
    payer.pay(invoice=late)
    payer.server.mine()
    await payer.look()
    assert (payer.held.status, payer.held.renewal_at) == (State.ACTIVE, datetime(2026, 3, 10, 12, tzinfo=UTC))
    assert payer.newest.status is InvoiceStatus.VOID
    assert payer.server.invoice(payer.newest.provider_ref or "").status is Status.INVALID


async def test_who_was_given_up_and_pays_again_gets_a_period_from_then_on(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(31 * DAY)
    await payer.pass_time(40 * DAY)
    assert (payer.held.status, payer.held.close_only) == (State.UNPAID, True)
    await payer.settle()
    assert (payer.held.status, payer.held.close_only, payer.held.anchor_at) == (State.ACTIVE, False, payer.now)


async def test_too_much_pays_periods_to_come_without_an_invoice(payer: Payer):
    await payer.checkout()
    await payer.settle("2.5")
    await payer.pass_time(24 * DAY)
    assert (payer.held.paid_through, len(payer.account.invoices)) == (datetime(2026, 3, 10, 12, tzinfo=UTC), 1)
    await payer.pass_time(28 * DAY)
    assert payer.newest.amount_minor == CORE.price_minor - payer.account.balance_minor > 0


async def test_the_rate_is_the_invoices_own(payer: Payer):
    await payer.checkout()
    payer.server.set_rate(Decimal(30_000))
    await payer.settle()
    assert (payer.held.status, payer.account.balance_minor) == (State.ACTIVE, 0)


async def test_an_upgrade_is_in_force_when_its_proration_is_paid(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(10 * DAY)
    await payer.change(PRO)
    due = prorate(CORE.price_minor, PRO.price_minor, START, RENEWAL, payer.now).due_minor
    assert (payer.newest.kind, payer.newest.amount_minor, payer.held.plan_id) == (InvoiceKind.UPGRADE, due, "core")
    before = payer.account
    await payer.change(PRO)  # the same wish again
    assert payer.account == before
    payer.pay()
    await payer.look()
    assert payer.held.plan_id == "core"
    payer.server.mine()
    await payer.look()
    assert (payer.held.plan_id, payer.account.balance_minor) == ("pro", 0)
    assert (payer.held.renewal_at, payer.held.status) == (RENEWAL, State.ACTIVE)


async def test_an_upgrade_that_is_lost_again_ends_with_the_plan_before_it(payer: Payer):
    await payer.subscribe()
    await payer.change(PRO)
    payment = payer.pay()
    payer.server.mine()
    await payer.look()
    assert payer.held.plan_id == "pro"
    payer.server.reorganise(payment)
    await payer.look()
    assert (payer.held.plan_id, payer.held.status, payer.account.balance_minor) == ("core", State.ACTIVE, 0)


async def test_a_balance_pays_an_upgrade_at_once(payer: Payer):
    await payer.checkout()
    await payer.settle("6")
    await payer.change(PRO)
    assert (payer.held.plan_id, len(payer.account.invoices)) == ("pro", 1)


async def test_an_upgrade_that_nobody_pays_lapses(payer: Payer):
    await payer.subscribe()
    await payer.change(PRO)
    await payer.pass_time(3 * DAY)
    payer.take(await payer.biller.keep(payer.account, payer.now, "k"))
    assert (payer.held.plan_id, payer.newest.status) == ("core", InvoiceStatus.VOID)


async def test_a_downgrade_waits_for_the_renewal_and_gives_back_what_was_paid_ahead(payer: Payer):
    await payer.subscribe()
    await payer.change(PRO)
    await payer.settle()
    await payer.pass_time(25 * DAY)
    await payer.settle()  # the next period of pro
    await payer.change(CORE, "down")
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("pro", "core")
    assert payer.account.balance_minor == PRO.price_minor - CORE.price_minor
    await payer.pass_time(6 * DAY)
    assert (payer.held.plan_id, payer.held.scheduled_plan_id, payer.held.status) == ("core", None, State.ACTIVE)


async def test_a_cancellation_keeps_what_is_paid_and_asks_for_nothing_more(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(24 * DAY)
    asked = payer.newest
    payer.take(await payer.biller.cancel(payer.account, payer.now, "k", at_period_end=True))
    assert (payer.held.status, payer.held.cancel_at, payer.open) == (State.ACTIVE, RENEWAL, [])
    payer.take(await payer.biller.keep(payer.account, payer.now, "k"))
    assert (payer.held.cancel_at, payer.newest.number) == (None, asked.number + 1)
    payer.take(await payer.biller.cancel(payer.account, payer.now, "k", at_period_end=False))
    assert (payer.held.status, payer.open) == (State.CANCELED, [])


async def test_a_pause_gives_back_the_time_that_was_paid_for(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(10 * DAY)
    payer.take(await payer.biller.pause(payer.account, payer.now, "k", until=None))
    assert (payer.held.status, payer.held.close_only) == (State.PAUSED, True)
    await payer.pass_time(60 * DAY)
    assert (payer.held.status, len(payer.account.invoices)) == (State.PAUSED, 1)
    payer.take(await payer.biller.resume(payer.account, payer.now, "k"))
    assert (payer.held.status, payer.held.paid_through) == (State.ACTIVE, RENEWAL + 60 * DAY)


async def test_what_was_marked_as_settled_by_hand_grants_nothing(payer: Payer):
    await payer.checkout()
    marked = payer.server.invoice(payer.newest.provider_ref or "")
    payer.server._ledger.mark(marked, Status.SETTLED)
    await payer.look()
    first, second = payer.account.invoices
    assert (payer.held.status, first.status, first.detail) == (State.INCOMPLETE, InvoiceStatus.INVALID, "Marked")
    assert second.status is InvoiceStatus.OPEN


async def test_an_hour_without_the_server_loses_nothing(payer: Payer):
    await payer.subscribe()
    await payer.pass_time(24 * DAY)
    before = payer.account
    payer.server.outage(on=True)
    payer.pay()
    payer.server.mine()
    for _ in range(4):
        payer.server.advance(timedelta(minutes=15))
        with pytest.raises(BillingUnavailable):
            await payer.look()
    assert payer.account == before
    payer.server.outage(on=False)
    await payer.look()
    assert payer.held.paid_through == datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert payer.account.balance_minor == 0


async def test_an_invoice_whose_making_was_not_answered_is_found_again(payer: Payer):
    asked = await payer.biller.checkout(payer.account, order(), payer.now)  # and the worker dies
    page = await payer.checkout()
    assert page == asked[1]
    assert len(payer.server.of_order(payer.newest.invoice_id)) == 1


def refund_of(payer: Payer, amount: int) -> Refund:
    return Refund(
        "RF-1", payer.newest.invoice_id, amount, RefundStatus.PENDING, "asked", "user:ann", created_at=payer.now
    )


async def test_a_refund_is_claimed_by_its_link_and_made_once(payer: Payer):
    await payer.checkout()
    await payer.settle("2")
    refund = refund_of(payer, 5_000)
    payer.account = replace(payer.account, refunds=(refund,))
    done = await payer.biller.refund(payer.account, payer.newest, refund, payer.now)
    again = await payer.biller.refund(payer.account, payer.newest, refund, payer.now)
    assert done == again
    assert done.status is RefundStatus.CLAIMABLE
    assert done.claim_url is not None
    assert done.claim_url.startswith(payer.server.url)
    [pull] = payer.server.book.pulls.values()
    assert (pull.amount, pull.currency, pull.name) == (Decimal(50), "USD", "RF-1")
    payer.account = replace(payer.account, refunds=(done,))
    await payer.look()
    await payer.look()
    # 4,900 were in hand and are given back; the other dollar was used, and neither is owed nor takes the period.
    assert (payer.account.balance_minor, payer.held.status) == (0, State.ACTIVE)
    assert sum(e.amount_minor for e in payer.account.entries if e.kind is EntryKind.REFUND) == -5_000


async def test_a_refund_that_was_claimed_and_paid_has_succeeded(payer: Payer):
    await payer.subscribe()
    done = await payer.biller.refund(payer.account, payer.newest, refund_of(payer, 4_900), payer.now)
    payer.account = replace(payer.account, refunds=(done,))
    assert (await payer.biller.refresh(payer.account, payer.now)).refunds == ()
    payer.server.claim(done.provider_ref or "")
    told = await payer.biller.refresh(payer.account, payer.now)
    assert told.refunds == (replace(done, status=RefundStatus.SUCCEEDED),)


async def test_an_invoice_that_the_server_has_lost_hides_no_other(payer: Payer):
    await payer.checkout()
    lost = payer.newest
    await payer.pass_time(timedelta(hours=1))
    del payer.server.book.invoices[lost.provider_ref or ""]
    await payer.settle()
    assert payer.held.status is State.ACTIVE


async def test_no_more_is_given_back_than_was_paid(payer: Payer):
    await payer.subscribe()
    refund = refund_of(payer, CORE.price_minor + 1)
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.refund(payer.account, payer.newest, refund, payer.now)
    assert refused.value.code == "too-much"
    assert payer.server.book.pulls == {}


async def test_the_servers_own_invoices_are_listed_for_comparing(payer: Payer):
    await payer.subscribe()
    assert await payer.biller.invoices(payer.account, START - DAY) == [payer.newest]
    assert await payer.biller.invoices(payer.account, payer.now + DAY) == []


async def test_neither_coupons_nor_a_portal_are_offered(payer: Payer):
    with pytest.raises(BillingRefused):
        await payer.biller.checkout(payer.account, replace(order(), coupon="HALF"), payer.now)
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.portal(payer.account, THANKS)
    assert refused.value.code == "not_offered"

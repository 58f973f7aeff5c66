"""Against the simulator, over a socket: what a customer may do, and what comes back when it is done twice or fails."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.billing import (
    BillingRefused,
    BillingUnavailable,
    InvoiceKind,
    InvoiceStatus,
    Refund,
    RefundStatus,
    SubscriptionState,
)
from domain.periods import period_end, prorate
from domain.plans import Interval
from tests.adapters.payments.conftest import CATALOGUE, DAY, DECLINED, FAILS, Payer, api_of

PRO = CATALOGUE.current("pro")
CORE = CATALOGUE.current("core")


async def test_a_customer_checks_out_and_pays(payer: Payer):
    assert (await payer.refresh()).subscription.status is SubscriptionState.INCOMPLETE
    await payer.subscribe()
    held = payer.held
    assert held.status is SubscriptionState.ACTIVE
    assert held.provider_ref is not None
    assert held.period_start is not None
    assert held.renewal_at == period_end(held.period_start, Interval.MONTH, 1) == held.paid_through
    [invoice] = payer.invoices(InvoiceKind.PERIOD)
    assert (invoice.amount_minor, invoice.paid_minor, invoice.status) == (4900, 4900, InvoiceStatus.PAID)
    assert (invoice.plan_id, invoice.period_start, invoice.period_end) == ("core", held.period_start, held.renewal_at)
    assert invoice.pdf_url is not None
    assert invoice.pdf_url.startswith(payer.server.url)


async def test_a_trial_costs_nothing_until_it_ends(payer: Payer):
    await payer.subscribe(trial=True)
    held = payer.held
    assert held.status is SubscriptionState.TRIALING
    assert held.period_start is not None
    assert held.trial_end == held.renewal_at == held.paid_through == held.period_start + 14 * DAY
    assert [i.amount_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [0]
    await payer.renew()
    await payer.refresh()
    assert payer.held.status is SubscriptionState.ACTIVE
    assert payer.held.anchor_at == held.trial_end
    assert [i.amount_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [0, 4900]


async def test_the_same_order_has_one_page_and_another_order_closes_it(payer: Payer):
    first = await payer.page()
    assert await payer.page() == first
    other = await payer.page(trial=True)
    assert other != first
    assert await payer.server.submit(first, {"do": "pay"}) == 410
    assert await payer.server.submit(other, {"do": "pay"}) == 303
    with pytest.raises(BillingRefused) as refused:
        await payer.page()
    assert refused.value.code == "paid-already"
    await payer.refresh()
    assert payer.held.status is SubscriptionState.TRIALING


async def test_a_declined_card_makes_no_subscription_and_the_page_stays_open(payer: Payer):
    page = await payer.page()
    for card in (DECLINED, FAILS):
        assert await payer.server.submit(page, {"do": "pay", "card": card}) == 402
        assert (await payer.refresh()).subscription.status is SubscriptionState.INCOMPLETE
    assert await payer.server.submit(page, {"do": "pay"}) == 303
    await payer.refresh()
    assert payer.held.status is SubscriptionState.ACTIVE
    assert len(payer.invoices(InvoiceKind.PERIOD)) == 1


async def test_a_renewal_that_fails_is_past_due_since_its_invoice_until_the_portal_gets_a_good_card(payer: Payer):
    await payer.subscribe()
    paid_through = payer.held.paid_through
    await payer.server.tell("declines", customer=payer.held.customer_ref)
    await payer.renew()
    await payer.refresh()
    held = payer.held
    assert held.status is SubscriptionState.PAST_DUE
    assert held.paid_through == paid_through == held.period_start
    assert held.past_due_since is not None
    assert paid_through is not None
    assert 0 <= (held.past_due_since - paid_through).total_seconds() < 5
    portal = await payer.biller.portal(payer.account, "https://app.example")
    assert await payer.server.submit(portal, {"card": "4242424242424242"}) == 200
    await payer.refresh()
    assert (payer.held.status, payer.held.past_due_since) == (SubscriptionState.ACTIVE, None)
    assert payer.held.paid_through == payer.held.renewal_at


async def test_an_upgrade_is_charged_to_the_second_as_our_own_proration_says(payer: Payer):
    await payer.subscribe()
    await payer.server.tell("clock", advance_s=11 * 86_400 + 12_345)
    done = await payer.biller.change(payer.account, PRO, await payer.now(), "k1")
    again = await payer.biller.change(payer.account, PRO, await payer.now(), "k1")
    assert again.subscription == done.subscription
    payer.take(again)
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("pro", None)
    [upgrade] = payer.invoices(InvoiceKind.UPGRADE)
    start, end, at = payer.held.period_start, payer.held.renewal_at, upgrade.period_start
    assert start is not None
    assert end is not None
    assert at is not None
    ours = prorate(CORE.price_minor, PRO.price_minor, start, end, at)
    assert upgrade.amount_minor == upgrade.paid_minor == ours.due_minor > 0


async def test_an_upgrade_that_cannot_be_paid_changes_nothing(payer: Payer):
    await payer.subscribe()
    await payer.server.tell("declines", customer=payer.held.customer_ref)
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.change(payer.account, PRO, await payer.now(), "k1")
    assert refused.value.code == "card-declined"
    before = payer.held
    await payer.refresh()
    assert payer.held == before
    assert payer.invoices(InvoiceKind.UPGRADE) == []
    payer.take(await payer.biller.change(payer.account, PRO, await payer.now(), "k2"))
    assert payer.held.plan_id == "pro"


async def test_a_downgrade_waits_for_the_renewal_and_can_be_taken_back(payer: Payer):
    payer.account = replace(
        payer.account, plan=PRO, subscription=replace(payer.held, plan_id="pro", plan_version=PRO.version)
    )
    await payer.subscribe()
    now = await payer.now()
    unwritten = payer.account
    payer.take(await payer.biller.change(payer.account, CORE, now, "k1"))
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("pro", "core")
    # Had it never been written down, it would be found again.
    assert (await payer.biller.refresh(unwritten, now)).subscription.scheduled_plan_id == "core"
    payer.take(await payer.biller.keep(payer.account, now, "k2"))
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("pro", None)
    payer.take(await payer.biller.change(payer.account, CORE, now, "k3"))
    await payer.renew()
    await payer.refresh()
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("core", None)
    assert [i.amount_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [19900, 4900]
    assert payer.invoices(InvoiceKind.UPGRADE) == []


async def test_a_downgrade_that_has_renewed_before_the_first_reading_is_none_to_come(payer: Payer):
    plan = replace(payer.held, plan_id="pro", plan_version=PRO.version)
    payer.account = replace(payer.account, plan=PRO, subscription=plan)
    await payer.subscribe()
    unread = replace(payer.account, invoices=(), subscription=replace(plan, customer_ref=payer.held.customer_ref))
    now = await payer.now()
    payer.take(await payer.biller.change(payer.account, CORE, now, "k1"))
    early = (await payer.biller.refresh(unread, now)).subscription
    assert (early.plan_id, early.scheduled_plan_id) == ("pro", "core")
    await payer.renew()
    late = (await payer.biller.refresh(unread, await payer.now())).subscription
    assert (late.plan_id, late.scheduled_plan_id) == ("core", None)


async def test_an_upgrade_after_a_scheduled_downgrade_counts_what_was_paid(payer: Payer):
    payer.account = replace(
        payer.account, plan=PRO, subscription=replace(payer.held, plan_id="pro", plan_version=PRO.version)
    )
    await payer.subscribe()
    payer.take(await payer.biller.change(payer.account, CORE, await payer.now(), "k1"))
    await payer.server.tell("clock", advance_s=10 * 86_400)
    await payer.server.tell("declines", customer=payer.held.customer_ref)
    with pytest.raises(BillingRefused):
        await payer.biller.change(payer.account, CATALOGUE.current("institutional"), await payer.now(), "k0")
    assert (await payer.refresh()).subscription.scheduled_plan_id == "core"
    top = CATALOGUE.current("institutional")
    payer.take(await payer.biller.change(payer.account, top, await payer.now(), "k2"))
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("institutional", None)
    [upgrade] = payer.invoices(InvoiceKind.UPGRADE)
    start, end, at = payer.held.period_start, payer.held.renewal_at, upgrade.period_start
    assert start is not None
    assert end is not None
    assert at is not None
    assert upgrade.amount_minor == prorate(PRO.price_minor, top.price_minor, start, end, at).due_minor


async def test_within_a_trial_an_upgrade_is_free_and_a_downgrade_waits_for_its_end(payer: Payer):
    await payer.subscribe(trial=True)
    payer.take(await payer.biller.change(payer.account, PRO, await payer.now(), "k1"))
    assert (payer.held.status, payer.held.plan_id) == (SubscriptionState.TRIALING, "pro")
    payer.take(await payer.biller.change(payer.account, CORE, await payer.now(), "k2"))
    assert (payer.held.plan_id, payer.held.scheduled_plan_id) == ("pro", "core")
    await payer.server.tell("declines", customer=payer.held.customer_ref)
    ended = payer.held.trial_end
    await payer.renew()
    await payer.refresh()
    held = payer.held
    assert (held.status, held.plan_id, held.scheduled_plan_id) == (SubscriptionState.PAST_DUE, "core", None)
    assert held.paid_through == ended
    assert [(i.amount_minor, i.kind) for i in payer.account.invoices if i.amount_minor] == [(4900, InvoiceKind.PERIOD)]


async def test_there_is_no_portal_before_the_first_checkout(payer: Payer):
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.portal(payer.account, "https://app.example")
    assert refused.value.code == "not_offered"


async def test_a_coupon_takes_its_share(payer: Payer):
    coupon = f"half-{payer.held.subscription_id}"
    await payer.api.v1.coupons.create_async({"id": coupon, "duration": "once", "percent_off": 50})
    await payer.subscribe(coupon=coupon)
    assert [i.amount_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [2450]
    await payer.renew()
    await payer.refresh()
    assert [i.amount_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [2450, 4900]


async def test_an_unknown_coupon_is_refused(payer: Payer):
    with pytest.raises(BillingRefused) as refused:
        await payer.page(coupon="none-such")
    assert refused.value.code == "resource-missing"


async def test_a_cancellation_at_the_end_can_be_taken_back_until_then(payer: Payer):
    await payer.subscribe()
    now = await payer.now()
    payer.take(await payer.biller.cancel(payer.account, now, "k1", at_period_end=True))
    assert (payer.held.status, payer.held.cancel_at) == (SubscriptionState.ACTIVE, payer.held.renewal_at)
    payer.take(await payer.biller.keep(payer.account, now, "k2"))
    assert payer.held.cancel_at is None
    payer.take(await payer.biller.cancel(payer.account, now, "k3", at_period_end=True))
    await payer.renew()
    await payer.refresh()
    assert payer.held.status is SubscriptionState.CANCELED
    assert payer.held.ended_at is not None
    assert len(payer.invoices(InvoiceKind.PERIOD)) == 1


async def test_a_cancellation_now_may_be_repeated(payer: Payer):
    await payer.subscribe()
    for _ in range(2):
        outcome = await payer.biller.cancel(payer.account, await payer.now(), "k1", at_period_end=False)
        assert outcome.subscription.status is SubscriptionState.CANCELED


async def test_cancelling_before_paying_closes_the_page(payer: Payer):
    page = await payer.page()
    payer.take(await payer.biller.cancel(payer.account, await payer.now(), "k1", at_period_end=False))
    assert payer.held.status is SubscriptionState.CANCELED
    assert await payer.server.submit(page, {"do": "pay"}) == 410


async def test_a_pause_over_a_renewal_costs_nothing_and_its_end_begins_a_paid_period(payer: Payer):
    await payer.subscribe()
    now = await payer.now()
    end = payer.held.renewal_at
    assert end is not None
    until = end + 10 * DAY
    payer.take(await payer.biller.pause(payer.account, now, "k1", until=until))
    assert (payer.held.status, payer.held.resume_at) == (SubscriptionState.PAUSED, until.replace(microsecond=0))
    await payer.renew()
    await payer.refresh()
    assert payer.held.status is SubscriptionState.PAUSED
    assert payer.invoices(InvoiceKind.PERIOD)[-1].status is InvoiceStatus.VOID
    await payer.server.tell("clock", advance_s=10 * 86_400)
    await payer.refresh()
    await payer.refresh()
    held = payer.held
    assert (held.status, held.resume_at, held.paused_at) == (SubscriptionState.ACTIVE, None, None)
    assert held.period_start is not None
    assert held.period_start >= until.replace(microsecond=0)
    paid = [i for i in payer.invoices(InvoiceKind.PERIOD) if i.status is InvoiceStatus.PAID]
    assert [(i.amount_minor, i.period_start) for i in paid[1:]] == [(4900, held.period_start)]
    assert held.paid_through == held.renewal_at


async def test_a_pause_within_a_paid_period_ends_without_another_charge(payer: Payer):
    await payer.subscribe()
    payer.take(await payer.biller.pause(payer.account, await payer.now(), "k1", until=None))
    renewal = payer.held.renewal_at
    payer.take(await payer.biller.resume(payer.account, await payer.now(), "k2"))
    assert (payer.held.status, payer.held.renewal_at) == (SubscriptionState.ACTIVE, renewal)
    assert len(payer.invoices(InvoiceKind.PERIOD)) == 1


def _refund(payer: Payer, name: str, amount: int) -> Refund:
    [invoice] = payer.invoices(InvoiceKind.PERIOD)
    refund_id = f"RF-{name}-{payer.held.subscription_id}"
    return Refund(refund_id, invoice.invoice_id, amount, RefundStatus.PENDING, "asked for", "user:1")


async def test_refunds_in_parts_to_the_whole_and_never_more_or_twice(payer: Payer):
    await payer.subscribe()
    [invoice] = payer.invoices(InvoiceKind.PERIOD)
    now = await payer.now()
    for _ in range(3):
        given = await payer.biller.refund(payer.account, invoice, _refund(payer, "a", 1900), now)
        assert given.status is RefundStatus.SUCCEEDED
    await payer.refresh()
    assert [i.refunded_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [1900]
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.refund(payer.account, invoice, _refund(payer, "b", 3001), now)
    assert refused.value.code == "too-much"
    rest = await payer.biller.refund(payer.account, invoice, _refund(payer, "c", 3000), now)
    assert rest.provider_ref not in (None, given.provider_ref)
    await payer.refresh()
    assert [i.refunded_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [4900]


async def test_a_refund_that_was_not_done_or_whose_answer_was_lost_is_read_again(payer: Payer):
    await payer.subscribe()
    [invoice] = payer.invoices(InvoiceKind.PERIOD)
    refund = _refund(payer, "a", 100)
    payer.account = replace(payer.account, refunds=(refund,))
    assert (await payer.refresh()).refunds == ()
    given = await payer.biller.refund(payer.account, invoice, refund, await payer.now())
    assert (await payer.refresh()).refunds == (given,)
    payer.account = replace(payer.account, refunds=(replace(given, status=RefundStatus.PENDING),))
    assert (await payer.refresh()).refunds == (given,)
    payer.account = replace(payer.account, refunds=(given,))
    assert (await payer.refresh()).refunds == ()


async def test_no_page_outlives_the_time_in_which_a_subscription_waits(payer: Payer):
    now = await payer.now()
    payer.account = replace(payer.account, subscription=replace(payer.held, created_at=now - 22 * DAY / 24))
    await payer.page()
    payer.account = replace(payer.account, subscription=replace(payer.held, created_at=now - 22.5 * DAY / 24))
    with pytest.raises(BillingRefused) as refused:
        await payer.page(trial=True)
    assert refused.value.code == "checkout-over"


async def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_is_done_twice(payer: Payer):
    await payer.subscribe()
    now = await payer.now()
    [invoice] = payer.invoices(InvoiceKind.PERIOD)
    await payer.server.tell("outage", lose=1)
    with pytest.raises(BillingUnavailable):
        await payer.biller.refund(payer.account, invoice, _refund(payer, "a", 100), now)
    await payer.biller.refund(payer.account, invoice, _refund(payer, "a", 100), now)
    await payer.server.tell("outage", lose=1)
    with pytest.raises(BillingUnavailable):
        await payer.biller.change(payer.account, PRO, now, "k1")
    payer.take(await payer.biller.change(payer.account, PRO, now, "k1"))
    assert len(payer.invoices(InvoiceKind.UPGRADE)) == 1
    assert [i.refunded_minor for i in payer.invoices(InvoiceKind.PERIOD)] == [100]


async def test_an_outage_changes_nothing_and_all_goes_on_after_it(payer: Payer):
    await payer.subscribe()
    before = payer.held
    await payer.server.tell("outage", seconds=60)
    try:
        with pytest.raises(BillingUnavailable, match="503"):
            await payer.biller.refresh(payer.account, datetime.now(UTC))
    finally:
        await payer.server.tell("outage", seconds=0)
    assert (await payer.refresh()).subscription == before


async def test_a_change_made_by_hand_at_stripe_is_read(payer: Payer):
    await payer.subscribe()
    item = (await payer.api.v1.subscriptions.retrieve_async(payer.held.provider_ref)).to_dict()["items"]["data"][0]
    wanted = {"items": [{"id": item["id"], "price": PRO.ref}], "proration_behavior": "always_invoice"}
    await payer.api.v1.subscriptions.update_async(payer.held.provider_ref, wanted)
    await payer.refresh()
    assert payer.held.plan_id == "pro"
    listed = await payer.biller.invoices(payer.account, (await payer.now()) - DAY)
    assert {i.kind for i in listed} == {InvoiceKind.PERIOD, InvoiceKind.UPGRADE}


async def test_a_downgrade_to_another_interval_is_refused(payer: Payer):
    yearly = replace(CORE, version=9, interval=Interval.YEAR, price_minor=100)
    with pytest.raises(BillingRefused) as refused:
        await payer.biller.change(payer.account, yearly, datetime.now(UTC), "k1")
    assert refused.value.code == "other-interval"


async def test_nothing_listens(payer: Payer):
    api = api_of(payer.server, url="http://127.0.0.1:9")
    try:
        with pytest.raises(BillingUnavailable, match="ConnectError"):
            await type(payer.biller)(api, CATALOGUE).refresh(
                replace(payer.account, subscription=replace(payer.held, provider_ref="sub_1")), datetime.now(UTC)
            )
    finally:
        await api.close()

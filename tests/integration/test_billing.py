"""Subscriptions on the real stack: the API and the workers as processes, Stripe and BTCPay Server simulated as others.

A tenant pays at the pages as a person does; what follows comes by webhook, inbox and workflow. Processes are killed and
payment systems go away in between, and nobody is charged twice or loses what was paid for.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from stack.ports import HOST
from stack.probes import http_status
from tests.integration.buyer import Buyer, Desk
from tests.world import World

# An hour away is a second here.
QUICK = {
    "VANTA_BILLING__LOOK_AGAIN_S": "1",
    "VANTA_BILLING__INBOX_EVERY_MS": "50",
    "VANTA_STRIPE__TIMEOUT_MS": "3000",
    "VANTA_BTCPAY__TIMEOUT_MS": "3000",
    "VANTA_API__ADMIT_TIMEOUT_S": "5",
    "VANTA_API__REQUEST_TIMEOUT_S": "10",
    "VANTA_API__IDEMPOTENCY_LEASE_S": "11",  # of an API that died
}
WORKER, API = "worker-followers", "api"


@pytest.fixture(scope="module")
async def desk(world: World) -> AsyncIterator[Desk]:
    """The followers' worker of the tests' world knows the payment systems for as long as these tests run."""
    stack = world.stack
    port = stack.ports()["api"]

    def start() -> None:
        stack.start_billing()
        stack.end(WORKER)
        world.start_worker(WORKER, "followers", QUICK)
        argv = [sys.executable, "-m", "cli", "api"]
        stack.start_process(API, argv, QUICK, ready=lambda: http_status(port, "/readyz") == 200)

    def end() -> None:
        stack.end(API)
        stack.end(WORKER)
        world.start_worker(WORKER, "followers", {})

    await asyncio.to_thread(start)
    settings = stack.settings()
    card = {"Authorization": f"Bearer {settings.stripe.api_key.get_secret_value()}"}
    async with (
        httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=30) as api,
        httpx.AsyncClient(base_url=settings.stripe.url, headers=card) as stripe,
        httpx.AsyncClient(base_url=settings.btcpay.url) as btcpay,
    ):
        yield Desk(stack, settings, api, stripe, btcpay)
    await asyncio.to_thread(end)


@pytest.fixture
async def buyer(world: World, desk: Desk) -> Buyer:
    return await Buyer.come(world, desk)


async def test_bitcoin_counts_once_it_is_in_a_block_and_all_of_it_is_there(buyer: Buyer):
    page = await buyer.checkout("institutional", "btcpay")
    await buyer.pays_bitcoin(page, "half")
    await buyer.mines(page)
    await buyer.until(lambda found: found["balance_minor"] > 0)
    assert (await buyer.get("/v1/subscription"))["status"] == "incomplete"
    await buyer.pays_bitcoin(page, "half")
    async with asyncio.timeout(30):
        while [each["status"] for each in (await buyer.get("/v1/invoices"))["items"]] != ["processing"]:
            await asyncio.sleep(0.05)
    assert (await buyer.get("/v1/subscription"))["status"] == "incomplete"
    await buyer.mines(page)
    assert (await buyer.is_("active"))["plan"]["plan_id"] == "institutional"


async def test_what_happens_while_stripe_cannot_be_read_is_caught_up_with(buyer: Buyer):
    desk = buyer.desk
    page = await buyer.checkout("institutional", "stripe")
    await desk.tell_stripe("events", held=True)
    await buyer.pays_by_card(page)
    await desk.tell_stripe("outage", seconds=600)
    await desk.tell_stripe("events", held=False)
    async with asyncio.timeout(30):
        while not await buyer.rows(TOLD):
            await asyncio.sleep(0.1)
    assert (await buyer.get("/v1/subscription"))["status"] == "incomplete"
    await desk.tell_stripe("outage", seconds=0)
    await buyer.is_("active")


async def test_what_is_paid_while_the_btcpay_server_and_the_api_are_down_is_caught_up_with(buyer: Buyer):
    desk = buyer.desk
    page = await buyer.checkout("institutional", "btcpay")
    await asyncio.to_thread(desk.stack.kill, API)
    await buyer.pays_bitcoin(page)
    await asyncio.to_thread(desk.stack.kill, "btcpay")
    await asyncio.to_thread(desk.stack.restart, API)
    assert (await buyer.get("/v1/subscription"))["status"] == "incomplete"
    await asyncio.to_thread(desk.stack.restart, "btcpay")
    await buyer.mines(page)
    await buyer.is_("active")


# Of the reading that was refused there is no other trace than that the event is done.
TOLD = "SELECT 1 FROM payment_events WHERE state = 'done' AND %s::text IS NOT NULL AND type LIKE 'checkout%%'"


async def subscription_ref(buyer: Buyer) -> str:
    [row] = await buyer.rows("SELECT provider_ref FROM subscriptions WHERE tenant_id = %s")
    return str(row["provider_ref"])


async def test_kills_in_the_middle_make_no_second_subscription_charge_or_refund(buyer: Buyer):
    desk = buyer.desk

    async def amid(path: str, body: Mapping[str, str], *victims: str) -> None:
        """Processes die while they are asked, come back, and the client asks again under its key."""
        asked = asyncio.create_task(buyer.done(path, body, uuid.uuid4().hex))
        await asyncio.sleep(0.05)
        await die(*victims)
        await asked

    async def die(*victims: str) -> None:
        for victim in victims:
            await asyncio.to_thread(desk.stack.kill, victim)
        for victim in victims:
            await asyncio.to_thread(desk.stack.restart, victim)

    urls = {"success_url": "http://127.0.0.1/done", "cancel_url": "http://127.0.0.1/back"}
    wish = {"plan_id": "institutional", "provider": "stripe", **urls}
    await amid("/v1/subscription/checkout", wish, WORKER, API)
    page = await buyer.checkout("institutional", "stripe")
    await buyer.pays_by_card(page)
    await die(API)  # with the events on their way to it
    await buyer.is_("active")
    [invoice] = (await buyer.get("/v1/invoices"))["items"]
    path = f"/v1/invoices/{invoice['invoice_id']}"
    await amid(f"{path}/refund", {"amount": "100.00", "reason": "goodwill"}, WORKER)
    customer = await buyer.customer()
    assert len(await desk.at_stripe("subscriptions", customer=customer)) == 1
    [charge] = await desk.at_stripe("charges", customer=customer)
    assert (charge["amount"], charge["amount_refunded"]) == (149_900, 10_000)
    assert [refund["amount_minor"] for refund in (await buyer.get(path))["refunds"]] == [10_000]


async def test_a_card_pays_a_plan_is_upgraded_and_a_renewal_that_fails_is_seen(buyer: Buyer):
    """The last of these tests: it moves Stripe's clock, and pages to pay at are open by ours."""
    desk = buyer.desk
    page = await buyer.checkout("core", "stripe")
    await buyer.pays_by_card(page)
    trial = await buyer.is_("trialing")
    assert trial["plan"]["plan_id"] == "core"
    async with asyncio.timeout(30):
        while (await buyer.get("/v1/entitlements"))["plan_id"] != "core":
            await asyncio.sleep(0.05)
    await desk.tell_stripe("renew", subscription=await subscription_ref(buyer))
    await buyer.is_("active")
    changed = await buyer.done("/v1/subscription/change", {"plan_id": "pro"}, uuid.uuid4().hex)
    assert (changed["status"], changed["plan"]["plan_id"]) == ("active", "pro")
    customer = await buyer.customer()
    charges = await desk.at_stripe("charges", customer=customer)
    first, second = sorted(charge["amount"] for charge in charges if charge["paid"])
    assert (first, 14_900 <= second <= 15_000) == (4_900, True)  # the whole difference, but for what has passed
    await desk.tell_stripe("declines", customer=customer, count=1)
    await desk.tell_stripe("renew", subscription=await subscription_ref(buyer))
    owing = await buyer.is_("past_due")
    assert (owing["close_only"], owing["grace_until"] is not None) == (False, True)

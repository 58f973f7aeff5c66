"""Comparison, inbox and a subscription's workflow together: real Temporal and Postgres, played payment systems."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psycopg
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

import worker
from activities.billing_comparison import BillingComparison
from activities.subscriptions import SubscriptionActivities
from adapters.store.inbox import Inbox
from domain.billing import Account, Invoice, Outcome, Provider
from domain.billing_comparison import ComparisonInput
from domain.payment_events import EventState, PaymentEvent
from domain.subscriptions import Terms
from temporal import ids, queues
from temporal import search_attributes as sa
from temporal.billing import SubscriptionOwners, compare_now
from temporal.client import connect
from temporal.schedules import ensure_billing
from temporal.subscriptions import Subscriptions
from tests.conftest import owner_dsn
from tests.workflows.subscription_fakes import CATALOGUE, FakeBiller
from tests.workflows.test_reconcile_billing import Scene, scene
from workflows.reconcile_billing import ReconcileBillingWorkflow
from workflows.subscription import SubscriptionWorkflow

assert scene
_DAY = timedelta(days=1)
_TERMS = Terms(7 * _DAY, 30 * _DAY, (_DAY,), 3 * _DAY, timedelta(minutes=5), _DAY)


class Telling(FakeBiller):
    """Tells of the invoice as it is there, to whoever reads the subscription and to the comparison."""

    def __init__(self, there: Invoice) -> None:
        super().__init__(lambda _: None)
        self.there, self.reads = there, 0

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        self.reads += 1
        return Outcome(account.subscription, invoices=(self.there,))

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        return [self.there]


@dataclass
class Owned:
    """A subscription paid in bitcoin whose workflow runs and has nothing to do."""

    scene: Scene
    tenant: str
    invoice: Invoice
    biller: Telling

    async def refunded(self) -> int:
        account = await self.scene.store.account(self.tenant, self.invoice.subscription_id)
        return account.invoices[0].refunded_minor


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def owned(scene: Scene, client: Client) -> AsyncIterator[Owned]:
    tenant, invoice = await scene.subscribed(Provider.BTCPAY)
    one = Owned(scene, tenant, invoice, Telling(invoice))
    subscriptions = Subscriptions(client, timeout_s=20)
    steps = SubscriptionActivities(scene.store, {Provider.BTCPAY: one.biller}, CATALOGUE, _TERMS)
    billers = {Provider.BTCPAY: one.biller, Provider.STRIPE: scene.stripe}
    comparison = BillingComparison(
        scene.store, scene.differences, billers, SubscriptionOwners(client, subscriptions)  # type: ignore[arg-type]
    )  # fmt: skip
    async with Worker(
        client,
        task_queue=queues.BILLING,
        workflows=[SubscriptionWorkflow, ReconcileBillingWorkflow],
        activities=[*steps.all(), comparison.compare_billing_page],
    ):
        await subscriptions.tell(tenant, invoice.subscription_id)
        await until(lambda: _is(one.biller.reads > 0))
        yield one


async def _is(value: bool) -> bool:
    return value


async def test_a_difference_wakes_the_owner_that_heals_it_and_the_next_run_finds_it_gone(
    scene: Scene, local: WorkflowEnvironment
) -> None:
    async with owned(scene, local.client) as one:
        await scene.subscribed(Provider.STRIPE)
        scene.stripe.down = True
        one.biller.there = replace(one.invoice, refunded_minor=900)
        handle = await local.client.start_workflow(
            ReconcileBillingWorkflow.run, ComparisonInput(40, waits_s=()), id=f"reconcile-billing/{uuid.uuid4()}",
            task_queue=queues.BILLING,
        )  # fmt: skip
        totals = await handle.result()
        assert (totals.compared, totals.open, totals.new, totals.unread) == (1, 1, 1, {"stripe": 1})
        assert (await handle.describe()).typed_search_attributes[sa.STATE] == "partial"
        assert await scene.told(one.tenant) == ["billing_difference"]

        async def healed() -> bool:
            return await one.refunded() == 900

        async def gone() -> bool:
            return await scene.told(one.tenant) == ["billing_difference", "billing_difference_gone"]

        await until(healed)
        scene.stripe.down = False
        await ensure_billing(local.client, every_s=86_400, lookback_days=40)
        await compare_now(local.client)
        await until(gone)
        await local.client.get_schedule_handle(ids.BILLING).delete()
        assert await scene.found(one.tenant) == []


@asynccontextmanager
async def draining(scene: Scene, client: Client) -> AsyncIterator[None]:
    """As a worker of role `followers` looks into the inbox."""
    async with AsyncExitStack() as stack:
        clients = worker.Clients(scene.settings, client, scene.database, stack)
        async with worker._inbox(clients):
            yield


async def test_an_event_outlives_workers_and_the_engine_being_away(scene: Scene, local: WorkflowEnvironment) -> None:
    async with owned(scene, local.client) as one:
        one.biller.there = replace(one.invoice, refunded_minor=900)
        now = datetime.now(UTC)
        event = PaymentEvent(
            Provider.BTCPAY, f"evt_{uuid.uuid4().hex}", "InvoiceSettled", None, one.invoice.subscription_id, now
        )
        assert await Inbox(scene.database).store(event, EventState.PENDING, now)
        async with await psycopg.AsyncConnection.connect(owner_dsn(scene.settings), autocommit=True) as owner:

            async def row() -> tuple[str, str | None]:
                found = await owner.execute(
                    "SELECT state, note FROM payment_events WHERE event_id = %s", [event.event_id]
                )
                [(state, note)] = await found.fetchall()
                return state, note

            async def tried() -> bool:
                return (await row())[1] is not None

            async def done() -> bool:
                return (await row())[0] == "done"

            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{nobody.getsockname()[1]}"
                away = await connect(scene.settings.temporal.model_copy(update={"address": address}), lazy=True)
                async with draining(scene, away):
                    await until(tried)
            assert await row() == ("pending", "the workflow engine does not answer")
            assert await one.refunded() == 0
            # Not to wait for it: its next try is after some seconds.
            await owner.execute("UPDATE payment_events SET next_try_at = now() WHERE event_id = %s", [event.event_id])
            async with draining(scene, local.client):
                await until(done)

        async def healed() -> bool:
            return await one.refunded() == 900

        await until(healed)

"""The comparison of invoices, from its workflow down to the real Postgres; payment systems and owners are played."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities.billing_comparison import BillingComparison, ComparisonPage
from adapters.payments.catalogue import load_catalogue
from adapters.store.billing_differences import DifferenceStore
from adapters.store.database import Database
from adapters.store.subscriptions import SubscriptionStore
from domain import ids
from domain.billing import (
    Account,
    BillingUnavailable,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
)
from domain.billing_comparison import ComparisonInput, ComparisonTotals
from domain.requests import Slice
from domain.subscriptions import CheckoutWish
from settings import Settings
from temporal import ids as workflow_ids
from temporal import queues
from temporal import search_attributes as sa
from temporal.schedules import ensure_billing
from tests.conftest import owner_dsn
from tests.workflows.conftest import BIN
from workflows.reconcile_billing import ReconcileBillingWorkflow

assert BIN
NOW = datetime.now(UTC).replace(microsecond=0)
LOOKBACK = timedelta(days=40)


@dataclass
class Played:
    """A payment system. `down`: it does not answer; `asked`: how often it was."""

    invoiced: dict[str, list[Invoice]] = field(default_factory=dict)
    down: bool = False
    asked: int = 0
    outages: int = 0  # how many more questions are not answered

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        self.asked += 1
        self.outages -= 1
        if self.down or self.outages >= 0:
            raise BillingUnavailable("down")
        return self.invoiced.get(account.subscription.subscription_id, [])


@dataclass
class Owners:
    """`absent`: no workflow runs for it."""

    woken: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)
    heal: Callable[[], None] = lambda: None

    async def wake(self, tenant_id: str, subscription_id: str) -> None:
        self.woken.append(subscription_id)
        self.heal()

    async def ensure(self, tenant_id: str, subscription_id: str) -> bool:
        if subscription_id not in self.absent:
            return False
        self.begun.append(subscription_id)
        return True


@dataclass
class Scene:
    database: Database
    settings: Settings
    stripe: Played = field(default_factory=Played)
    btcpay: Played = field(default_factory=Played)
    owners: Owners = field(default_factory=Owners)
    page_size: int = 50

    @property
    def store(self) -> SubscriptionStore:
        return SubscriptionStore(self.database, load_catalogue())

    @property
    def differences(self) -> DifferenceStore:
        return DifferenceStore(self.database)

    def comparison(self) -> BillingComparison:
        billers: Any = {Provider.STRIPE: self.stripe, Provider.BTCPAY: self.btcpay}
        return BillingComparison(self.store, self.differences, billers, self.owners, page_size=self.page_size)

    async def subscribed(self, provider: Provider = Provider.STRIPE) -> tuple[str, Invoice]:
        """Of a new tenant, with an invoice that both sides know."""
        tenant = str(uuid.uuid4())
        async with await psycopg.AsyncConnection.connect(owner_dsn(self.settings), autocommit=True) as owner:
            await owner.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'Payer')", [tenant])
        wish = CheckoutWish(
            tenant, ids.subscription_id(tenant, "k"), "user:test", "k", provider, "core", 1, "x@example.com", "s", "c"
        )
        stored = await self.store.open(wish, NOW)
        held = stored.subscription
        ref = f"in_{uuid.uuid4().hex}"
        invoice = Invoice(
            ids.invoice_id(held.subscription_id, ref), held.subscription_id, provider, InvoiceKind.PERIOD,
            InvoiceStatus.PAID, 4_900, ref, paid_minor=4_900, created_at=NOW - timedelta(days=2),
        )  # fmt: skip
        await self.store.write(stored, Outcome(held, invoices=(invoice,)), (), NOW, actor="user:test")
        self.there(invoice)
        return tenant, invoice

    def there(self, *invoices: Invoice) -> None:
        """What the payment system has of the subscription."""
        played = self.stripe if invoices[0].provider is Provider.STRIPE else self.btcpay
        played.invoiced[invoices[0].subscription_id] = list(invoices)

    async def compare(self, at: datetime = NOW) -> ComparisonTotals:
        page = ComparisonPage("", at, at - LOOKBACK)
        return (await ActivityEnvironment().run(self.comparison().compare_billing_page, page)).totals

    async def found(self, tenant: str, *, resolved: bool = False) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        rows = await self.differences.page(tenant, Slice(100), resolved=resolved)
        return [(row.kind, row.ours, row.theirs) for row in rows]

    async def told(self, tenant: str) -> list[str]:
        async with self.database.cursor(tenant) as cursor:
            await cursor.execute(
                "SELECT action FROM audit_events WHERE is_mine(tenant_id) AND action LIKE 'billing%%' ORDER BY event_id"
            )
            return [row["action"] for row in await cursor.fetchall()]


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings), autocommit=True) as owner:
        for table in ("billing_differences", "billing_entries", "refunds", "invoices", "subscriptions"):
            await owner.execute(f"DELETE FROM {table}")
    database = Database(settings.postgres)
    yield Scene(database, settings)
    await database.close()


async def test_a_difference_is_recorded_while_it_lasts_told_once_and_wakes_the_owner(scene: Scene) -> None:
    tenant, invoice = await scene.subscribed()
    assert await scene.compare() == ComparisonTotals(compared=1)
    scene.there(replace(invoice, refunded_minor=900))
    first = await scene.compare()
    assert (first.open, first.new, first.gone) == (1, 1, 0)
    again = await scene.compare(NOW + timedelta(days=1))
    assert (again.open, again.new, again.gone) == (1, 0, 0)
    assert await scene.found(tenant) == [("refunded", {"refunded_minor": 0}, {"refunded_minor": 900})]
    assert scene.owners.woken == [invoice.subscription_id] * 2
    assert await scene.told(tenant) == ["billing_difference"]
    # Its owner has read what is true.
    stored = await scene.store.account(tenant, invoice.subscription_id)
    healed = Outcome(stored.subscription, invoices=(replace(invoice, refunded_minor=900),))
    await scene.store.write(stored, healed, (), NOW, actor="system:billing")
    gone = await scene.compare(NOW + timedelta(days=2))
    assert (gone.open, gone.new, gone.gone) == (0, 0, 1)
    assert await scene.found(tenant) == []
    assert len(await scene.found(tenant, resolved=True)) == 1
    assert await scene.told(tenant) == ["billing_difference", "billing_difference_gone"]
    scene.there(replace(invoice, refunded_minor=100))
    assert (await scene.compare(NOW + timedelta(days=3))).new == 1


async def test_what_either_side_lacks_is_found(scene: Scene) -> None:
    tenant, invoice = await scene.subscribed()
    scene.there(replace(invoice, provider_ref="in_unknown"))
    assert (await scene.compare()).new == 2
    assert {kind for kind, _, _ in await scene.found(tenant)} == {"missing_here", "missing_there"}


async def test_one_payment_system_that_is_away_keeps_no_other_from_being_compared(scene: Scene) -> None:
    of_stripe = [await scene.subscribed() for _ in range(9)]
    [tenant, invoice] = await scene.subscribed(Provider.BTCPAY)
    scene.stripe.down = True
    scene.there(replace(invoice, paid_minor=1))
    found = await scene.compare()
    assert (found.compared, found.open, found.unread) == (1, 1, {"stripe": len(of_stripe)})
    assert scene.stripe.asked < len(of_stripe)
    assert await scene.found(of_stripe[0][0]) == []
    assert len(await scene.found(tenant)) == 1


async def test_a_subscription_without_an_owner_gets_one(scene: Scene) -> None:
    _, invoice = await scene.subscribed()
    await scene.subscribed()
    scene.owners.absent = {invoice.subscription_id}
    assert (await scene.compare()).started == 1
    assert scene.owners.begun == [invoice.subscription_id]


async def test_the_schedule_starts_one_that_goes_through_all_pages(scene: Scene, local: WorkflowEnvironment) -> None:
    payers = [await scene.subscribed() for _ in range(5)]
    scene.there(replace(payers[3][1], status=InvoiceStatus.OPEN))
    scene.page_size = 2
    async with Worker(
        local.client,
        task_queue=queues.BILLING,
        workflows=[ReconcileBillingWorkflow],
        activities=[scene.comparison().compare_billing_page],
    ):
        await ensure_billing(local.client, every_s=86_400, lookback_days=40)
        await ensure_billing(local.client, every_s=43_200, lookback_days=40)
        handle = local.client.get_schedule_handle(workflow_ids.BILLING)
        described = (await handle.describe()).schedule
        assert [interval.every for interval in described.spec.intervals] == [timedelta(hours=12)]
        await handle.delete()
        done: ComparisonTotals = await local.client.execute_workflow(
            "ReconcileBillingWorkflow", ComparisonInput(40, waits_s=()), id=f"reconcile-billing/{uuid.uuid4()}",
            task_queue=queues.BILLING, result_type=ComparisonTotals,
        )  # fmt: skip
    assert (done.compared, done.open, done.new) == (5, 1, 1)
    assert [kind for kind, _, _ in await scene.found(payers[3][0])] == ["status"]


async def run(
    scene: Scene, env: WorkflowEnvironment, given: ComparisonInput
) -> tuple[ComparisonTotals, str, timedelta]:
    """What was found, the state that it ended in, and how long it took by the server's time."""
    async with Worker(
        env.client,
        task_queue=queues.BILLING,
        workflows=[ReconcileBillingWorkflow],
        activities=[scene.comparison().compare_billing_page],
    ):
        handle = await env.client.start_workflow(
            ReconcileBillingWorkflow.run, given, id=f"reconcile-billing/{uuid.uuid4()}", task_queue=queues.BILLING
        )
        totals = await handle.result()
        described = await handle.describe()
    assert described.close_time is not None
    state = described.typed_search_attributes[sa.STATE]
    return totals, state, described.close_time - described.start_time


async def test_what_was_down_for_a_while_and_what_heals_are_done_within_the_run(
    scene: Scene, skipping: WorkflowEnvironment
) -> None:
    await scene.subscribed()
    tenant, invoice = await scene.subscribed(Provider.BTCPAY)
    scene.there(replace(invoice, refunded_minor=900))
    scene.stripe.outages = 2
    scene.owners.heal = lambda: scene.there(invoice)
    scene.page_size = 1
    totals, state, took = await run(scene, skipping, ComparisonInput(40))
    assert totals == ComparisonTotals(compared=2, new=1, gone=1)
    assert state == "done"
    assert timedelta(minutes=15) <= took < timedelta(minutes=16)
    assert await scene.told(tenant) == ["billing_difference", "billing_difference_gone"]
    assert (scene.stripe.asked, scene.btcpay.asked) == (3, 2)


async def test_what_stays_down_or_differs_ends_the_run_all_the_same(
    scene: Scene, skipping: WorkflowEnvironment
) -> None:
    await scene.subscribed()
    tenant, invoice = await scene.subscribed(Provider.BTCPAY)
    scene.there(replace(invoice, refunded_minor=900))
    scene.stripe.down = True
    scene.page_size = 1
    totals, state, took = await run(scene, skipping, ComparisonInput(40))
    assert totals == ComparisonTotals(compared=1, open=1, new=1, unread={"stripe": 1})
    assert (state, scene.stripe.asked, scene.btcpay.asked) == ("partial", 4, 2)
    assert timedelta(minutes=25) <= took < timedelta(minutes=26)
    assert await scene.told(tenant) == ["billing_difference"]

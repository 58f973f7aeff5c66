"""A comparison of invoices to record, by a worker of its own with a payment system that does as it is told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from temporalio.worker import Worker

from activities.billing_comparison import BillingComparison
from adapters.store.billing_differences import DifferenceStore
from domain import ids
from domain.billing import Account, BillingUnavailable, Invoice, InvoiceKind, InvoiceStatus, Outcome, Provider
from domain.billing_comparison import ComparisonInput, ComparisonTotals
from domain.subscriptions import ListedSubscription
from tests.replay.subscribing import Recorded, subscribing
from tests.workflows.subscription_fakes import FakeBiller
from tests.world import ACTOR, World
from workflows.reconcile_billing import ReconcileBillingWorkflow


class Answering(FakeBiller):
    """Of invoices it tells these, one after another, and the last for ever; None: it does not answer."""

    def __init__(self, *answers: Invoice | None) -> None:
        super().__init__(lambda _: None)
        self.answers = list(answers)

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise BillingUnavailable("no answer")
        return [answer]


class Nobody:
    """Has no owners to wake: those of others, recorded at the same time, are not this one's."""

    async def wake(self, tenant_id: str, subscription_id: str) -> None: ...

    async def ensure(self, tenant_id: str, subscription_id: str) -> bool:
        return False


class OnlyOne(DifferenceStore):
    """Lists the one that is recorded, whatever others there are."""

    def __init__(self, one: Recorded) -> None:
        super().__init__(one.world.database)
        self._one = one

    async def listed(self, after: str, most: int) -> list[ListedSubscription]:
        everybody = await super().listed("", 1_000)
        return [each for each in everybody if each.subscription_id == self._one.subscription_id]


async def with_an_invoice(one: Recorded) -> Invoice:
    """The subscription, with an invoice that is paid here."""
    now = datetime.now(UTC)
    stored = await one.store.open(one.wish(), now)
    ref = "in_recorded"
    invoice = Invoice(
        ids.invoice_id(one.subscription_id, ref), one.subscription_id, Provider.BTCPAY, InvoiceKind.PERIOD,
        InvoiceStatus.PAID, 4_900, ref, paid_minor=4_900, created_at=now,
    )  # fmt: skip
    await one.store.write(stored, Outcome(stored.subscription, invoices=(invoice,)), (), now, actor=ACTOR)
    return invoice


async def left_and_healed(world: World) -> str:
    """The id of the workflow, which has ended."""
    async with subscribing(world) as one:
        invoice = await with_an_invoice(one)
        biller = Answering(None, replace(invoice, refunded_minor=900), invoice)
        steps = BillingComparison(one.store, OnlyOne(one), {Provider.BTCPAY: biller}, Nobody())
        queue, name = f"compared-{one.subscription_id}", f"reconcile-billing/all-{uuid4()}"
        async with Worker(
            world.temporal,
            task_queue=queue,
            workflows=[ReconcileBillingWorkflow],
            activities=[steps.compare_billing_page],
        ):
            given = ComparisonInput(40, waits_s=(1, 1, 1))
            totals = await world.temporal.execute_workflow(
                ReconcileBillingWorkflow.run, given, id=name, task_queue=queue
            )
        assert totals == ComparisonTotals(compared=1, new=1, gone=1), totals
    return name

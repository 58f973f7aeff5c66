"""The six events of `tests.billing` in any order, late and twice, by all that is real here: hooks to Postgres."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.subscriptions import SubscriptionActivities
from adapters.store.database import Database
from domain.billing import Account, EntryKind, Provider, RefundStatus, SubscriptionState
from domain.entitlements import from_stored
from domain.payment_events import EventState
from settings import Settings
from temporal import queues
from tests.billing.lives import CATALOGUE, TERMS, Life, bitcoin_life, payments_that_count, stripe_life
from tests.conftest import owner_dsn
from tests.workflows.subscription_events import GIVEN_BACK, ByLife, Played, Stage
from workflows.subscription import SubscriptionWorkflow

ORDERS, AT_ONCE = 8, 6
LIVES = {
    "stripe, canceled": lambda: stripe_life(ends_canceled=True),
    "stripe, refunded": lambda: stripe_life(ends_canceled=False),
    "bitcoin": bitcoin_life,
}
_COUNT = """
SELECT (SELECT count(*) FROM invoices WHERE subscription_id = %(ours)s),
  (SELECT count(*) FROM billing_entries WHERE subscription_id = %(ours)s),
  (SELECT count(*) FROM refunds WHERE tenant_id = %(tenant)s), entitlements
FROM subscriptions WHERE subscription_id = %(ours)s
"""


@pytest.fixture
async def stage(local: WorkflowEnvironment, settings: Settings) -> AsyncIterator[Stage]:
    database = Database(settings.postgres)
    played = Stage(local.client, database)
    billers: Any = {provider: ByLife(provider, played.servers) for provider in Provider}
    steps = SubscriptionActivities(played.store, billers, CATALOGUE, TERMS)
    async with Worker(
        local.client, task_queue=queues.BILLING, workflows=[SubscriptionWorkflow], activities=steps.all()
    ):
        yield played
    await database.close()


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings), autocommit=True) as connection:
        yield connection


async def begun(stage: Stage, owner: psycopg.AsyncConnection, life: Life) -> Played:
    tenant = str(uuid.uuid4())
    await owner.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'Payer')", [tenant])
    return await stage.begin(life, tenant)


async def check_once_each(owner: psycopg.AsyncConnection, one: Played, account: Account, expected: Any) -> None:
    """Nothing is in the account, in the tables, or at the payment system twice."""
    assert of(one, account) == expected
    assert len(one.server.made) == 1
    found = await owner.execute(_COUNT, {"ours": one.ours, "tenant": one.tenant})
    [(invoices, entries, refunds, granted)] = await found.fetchall()
    assert (invoices, entries, refunds) == (len(account.invoices), len(account.entries), 1)
    assert from_stored(granted) == expected["result"]["rights"]
    assert not one.waiting


def sums(account: Account) -> dict[str, int]:
    """What was paid, what periods cost and what went back. A period may be taken back and paid anew on the way."""
    periods = (EntryKind.APPLIED, EntryKind.CREDIT)
    return {
        "paid": sum(e.amount_minor for e in account.entries if e.kind in {EntryKind.PAYMENT, EntryKind.REVERSAL}),
        "periods": sum(e.amount_minor for e in account.entries if e.kind in periods),
        "back": sum(e.amount_minor for e in account.entries if e.kind is EntryKind.REFUND),
    }


def of(one: Played, account: Account) -> dict[str, Any]:
    return {
        "result": one.result(account), "refunds": [(r.amount_minor, r.status) for r in account.refunds],
        "payments": {key.rpartition("/")[2]: n for key, n in payments_that_count(account).items() if n},
        "sums": sums(account),
    }  # fmt: skip


@pytest.mark.parametrize("name", LIVES)
async def test_every_order_ends_in_the_same_rows(stage: Stage, owner: psycopg.AsyncConnection, name: str) -> None:
    first = await begun(stage, owner, LIVES[name]())
    account = await first.in_order()
    expected = of(first, account)
    check_expectation(name, account)
    room = asyncio.Semaphore(AT_ONCE)

    async def run(seed: int) -> int:
        dice = random.Random(f"{name}/{seed}")
        async with room:
            one = await begun(stage, owner, LIVES[name]())
            order = dice.sample(range(6), 6)
            await check_once_each(owner, one, await one.shuffled(order, dice), expected)
        return one.repeats

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(run(seed)) for seed in range(ORDERS)]
    assert sum(each.result() for each in runs) >= ORDERS  # deliveries that were repeats
    assert set(stage.inbox.over.values()) == {EventState.DONE}
    assert len(stage.inbox.over) == 6 * (ORDERS + 1)


def check_expectation(name: str, account: Account) -> None:
    """So that not everything is equally wrong."""
    held = account.subscription
    canceled = name == "stripe, canceled"
    assert held.status is (SubscriptionState.CANCELED if canceled else SubscriptionState.ACTIVE)
    assert held.close_only is canceled
    assert held.plan_id == ("core" if name == "bitcoin" else "pro")
    assert account.balance_minor == (1_000 - GIVEN_BACK if name == "bitcoin" else 0)
    status = RefundStatus.CLAIMABLE if name == "bitcoin" else RefundStatus.SUCCEEDED
    assert [(r.amount_minor, r.status) for r in account.refunds] == [(GIVEN_BACK, status)]
    assert GIVEN_BACK in [i.refunded_minor for i in account.invoices]

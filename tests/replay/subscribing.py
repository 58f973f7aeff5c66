"""Subscriptions to record, each by a worker of its own with a payment system that does as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Worker

from activities.subscriptions import SubscriptionActivities
from adapters.store.subscriptions import SubscriptionStore
from domain import ids
from domain.billing import Provider, Subscription, SubscriptionState
from domain.subscriptions import (
    CancelWish,
    CheckoutWish,
    Look,
    PauseWish,
    PlanWish,
    RefundWish,
    SubscriptionInput,
    SubscriptionView,
    Terms,
    Wish,
)
from temporal import ids as workflow_ids
from temporal.subscriptions import Subscriptions
from tests.workflows.subscription_fakes import CATALOGUE, FakeBiller
from tests.world import ACTOR, World
from workflows.subscription import SubscriptionWorkflow

_DAY = timedelta(days=1)
# A second between two looks that have nothing to read, so that a recorded run has timers that have come.
_TERMS = Terms(7 * _DAY, 30 * _DAY, (_DAY,), 3 * _DAY, timedelta(seconds=1), _DAY)


@dataclass
class Recorded:
    """A tenant's subscription, and all that acts on it."""

    world: World
    tenant_id: str
    subscription_id: str
    store: SubscriptionStore
    biller: FakeBiller
    steps: SubscriptionActivities
    engine: Subscriptions

    @property
    def queue(self) -> str:
        return f"vanta-billing-{self.subscription_id}"

    @property
    def workflow_id(self) -> str:
        return workflow_ids.subscription(self.subscription_id)

    def named(self, key: str) -> tuple[str, str, str, str]:
        return self.tenant_id, self.subscription_id, ACTOR, key

    def wish(self) -> CheckoutWish:
        urls = ("https://app.example/ok", "https://app.example/no")
        return CheckoutWish(*self.named("open"), Provider.BTCPAY, "core", 1, "ann@example.com", *urls)

    async def begin(self, view: SubscriptionView | None = None) -> WorkflowHandle[Any, Any]:
        given = SubscriptionInput(self.tenant_id, self.subscription_id, view)
        return await self.world.temporal.start_workflow(
            SubscriptionWorkflow.run, given, id=self.workflow_id, task_queue=self.queue
        )

    async def until(self, *states: SubscriptionState) -> Subscription:
        async with asyncio.timeout(30):
            while True:
                held = (await self.store.account(self.tenant_id, self.subscription_id)).subscription
                if held.status in states:
                    return held
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        await self.engine.cancel(CancelWish(*self.named("end"), at_period_end=False))
        await self.world.temporal.get_workflow_handle(self.workflow_id).result()


@asynccontextmanager
async def subscribing(world: World) -> AsyncIterator[Recorded]:
    """A tenant of its own, with a subscription that has not been opened yet."""
    store, biller, tenant_id = SubscriptionStore(world.database, CATALOGUE), FakeBiller(lambda _: None), str(uuid4())
    steps = SubscriptionActivities(store, {Provider.BTCPAY: biller}, CATALOGUE, _TERMS)
    await world.registry.ensure_tenant(tenant_id, "Recorded", actor=ACTOR)
    subscription_id, engine = ids.subscription_id(tenant_id, "recorded"), Subscriptions(world.temporal, timeout_s=20)
    one = Recorded(world, tenant_id, subscription_id, store, biller, steps, engine)
    async with Worker(world.temporal, task_queue=one.queue, workflows=[SubscriptionWorkflow], activities=steps.all()):
        yield one


async def whole(one: Recorded) -> None:
    """Every wish once, a refused one, and a payment that an event tells of."""
    await one.begin()
    await one.engine.checkout(one.wish())
    one.biller.pays = lambda start: start - 40 * _DAY
    await one.engine.tell(one.tenant_id, one.subscription_id)
    async with asyncio.timeout(30):
        while not (invoices := (await one.store.account(one.tenant_id, one.subscription_id)).invoices):
            await asyncio.sleep(0.05)
    one.biller.pays = lambda _: None
    await one.engine.change(PlanWish(*one.named("up"), "pro", 1))
    await one.engine.change(PlanWish(*one.named("down"), "core", 1))
    await one.engine.keep(Wish(*one.named("keep")))
    with suppress(WorkflowUpdateFailedError):
        await one.engine.resume(Wish(*one.named("resume")))
    refund_id = ids.refund_id(one.tenant_id, "r")
    await one.engine.refund(RefundWish(*one.named("back"), refund_id, invoices[0].invoice_id, 100, "a mistake"))
    await one.end()


async def refused(one: Recorded) -> None:
    """Nothing becomes of its first checkout."""
    handle = await one.begin()
    with suppress(WorkflowUpdateFailedError):
        await one.engine.checkout(replace(one.wish(), plan_version=9))
    await handle.result()


async def unheard(one: Recorded) -> None:
    """Its payment system does not answer for some looks, and then tells that it is paid; paused, resumed, ended."""
    await one.begin()
    await one.engine.checkout(replace(one.wish(), trial=False))
    since = datetime.now(UTC)
    one.biller.down = [(since - _DAY, since + timedelta(seconds=2.5))]
    one.biller.pays = lambda start: start if start <= datetime.now(UTC) else None
    await one.engine.tell(one.tenant_id, one.subscription_id)
    await one.until(SubscriptionState.ACTIVE)
    await one.engine.pause(PauseWish(*one.named("pause"), datetime.now(UTC) + 10 * _DAY))
    await one.engine.resume(Wish(*one.named("resume")))
    await one.end()


async def gone_on(one: Recorded) -> None:
    """A run that goes on from another one, and has something due."""
    await one.steps.checkout_subscription(one.wish(), datetime.now(UTC) - 20 * _DAY)
    now = datetime.now(UTC)
    view = await one.steps.look_at_subscription(Look(one.tenant_id, one.subscription_id, now - 10 * _DAY))
    await one.begin(view)
    await one.until(SubscriptionState.PAST_DUE)
    await one.end()

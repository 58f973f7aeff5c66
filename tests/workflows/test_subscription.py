"""The workflow that owns a subscription, on a real server: wishes, events, failures, and what operators see."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.subscriptions import SubscriptionActivities
from domain.billing import BillingRefused, Provider, RefundStatus, Subscription, SubscriptionState
from domain.subscriptions import (
    CancelWish,
    CheckoutWish,
    PauseWish,
    PlanWish,
    RefundWish,
    StepKind,
    SubscriptionView,
    Terms,
    Wish,
)
from temporal import ids, queues, search_attributes
from temporal.subscriptions import Subscriptions
from tests.workflows.subscription_fakes import CATALOGUE, FakeBiller, FakeStore
from workflows.subscription import SubscriptionWorkflow

DAY = timedelta(days=1)
TERMS = Terms(7 * DAY, 30 * DAY, (DAY,), 3 * DAY, timedelta(minutes=5), DAY)
_S = SubscriptionState


@dataclass
class Desk:
    """One tenant's way to its subscription."""

    env: WorkflowEnvironment
    engine: Subscriptions
    store: FakeStore
    biller: FakeBiller
    subscription_id: str

    @property
    def held(self) -> Subscription:
        return self.store.accounts[self.subscription_id].subscription

    @property
    def handle(self) -> WorkflowHandle[Any, SubscriptionView | None]:
        return self.env.client.get_workflow_handle(ids.subscription(self.subscription_id), result_type=SubscriptionView)

    def named(self, key: str = "k") -> tuple[str, str, str, str]:
        return "t", self.subscription_id, "user:ann", key

    def wish(self, **changed: Any) -> CheckoutWish:
        urls = ("https://app.example/ok", "https://app.example/no")
        wish = CheckoutWish(*self.named(), Provider.BTCPAY, "core", 1, "ann@example.com", *urls)
        return replace(wish, **changed)

    async def running(self) -> None:
        """Past its trial, paid."""
        await self.engine.checkout(self.wish(trial=False))
        self.biller.pays = lambda start: start if start <= datetime.now(UTC) else None
        await self.engine.tell("t", self.subscription_id)
        async with asyncio.timeout(20):
            while self.held.status is not _S.ACTIVE:
                await asyncio.sleep(0.02)

    async def ended(self) -> SubscriptionView | None:
        async with asyncio.timeout(20):
            return await self.handle.result()


@asynccontextmanager
async def desk(env: WorkflowEnvironment) -> AsyncIterator[Desk]:
    store, biller = FakeStore(), FakeBiller(lambda _: None)
    steps = SubscriptionActivities(cast("Any", store), {Provider.BTCPAY: biller}, CATALOGUE, TERMS)
    async with Worker(env.client, task_queue=queues.BILLING, workflows=[SubscriptionWorkflow], activities=steps.all()):
        yield Desk(env, Subscriptions(env.client, timeout_s=20), store, biller, f"SUB-{uuid.uuid4().hex}")


def refused(error: WorkflowUpdateFailedError) -> str | None:
    assert isinstance(error.cause, ApplicationError)
    return error.cause.type


async def test_a_checkout_opens_it_and_operators_see_what_it_is(local: WorkflowEnvironment):
    async with desk(local) as one:
        page = await one.engine.checkout(one.wish())
        assert page.url == "https://pay.example/1"
        assert (await one.engine.checkout(one.wish())).url == page.url
        view = await one.handle.query(SubscriptionWorkflow.state)
        step = await one.handle.query(SubscriptionWorkflow.next_event)
        assert view is not None
        assert (view.subscription, view.heard, view.next) == (one.held, True, step)
        assert step is not None
        assert step.kind is StepKind.LOOK
        assert view.subscription.status is _S.TRIALING
        shown = (await one.handle.describe()).typed_search_attributes
        assert [shown.get(key) for key in (search_attributes.TENANT, search_attributes.STATE)] == ["t", "trialing"]
    assert one.store.actions() == ["created", "trial_started"]


async def test_an_event_makes_it_read_what_is_true_however_often_it_comes(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        assert one.store.actions() == ["created", "updated", "activated"]
        for _ in range(20):
            await one.engine.tell("t", one.subscription_id)
        await asyncio.sleep(0.3)
        assert one.store.actions() == ["created", "updated", "activated"]
        assert len(one.store.accounts[one.subscription_id].entries) == 0


async def test_an_event_of_what_is_not_there_ends_at_once(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.engine.tell("t", one.subscription_id)
        assert await one.ended() is None


async def test_wishes_are_carried_out_once_each_and_in_turn(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        up = await one.engine.change(PlanWish(*one.named("up"), "pro", 1))
        assert up.subscription.plan_id == "pro"
        down = await one.engine.change(PlanWish(*one.named("down"), "core", 1))
        assert (down.subscription.plan_id, down.subscription.scheduled_plan_id) == ("pro", "core")
        kept = await one.engine.keep(Wish(*one.named("keep")))
        assert kept.subscription.scheduled_plan_id is None
        until = datetime.now(UTC) + 10 * DAY
        paused = await one.engine.pause(PauseWish(*one.named("pause"), until))
        assert (paused.subscription.status, paused.subscription.resume_at) == (_S.PAUSED, until)
        resumed = await one.engine.resume(Wish(*one.named("resume")))
        assert resumed.subscription.status is _S.ACTIVE
        ending = await one.engine.cancel(CancelWish(*one.named("end")))
        assert ending.next is not None
        assert ending.subscription.cancel_at == ending.subscription.renewal_at
        await one.engine.keep(Wish(*one.named("stay")))
        over = await one.engine.cancel(CancelWish(*one.named("now"), at_period_end=False))
        assert (over.subscription.status, over.next) == (_S.CANCELED, None)
        assert await one.ended() == over
    assert one.biller.effects == [
        "change/up", "change/down", "keep/keep", "pause/pause", "resume/resume", "cancel/end", "keep/stay",
        "cancel/now",
    ]  # fmt: skip


async def test_what_does_not_go_is_refused_before_anything_is_asked(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        engine, until = one.engine, datetime.now(UTC) - DAY
        wishes = [
            (engine.change(PlanWish(*one.named(), "core", 1)), "invalid-input"),
            (engine.keep(Wish(*one.named())), "nothing-scheduled"),
            (engine.resume(Wish(*one.named())), "not-paused"),
            (engine.pause(PauseWish(*one.named(), until)), "invalid-input"),
            (engine.checkout(one.wish(plan_id="pro")), "already-subscribed"),
            (engine.checkout(one.wish(provider=Provider.STRIPE)), "other-provider"),
        ]
        for wish, code in wishes:
            with pytest.raises(WorkflowUpdateFailedError) as heard:
                await wish
            assert refused(heard.value) == code
        assert one.biller.effects == []


async def test_a_payment_systems_no_reaches_who_asked_and_leaves_it_as_it_was(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        before = one.held
        one.biller.refusal = BillingRefused("card-declined", "no")
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await one.engine.change(PlanWish(*one.named(), "pro", 1))
        assert refused(heard.value) == "card-declined"
        one.biller.refusal = None
        assert one.held == before
        assert (await one.engine.change(PlanWish(*one.named(), "pro", 1))).subscription.plan_id == "pro"


async def test_a_refused_first_checkout_leaves_nothing_running(local: WorkflowEnvironment):
    async with desk(local) as one:
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await one.engine.checkout(one.wish(plan_version=9))
        assert refused(heard.value) == "invalid-input"
        assert await one.ended() is None


async def test_a_wish_for_what_lost_its_workflow_starts_it_again(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        await one.handle.terminate("by an operator")
        up = await one.engine.change(PlanWish(*one.named("up"), "pro", 1))
        assert up.subscription.plan_id == "pro"
        assert (await one.handle.describe()).status is WorkflowExecutionStatus.RUNNING
        over = await one.engine.cancel(CancelWish(*one.named("now"), at_period_end=False))
        assert await one.ended() == over
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await one.engine.change(PlanWish(*one.named("late"), "core", 1))
        assert refused(heard.value) == "subscription-over"
        assert await one.ended() == over


async def test_a_refund_is_given_once_and_who_may_claim_it_is_told_by_the_store_only(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        one.biller.pays = lambda start: start - 40 * DAY
        await one.engine.tell("t", one.subscription_id)
        async with asyncio.timeout(20):
            while not (invoices := one.store.accounts[one.subscription_id].invoices):
                await asyncio.sleep(0.02)
        wish = RefundWish(*one.named("r"), "RF-1", invoices[0].invoice_id, 1_000, "a mistake")
        first, second = [await one.engine.refund(wish) for _ in range(2)]
        assert first == second
        assert (first.status, first.claim_url) == (RefundStatus.CLAIMABLE, None)
        account = one.store.accounts[one.subscription_id]
        assert account.refunds[0].claim_url == "https://pay.example/claim"
        assert (account.invoices[0].refunded_minor, len(account.refunds)) == (1_000, 1)
        too_much = replace(wish, refund_id="RF-2", amount_minor=invoices[0].paid_minor - 999)
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await one.engine.refund(too_much)
        assert refused(heard.value) == "invalid-input"
    assert one.biller.effects == ["refund/RF-1/1000"]


async def test_wishes_at_once_for_what_is_over_are_all_answered(local: WorkflowEnvironment):
    async with desk(local) as one:
        await one.running()
        over = await one.engine.cancel(CancelWish(*one.named("now"), at_period_end=False))
        assert await one.ended() == over
        again = [one.engine.cancel(CancelWish(*one.named(f"{n}"), at_period_end=False)) for n in range(3)]
        assert [view.subscription for view in await asyncio.gather(*again)] == [over.subscription] * 3
        assert await one.ended() is not None
    assert one.biller.effects == ["cancel/now"]


async def test_a_worker_that_is_killed_after_every_write_does_no_harm(local: WorkflowEnvironment):
    async with desk(local) as one:
        one.store.forgets = True
        await one.running()
        up = await one.engine.change(PlanWish(*one.named("up"), "pro", 1))
        assert up.subscription == one.held
        await one.engine.change(PlanWish(*one.named("down"), "core", 1))
        await one.engine.keep(Wish(*one.named("keep")))
        await one.engine.pause(PauseWish(*one.named("pause")))
        resumed = await one.engine.resume(Wish(*one.named("resume")))
        assert resumed.subscription == one.held
        over = await one.engine.cancel(CancelWish(*one.named("now"), at_period_end=False))
        assert await one.ended() == over
        assert one.store.lost >= 8
    assert one.biller.effects == ["change/up", "change/down", "keep/keep", "pause/pause", "resume/resume", "cancel/now"]
    assert one.store.actions() == [
        "created", "updated", "activated", "plan_changed", "downgrade_scheduled", "kept", "paused", "close_only",
        "resumed", "reopened", "canceled", "close_only",
    ]  # fmt: skip

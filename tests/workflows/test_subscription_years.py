"""Years of subscriptions, on the server that jumps over waits: what time brings about, and when to the second."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.subscriptions import SubscriptionActivities
from domain.billing import Account, Provider, Subscription, SubscriptionState
from domain.subscriptions import CancelWish, CheckoutWish, PauseWish, PlanWish, StepKind, SubscriptionView, Terms
from temporal import ids, queues
from temporal.subscriptions import Subscriptions
from tests.workflows.subscription_fakes import CATALOGUE, FakeBiller, FakeStore
from workflows.subscription import SubscriptionWorkflow

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# Looks further apart than by default, so that years are hundreds of steps and not thousands.
TERMS = Terms(7 * DAY, 30 * DAY, (DAY, 3 * DAY, 6 * DAY), 3 * DAY, timedelta(minutes=5), 4 * DAY)
_A_TASK = timedelta(seconds=20)
_S = SubscriptionState


@dataclass
class Life:
    env: WorkflowEnvironment
    store: FakeStore
    biller: FakeBiller
    steps: SubscriptionActivities
    wish: CheckoutWish
    began: datetime

    @property
    def account(self) -> Account:
        return self.store.accounts[self.wish.subscription_id]

    @property
    def held(self) -> Subscription:
        return self.account.subscription

    def status(self) -> SubscriptionState:
        return self.held.status

    @property
    def handle(self) -> WorkflowHandle[Any, SubscriptionView | None]:
        workflow_id = ids.subscription(self.wish.subscription_id)
        return self.env.client.get_workflow_handle(workflow_id, result_type=SubscriptionView)

    async def until(self, at: datetime) -> None:
        """Sleep there in bounded steps, as one call must end within the client's time-out, and let it settle."""
        while (left := at - await self.env.get_current_time()) > timedelta():
            await self.env.sleep(min(left, 20 * DAY))
        await self.settled()

    async def settled(self) -> None:
        """Until the workflow waits for what is later than now."""
        async with asyncio.timeout(30):
            while True:
                view = await self.handle.query(SubscriptionWorkflow.state)
                now = await self.env.get_current_time()
                if view is not None and (view.next is None or view.next.at > now) and view.subscription == self.held:
                    return
                await asyncio.sleep(0.02)

    async def tell(self) -> None:
        looked = self.biller.asked
        await self.handle.signal(SubscriptionWorkflow.tell)
        async with asyncio.timeout(30):
            while self.biller.asked == looked:
                await asyncio.sleep(0.01)
        await self.settled()

    def at(self, action: str) -> list[datetime]:
        return [at for at, name in self.store.events if name == action]


def checkout(**changed: Any) -> CheckoutWish:
    wish = CheckoutWish(
        "t", f"SUB-{uuid.uuid4().hex}", "user:ann", "k", Provider.BTCPAY, "pro", 1, "ann@example.com",
        "https://app.example/ok", "https://app.example/no",
    )  # fmt: skip
    return replace(wish, **changed)


@asynccontextmanager
async def living(env: WorkflowEnvironment, biller: FakeBiller, wish: CheckoutWish | None = None) -> AsyncIterator[Life]:
    """The server knows no updates, so that wishes reach the activities themselves, between two steps of time."""
    store, wish, began = FakeStore(), wish or checkout(), await env.get_current_time()
    steps = SubscriptionActivities(cast("Any", store), {Provider.BTCPAY: biller}, CATALOGUE, TERMS)
    await steps.checkout_subscription(wish, began)
    worker = Worker(env.client, task_queue=queues.BILLING, workflows=[SubscriptionWorkflow], activities=steps.all())
    async with worker:
        await Subscriptions(env.client, timeout_s=20).tell(wish.tenant_id, wish.subscription_id)
        life = Life(env, store, biller, steps, wish, began)
        await life.settled()
        yield life


def close(one: datetime, other: datetime) -> bool:
    """Never early; late by as long as the machine takes for a task."""
    return timedelta() <= one - other < _A_TASK


def paid_but(*lapses: int, after: timedelta | None = None) -> Callable[[datetime], datetime | None]:
    """A day ahead, but for the periods of these numbers, counted in the order in which they are asked for."""
    seen: list[datetime] = []

    def pays(start: datetime) -> datetime | None:
        if start not in seen:
            seen.append(start)
        if seen.index(start) not in lapses:
            return start - DAY
        return None if after is None else start + after

    return pays


async def test_three_years_of_renewals_with_one_lapse_end_as_they_should(skipping: WorkflowEnvironment):
    """From a trial over monthly renewals, reminders, grace and close-only, back, to an end; over several runs."""
    async with living(skipping, FakeBiller(paid_but(7, after=12 * DAY))) as life:
        first = (await life.handle.describe()).run_id
        assert life.status() is _S.TRIALING
        trial_end = life.held.trial_end
        assert trial_end == life.began + 14 * DAY
        await life.until(life.began + 3 * 365 * DAY)
        assert life.status() is _S.ACTIVE
        assert (await life.handle.describe()).run_id != first
        [reminded] = life.at("reminded")[:1]
        assert close(reminded, trial_end - 3 * DAY)
        # Every renewal at its time; the lapsed one when it was paid.
        lapse = life.at("past_due")[0]
        starts = [invoice.period_start for invoice in life.account.invoices]
        assert len(life.at("renewed")) >= 35
        renewed = [at for at in life.at("renewed") if not lapse <= at <= lapse + 16 * DAY]
        assert all(any(start is not None and close(at, start) for start in starts) for at in renewed)
        told = ["past_due", "close_only", "paid", "reopened"]
        assert [action for action in life.store.actions() if action in told] == told
        # From the end of what was paid, which was noticed a moment later.
        assert abs(life.at("close_only")[0] - lapse - 7 * DAY) < _A_TASK
        for at, wait in zip(life.at("reminded")[1:], TERMS.reminders, strict=True):
            assert abs(at - lapse - wait) < _A_TASK
        assert life.at("reopened")[0] - lapse - 12 * DAY < TERMS.look_every + _A_TASK
        held = life.held
        assert (held.close_only, held.past_due_since, held.grace_until, held.reminded) == (False, None, None, ())
        # Each period was paid once.
        assert len(starts) == len(set(starts)) == len(life.account.entries) // 2
        assert life.account.balance_minor == 0
        now = await skipping.get_current_time()
        await life.steps.cancel_subscription(CancelWish("t", life.wish.subscription_id, "user:ann", "c"), now)
        end = life.held.renewal_at
        assert end is not None
        await life.tell()
        await life.until(end + HOUR)
        last = await life.handle.result()
        assert last is not None
        assert last.subscription == life.held
        assert (life.held.status, life.held.ended_at) == (_S.CANCELED, end)
        assert close(life.at("canceled")[0], end)
        assert last.next is None


async def test_a_scheduled_downgrade_comes_with_the_renewal_and_not_before(skipping: WorkflowEnvironment):
    async with living(skipping, FakeBiller()) as life:
        await life.until(life.began + 20 * DAY)
        renewal = life.held.renewal_at
        assert renewal is not None
        now = await skipping.get_current_time()
        await life.steps.change_subscription(PlanWish("t", life.wish.subscription_id, "user:ann", "d", "core", 1), now)
        await life.tell()
        await life.until(renewal - HOUR)
        assert (life.held.plan_id, life.held.scheduled_plan_id) == ("pro", "core")
        await life.until(renewal + HOUR)
        assert (life.held.plan_id, life.held.scheduled_plan_id) == ("core", None)
        assert close(life.at("downgraded")[0], renewal)
        assert life.account.invoices[-1].amount_minor == CATALOGUE.current("core").price_minor


async def test_a_pause_ends_by_itself_and_what_was_paid_lasts_longer(skipping: WorkflowEnvironment):
    async with living(skipping, FakeBiller()) as life:
        await life.until(life.began + 20 * DAY)
        before, now = life.held, await skipping.get_current_time()
        wish = PauseWish("t", life.wish.subscription_id, "user:ann", "p", now + 60 * DAY)
        await life.steps.pause_subscription(wish, now)
        await life.tell()
        assert (life.held.status, life.held.close_only) == (_S.PAUSED, True)
        step = await life.handle.query(SubscriptionWorkflow.next_event)
        assert step is not None
        assert step.kind is StepKind.LOOK
        await life.until(now + 59 * DAY)
        assert life.status() is _S.PAUSED
        await life.until(now + 61 * DAY)
        assert (life.held.status, life.held.close_only) == (_S.ACTIVE, False)
        assert before.renewal_at is not None
        assert life.held.renewal_at == before.renewal_at + 60 * DAY
        assert "past_due" not in life.store.actions()


async def test_an_hour_without_the_payment_system_loses_nothing_and_takes_nothing(skipping: WorkflowEnvironment):
    """Around a renewal that was paid meanwhile, one that was not, and the end of its grace."""
    biller = FakeBiller(paid_but(2))
    async with living(skipping, biller) as life:
        paid = life.held.trial_end
        assert paid is not None
        biller.down.append((paid - HOUR / 2, paid + HOUR / 2))
        biller.pays = lambda start: start + HOUR / 4 if start == paid else None  # while nobody can hear of it
        await life.until(paid + HOUR / 3)
        assert life.status() is _S.TRIALING
        await life.until(paid + HOUR)
        assert life.status() is _S.ACTIVE
        assert close(life.at("renewed")[0], paid + HOUR / 2) or life.at("renewed")[0] < paid + HOUR
        lapse = life.held.renewal_at
        assert lapse is not None
        biller.down += [(at - HOUR / 2, at + HOUR / 2) for at in (lapse, lapse + 7 * DAY)]
        await life.until(lapse + HOUR / 3)
        assert life.status() is _S.ACTIVE
        view = await life.handle.query(SubscriptionWorkflow.state)
        assert view is not None
        assert (view.heard, view.note) == (False, "billing-unavailable: no answer")
        await life.until(lapse + HOUR)
        assert (life.held.status, life.held.past_due_since) == (_S.PAST_DUE, lapse)
        await life.until(lapse + 7 * DAY + HOUR / 3)
        assert life.at("close_only") == []
        await life.until(lapse + 7 * DAY + HOUR)
        assert lapse + 7 * DAY + HOUR / 2 <= life.at("close_only")[0] < lapse + 7 * DAY + HOUR
        await life.until(lapse + 31 * DAY)
        assert life.status() is _S.UNPAID


async def test_who_never_pays_is_forgotten_after_a_day(skipping: WorkflowEnvironment):
    async with living(skipping, FakeBiller(lambda _: None), checkout(trial=False)) as life:
        assert life.status() is _S.INCOMPLETE
        await life.until(life.began + 23 * HOUR + HOUR / 2)
        assert life.status() is _S.INCOMPLETE_EXPIRED
        assert close(life.at("expired")[0], life.began + 23 * HOUR)
        assert life.held.ended_at == life.began + 23 * HOUR
        last = await life.handle.result()
        assert last is not None
        assert last.next is None

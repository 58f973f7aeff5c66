"""The owner of a redriven order: it asks first, tells its verdict, and takes leave in the end."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.delivery import FollowerOrderKey
from activities.redrive import RedriveInput
from domain.dispatch import PendingOrder
from domain.mirroring import FollowerOrderInput, RedriveVerdict
from domain.orders import FollowerState
from domain.redrive import Redrivable
from temporal import ids, queues
from temporal.redrives import Redrives
from tests.domain.pending import pending
from tests.workflows.fakes import ACK, FAIL, FakeDelivery, ref
from workflows.follower_order import FollowerOrderWorkflow

F = FollowerState


class FakeRedrive:
    """Reopens the order that `delivery` holds, or refuses with `code`; `wait` holds its verdict back."""

    def __init__(self, delivery: FakeDelivery, code: str | None = None) -> None:
        self.delivery, self.code = delivery, code
        self.calls: list[str] = []
        self.wait: asyncio.Event | None = None

    @activity.defn
    async def redrive(self, wanted: RedriveInput) -> RedriveVerdict:
        self.calls.append(f"redrive {wanted.request.dead_letter_id} by {wanted.request.actor}")
        if self.wait is not None:
            await self.wait.wait()
        order = self.delivery.order
        if self.code is None:
            order = self.delivery.order = replace(order, state=F.RETRY, attempts_base=order.attempts)
        return RedriveVerdict(7, order.fo_id, self.code is None, order.state, order.attempts, self.code, "words")

    @activity.defn
    async def close_redrive(self, key: FollowerOrderKey) -> None:
        self.calls.append("close")


@asynccontextmanager
async def owners(env: WorkflowEnvironment, fake: FakeRedrive) -> AsyncIterator[Redrives]:
    async with AsyncExitStack() as running:
        delivery = Worker(env.client, task_queue=queues.DISPATCH, activities=fake.delivery.all())
        own = Worker(
            env.client, task_queue=queues.FOLLOWERS, workflows=[FollowerOrderWorkflow],
            activities=[fake.redrive, fake.close_redrive],
        )  # fmt: skip
        await running.enter_async_context(delivery)
        await running.enter_async_context(own)
        yield Redrives(env.client, timeout_s=20)


def dead() -> PendingOrder:
    return pending(mo_id=f"M-{uuid.uuid4().hex}", state=F.DEAD_LETTER, attempts=5)


def letter(order: PendingOrder) -> Redrivable:
    return Redrivable(
        7, order.tenant_id, order.fo_id, order.mo_id, order.follower_id, order.vault_id, order.symbol, ref(order), "day"
    )


async def result(env: WorkflowEnvironment, order: PendingOrder) -> str:
    handle = env.client.get_workflow_handle(ids.redrive(order.mo_id, order.follower_id, 7), result_type=str)
    async with asyncio.timeout(60):
        state: str = await handle.result()
    return state


async def test_a_redriven_order_is_owned_to_its_end_and_then_closed(local: WorkflowEnvironment):
    order = dead()
    fake = FakeRedrive(FakeDelivery(order, local.get_current_time))
    async with owners(local, fake) as redrives:
        verdict = await redrives.redrive(letter(order), actor="user:ops")
        assert (verdict.redriven, verdict.state) == (True, F.RETRY)
        assert await result(local, order) == F.CONFIRMED
    assert fake.calls == ["redrive 7 by user:ops", "close"]
    assert fake.delivery.order.attempts == 6


async def test_a_refused_order_is_not_touched(local: WorkflowEnvironment):
    order = dead()
    fake = FakeRedrive(FakeDelivery(order, local.get_current_time), code="kill_switch")
    async with owners(local, fake) as redrives:
        verdict = await redrives.redrive(letter(order), actor="user:ops")
        assert (verdict.redriven, verdict.code, verdict.reason) == (False, "kill_switch", "words")
        assert await result(local, order) == F.DEAD_LETTER
        fake.code = None  # it may be asked for again
        assert (await redrives.redrive(letter(order), actor="user:ops")).redriven
        assert await result(local, order) == F.CONFIRMED
    assert fake.calls == ["redrive 7 by user:ops"] * 2 + ["close"]


async def test_all_who_ask_at_once_hear_one_verdict(local: WorkflowEnvironment):
    order = dead()
    fake = FakeRedrive(FakeDelivery(order, local.get_current_time, answers=[FAIL, ACK]))
    fake.wait = asyncio.Event()
    async with owners(local, fake) as redrives:
        asking = [asyncio.create_task(redrives.redrive(letter(order), actor="user:ops")) for _ in range(5)]
        async with asyncio.timeout(60):
            while not fake.calls:
                await asyncio.sleep(0.01)
        fake.wait.set()
        assert {(await task).redriven for task in asking} == {True}
        assert await result(local, order) == F.CONFIRMED
    assert fake.calls[0] == "redrive 7 by user:ops"
    assert fake.calls.count("redrive 7 by user:ops") == 1


async def test_an_owner_without_a_dead_letter_has_no_verdict(local: WorkflowEnvironment):
    order = pending(mo_id=f"M-{uuid.uuid4().hex}", state=F.RETRY, attempts=1)
    fake = FakeRedrive(FakeDelivery(order, local.get_current_time))
    async with owners(local, fake):
        handle = await local.client.start_workflow(
            FollowerOrderWorkflow.run,
            FollowerOrderInput(order.tenant_id, ref(order, wait_ms=60_000), "day"),
            id=ids.follower_order(order.mo_id, order.follower_id),
            task_queue=queues.FOLLOWERS,
        )
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(FollowerOrderWorkflow.redrive)
        await handle.terminate("the test is over")

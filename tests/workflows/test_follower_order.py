import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain import retry
from domain.dispatch import PendingOrder, reported
from domain.mirroring import FollowerOrderInput
from domain.orders import FollowerState
from domain.ports import SendOutcome, VenueStatus
from temporal import queues
from tests.domain.pending import pending, venue_order
from tests.workflows.fakes import ACK, FAIL, REFUSE, SILENT, FakeDelivery, ref
from workflows.follower_order import FollowerOrderWorkflow

F = FollowerState
V = VenueStatus
UNTOUCHED = pending(state=F.SIZED, attempts=0)
BACKING_OFF = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
AT_ALPACA = pending(state=F.SIZED, attempts=0, route="alpaca")


@asynccontextmanager
async def workers(env: WorkflowEnvironment, fake: FakeDelivery) -> AsyncIterator[None]:
    async with AsyncExitStack() as running:
        queue = queues.for_route(fake.order.route)
        await running.enter_async_context(Worker(env.client, task_queue=queue, activities=fake.all()))
        await running.enter_async_context(
            Worker(env.client, task_queue=queues.ORCHESTRATION, workflows=[FollowerOrderWorkflow])
        )
        yield


async def start(
    env: WorkflowEnvironment, order: PendingOrder, wait_ms: int = 0, tif: str = "day"
) -> WorkflowHandle[Any, str]:
    return await env.client.start_workflow(
        FollowerOrderWorkflow.run,
        FollowerOrderInput(order.tenant_id, ref(order, wait_ms=wait_ms), tif),
        id=f"mirror/{order.mo_id}/{order.follower_id}",
        task_queue=queues.ORCHESTRATION,
    )


def waits(fake: FakeDelivery, call: str = "deliver") -> list[float]:
    times = fake.times(call)
    return [(b - a).total_seconds() for a, b in pairwise(times)]


async def test_a_receiver_that_always_fails_is_tried_at_1_5_15_60_s_and_then_buried(skipping: WorkflowEnvironment):
    fake = FakeDelivery(UNTOUCHED, skipping.get_current_time, answers=[FAIL])
    async with workers(skipping, fake):
        assert await (await start(skipping, UNTOUCHED)).result() == F.DEAD_LETTER
    expected = [base * float(1 + retry.jitter("FO-1", n)) for n, base in enumerate((1, 5, 15, 60), start=1)]
    # The server's clock runs on while it is not jumping: a send takes some milliseconds of it.
    assert waits(fake) == pytest.approx(expected, abs=0.35)
    assert [name for name, _ in fake.calls] == ["deliver"] * 5
    assert fake.states == [F.SIZED, *[F.SENT, F.RETRY] * 4, F.SENT, F.DEAD_LETTER]


async def test_the_owner_waits_for_what_the_waves_failed_attempt_has_earned(skipping: WorkflowEnvironment):
    order = pending(state=F.RETRY, attempts=1)
    fake = FakeDelivery(order, skipping.get_current_time)
    async with workers(skipping, fake):
        began = await skipping.get_current_time()
        handle = await start(skipping, order, wait_ms=40_000)
        assert await handle.result() == F.CONFIRMED
    [sent] = fake.times("deliver")
    assert (sent - began).total_seconds() == pytest.approx(40, abs=1)
    assert fake.order.attempts == 2


async def test_an_order_that_the_wave_has_ended_costs_no_activity(skipping: WorkflowEnvironment):
    order = pending(state=F.CONFIRMED)
    fake = FakeDelivery(order, skipping.get_current_time)
    async with workers(skipping, fake):
        assert await (await start(skipping, order)).result() == F.CONFIRMED
    assert fake.calls == []


async def test_a_refusal_ends_the_order_at_once(skipping: WorkflowEnvironment):
    fake = FakeDelivery(UNTOUCHED, skipping.get_current_time, answers=[REFUSE])
    async with workers(skipping, fake):
        assert await (await start(skipping, UNTOUCHED)).result() == F.REJECTED
    assert [name for name, _ in fake.calls] == ["deliver"]


async def test_a_silent_receiver_gets_the_delivery_again_after_the_usual_wait(skipping: WorkflowEnvironment):
    fake = FakeDelivery(UNTOUCHED, skipping.get_current_time, answers=[SILENT, ACK])
    async with workers(skipping, fake):
        assert await (await start(skipping, UNTOUCHED)).result() == F.CONFIRMED
    assert waits(fake) == pytest.approx([float(1 + retry.jitter("FO-1", 1))], abs=0.35)
    assert fake.states == [F.SIZED, F.SENT, F.UNKNOWN, F.SENT, F.ACK, F.CONFIRMED]


async def test_a_silent_broker_is_asked_at_once_and_not_sent_to_again(skipping: WorkflowEnvironment):
    fake = FakeDelivery(
        AT_ALPACA, skipping.get_current_time, answers=[SILENT], reports=[venue_order(V.FILLED, 10, Decimal(100))]
    )
    async with workers(skipping, fake):
        assert await (await start(skipping, AT_ALPACA)).result() == F.CONFIRMED
    assert fake.states == [F.SIZED, F.SENT, F.UNKNOWN, F.ACK, F.CONFIRMED]
    assert waits(fake)[0] < 0.5


async def test_a_broker_that_cannot_tell_for_a_day_makes_a_dead_letter(skipping: WorkflowEnvironment):
    fake = FakeDelivery(AT_ALPACA, skipping.get_current_time, answers=[SILENT])
    async with workers(skipping, fake):
        began = await skipping.get_current_time()
        assert await (await start(skipping, AT_ALPACA)).result() == F.DEAD_LETTER
    [buried] = fake.times("bury")
    # The server gives up where the next look would come too late, so up to one poll before the day is over.
    assert timedelta(hours=24) - timedelta(seconds=61) < buried - began < timedelta(hours=24, seconds=5)
    assert fake.order.last_error == "unresolved"
    assert max(waits(fake)[:-1]) == pytest.approx(60, abs=0.5)


async def test_partial_fills_are_followed_to_the_end(skipping: WorkflowEnvironment):
    reports = [
        venue_order(V.WORKING), venue_order(V.PARTIALLY_FILLED, 4, Decimal(100)),
        venue_order(V.PARTIALLY_FILLED, 4, Decimal(100)), venue_order(V.FILLED, 10, Decimal(100)),
    ]  # fmt: skip
    fake = FakeDelivery(AT_ALPACA, skipping.get_current_time, reports=reports)
    async with workers(skipping, fake):
        handle = await start(skipping, AT_ALPACA)
        assert await handle.result() == F.CONFIRMED
        status = await handle.query(FollowerOrderWorkflow.status)
    assert status.filled_qty == 10
    assert sum(fill.qty for fill in fake.fills.values()) == 10
    assert waits(fake, "confirm") == pytest.approx([0.25, 0.5, 1.0], abs=0.3)


@pytest.mark.parametrize(("tif", "hours"), [("ioc", 1), ("day", 36)])
async def test_an_order_that_never_ends_is_given_up_after_its_time_in_force(
    skipping: WorkflowEnvironment, tif: str, hours: int
):
    fake = FakeDelivery(AT_ALPACA, skipping.get_current_time, reports=[venue_order(V.WORKING)])
    async with workers(skipping, fake):
        assert await (await start(skipping, AT_ALPACA, tif=tif)).result() == F.DEAD_LETTER
    [buried], looks = fake.times("bury"), fake.times("confirm")
    assert abs(buried - looks[0] - timedelta(hours=hours)) < timedelta(seconds=65)
    assert fake.order.last_error == "unconfirmed"


def own(**fields: Any) -> PendingOrder:
    """An order with a workflow id of its own, for the server that tests share."""
    return pending(mo_id=f"M-{uuid.uuid4().hex}", **fields)


async def _waiting(handle: WorkflowHandle[Any, str]) -> None:
    """Return when an activity of the workflow has failed and waits for its next attempt."""
    async with asyncio.timeout(60):
        while True:
            activities = (await handle.describe()).raw_description.pending_activities
            if any(
                a.attempt > 1 and a.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED for a in activities
            ):
                return


async def _ended(handle: WorkflowHandle[Any, str], within_s: float = 20) -> str:
    async with asyncio.timeout(within_s):
        return await handle.result()


async def test_a_cancel_between_attempts_is_acted_on_at_once(local: WorkflowEnvironment):
    order = own(state=F.RETRY, attempts=3)
    fake = FakeDelivery(order, local.get_current_time, answers=[FAIL])
    async with workers(local, fake):
        handle = await start(local, order)
        await _waiting(handle)
        fake.order = replace(fake.order, state=F.CANCELLED)  # as the cancel's transaction does
        await handle.signal(FollowerOrderWorkflow.cancel)
        assert await _ended(handle) == F.CANCELLED  # the fifth attempt was a minute away
    assert len(fake.times("deliver")) == 2


async def test_a_cancel_during_the_wait_after_the_wave_is_acted_on_at_once(local: WorkflowEnvironment):
    order = own(state=F.RETRY, attempts=1)
    fake = FakeDelivery(replace(order, state=F.CANCELLED), local.get_current_time)
    async with workers(local, fake):
        handle = await start(local, order, wait_ms=60_000)
        await handle.signal(FollowerOrderWorkflow.cancel)
        assert await _ended(handle) == F.CANCELLED


@pytest.mark.parametrize(("answer", "end"), [(FAIL, F.CANCELLED), (ACK, F.CONFIRMED)])
async def test_a_cancel_lets_an_attempt_on_the_wire_have_its_answer(
    local: WorkflowEnvironment, answer: SendOutcome, end: FollowerState
):
    order = own(state=F.SIZED, attempts=0)
    fake = FakeDelivery(order, local.get_current_time, answers=[answer])
    fake.wire = asyncio.Event()
    async with workers(local, fake):
        handle = await start(local, order)
        async with asyncio.timeout(60):
            await fake.sending.wait()
        await handle.signal(FollowerOrderWorkflow.cancel)
        fake.cancelled = True
        assert (await handle.query(FollowerOrderWorkflow.status)).state == F.SIZED
        fake.wire.set()
        assert await _ended(handle) == end
    assert fake.order.attempts == 1


async def test_a_cancel_of_an_open_order_goes_to_the_venue_first_and_is_then_confirmed(local: WorkflowEnvironment):
    order = own(state=F.ACK, route="alpaca")
    fake = FakeDelivery(order, local.get_current_time, reports=[venue_order(V.PARTIALLY_FILLED, 4, Decimal(100))])
    fake.after_cancel = venue_order(V.CANCELLED, 4, Decimal(100))
    async with workers(local, fake):
        handle = await start(local, order, tif="gtc")
        await _waiting(handle)
        await handle.signal(FollowerOrderWorkflow.cancel)
        assert await _ended(handle) == F.CANCELLED
    assert [name for name, _ in fake.calls][-2:] == ["cancel_at_venue", "confirm"]
    assert len(fake.times("cancel_at_venue")) == 1
    assert fake.order.filled_qty == 4


async def test_a_venue_that_refuses_the_cancel_is_followed_to_its_own_end(local: WorkflowEnvironment):
    order = own(state=F.ACK, route="alpaca")
    reports = [venue_order(V.WORKING)] * 3 + [venue_order(V.FILLED, 10, Decimal(100))]
    fake = FakeDelivery(order, local.get_current_time, reports=reports)
    fake.cancel_fails = True
    async with workers(local, fake):
        handle = await start(local, order, tif="gtc")
        await handle.signal(FollowerOrderWorkflow.cancel)
        assert await _ended(handle) == F.CONFIRMED
    assert len(fake.times("cancel_at_venue")) == 1
    assert fake.order.filled_qty == 10


async def test_a_streamed_fill_ends_the_wait_for_the_next_poll_at_once(local: WorkflowEnvironment):
    order = own(state=F.ACK, route="alpaca")
    fake = FakeDelivery(order, local.get_current_time, reports=[venue_order(V.WORKING)])
    fake.poll_wait = timedelta(minutes=5)
    async with workers(local, fake):
        handle = await start(local, order)
        await _waiting(handle)
        fake.move(reported(fake.order, venue_order(V.FILLED, 10, Decimal(100)), "alpaca"))
        await handle.signal(FollowerOrderWorkflow.venue_reported)
        assert await _ended(handle) == F.CONFIRMED
    assert len(fake.times("confirm")) == 2


async def test_a_streamed_report_cuts_each_wait_short_and_no_attempt(local: WorkflowEnvironment):
    order = own(state=F.SIZED, attempts=0, route="alpaca")
    fake = FakeDelivery(order, local.get_current_time, answers=[SILENT], reports=[None])
    fake.poll_wait = timedelta(minutes=5)
    async with workers(local, fake):
        handle = await start(local, order)
        await _waiting(handle)
        fake.move(reported(fake.order, venue_order(V.WORKING), "alpaca"))
        await handle.signal(FollowerOrderWorkflow.venue_reported)
        async with asyncio.timeout(60):
            while not fake.times("confirm"):
                await asyncio.sleep(0.01)
        await _waiting(handle)
        fake.move(reported(fake.order, venue_order(V.FILLED, 10, Decimal(100)), "alpaca"))
        await handle.signal(FollowerOrderWorkflow.venue_reported)
        assert await _ended(handle) == F.CONFIRMED
    assert fake.order.attempts == 1


async def test_a_streamed_report_ends_the_wait_that_the_wave_has_earned(local: WorkflowEnvironment):
    order = own(state=F.RETRY, attempts=1, route="alpaca")
    fake = FakeDelivery(replace(order, state=F.CONFIRMED), local.get_current_time)
    async with workers(local, fake):
        handle = await start(local, order, wait_ms=60_000)
        await handle.signal(FollowerOrderWorkflow.venue_reported)
        assert await _ended(handle) == F.CONFIRMED
    assert fake.order.attempts == 1

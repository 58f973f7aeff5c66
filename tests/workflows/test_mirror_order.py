import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Interceptor

from domain.admission import Intent
from domain.mirroring import Cancellation, MirrorOrderInput
from domain.orders import FollowerState, ManagerState, Side
from temporal import ids
from temporal.orders import MirrorOrders
from tests.workflows.crossing import EndChildFirst
from tests.workflows.fakes import FakeMirroring, page_of
from tests.workflows.test_mirror_shard import serving
from workflows.mirror_order import MirrorResult

INTENT = Intent("V_1", "AAPL", Side.BUY, Decimal(10))


def fresh() -> MirrorOrderInput:
    return MirrorOrderInput("t", f"M-{uuid.uuid4().hex}", INTENT, {}, "f", "api", "user:test")


@asynccontextmanager
async def ordering(
    env: WorkflowEnvironment, fake: FakeMirroring, *, interceptors: Sequence[Interceptor] = ()
) -> AsyncIterator[MirrorOrders]:
    async with serving(env, fake, interceptors=interceptors):
        yield MirrorOrders(env.client, admit_timeout_s=20)


def handle_of(env: WorkflowEnvironment, order: MirrorOrderInput) -> WorkflowHandle[Any, MirrorResult]:
    return env.client.get_workflow_handle(ids.mirror(order.mo_id), result_type=MirrorResult)


async def result_of(env: WorkflowEnvironment, order: MirrorOrderInput) -> MirrorResult:
    async with asyncio.timeout(60):
        return await handle_of(env, order).result()


async def _hanging(fake: FakeMirroring, fo_id: str) -> None:
    async with asyncio.timeout(60):
        await fake.delivering[fo_id].wait()


async def test_an_order_is_admitted_mirrored_settled_and_archived(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(2), shards=2)
    # Two pages with the same two followers: the second page's owners exist already, and it goes on without them.
    async with ordering(local, fake) as orders:
        assert await orders.admit(order) == fake.admission
        result = await result_of(local, order)
    assert fake.calls[0] == "admit"
    assert fake.calls[-2:] == ["settle", "archive"]
    assert sorted(c for c in fake.calls if c.startswith("expand")) == ["expand 0", "expand 1"]
    assert (result.state, result.counts) == (ManagerState.SETTLED, {"confirmed": 2})
    assert result.trade_log == f"t/{order.mo_id}/trade_log.jsonl"


async def test_an_order_that_a_guard_refused_ends_with_its_verdict(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1))
    fake.admission = replace(
        fake.admission, accepted=False, state=ManagerState.REJECTED, code="vault-halted", reason="the vault is halted"
    )
    async with ordering(local, fake) as orders:
        assert await orders.admit(order) == fake.admission
        assert await result_of(local, order) == MirrorResult(ManagerState.REJECTED)
    assert fake.calls == ["admit"]


async def test_an_order_that_cannot_be_recorded_fails_and_its_caller_hears_why(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring([])
    fake.refusal = ApplicationError("no vault 'V_1'", type="not-found", non_retryable=True)
    async with ordering(local, fake) as orders:
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await orders.admit(order)
        with pytest.raises(WorkflowFailureError) as failed:
            await result_of(local, order)
    for cause in (heard.value.cause, failed.value.cause):
        assert isinstance(cause, ApplicationError)
        assert cause.type == "not-found"


async def test_the_same_order_twice_is_one_order(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1))
    fake.delivering = {"FO-0": asyncio.Event()}
    async with ordering(local, fake) as orders:
        verdicts = await asyncio.gather(*(orders.admit(order) for _ in range(5)))
        assert verdicts == [fake.admission] * 5
        await _hanging(fake, "FO-0")
        await orders.cancel(order.mo_id, actor="user:test")
        await result_of(local, order)
        assert await orders.admit(order) is None
    assert fake.calls.count("admit") == 1


async def test_a_cancel_is_answered_and_reaches_the_owners(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(2))
    fake.delivering = {"FO-1": asyncio.Event()}
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await _hanging(fake, "FO-1")
        assert await orders.cancel(order.mo_id, actor="user:test") == Cancellation(order.mo_id, 2, 0)
        await result_of(local, order)
        assert await orders.cancel(order.mo_id, actor="user:test") is None
    assert "cancel by user:test" in fake.calls
    assert fake.calls.count("deliver FO-1") == 2
    assert fake.calls[-1] == "archive"


async def test_a_cancel_that_crosses_with_a_pages_end_is_still_answered(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1))
    fake.delivering = {"FO-0": asyncio.Event()}
    crossing = EndChildFirst(local, ids.shard(order.mo_id, 0))
    async with ordering(local, fake, interceptors=[crossing]) as orders:
        await orders.admit(order)
        await _hanging(fake, "FO-0")
        assert await orders.cancel(order.mo_id, actor="user:test") == Cancellation(order.mo_id, 1, 0)
        await result_of(local, order)  # or its last steps would be taken by the next test's worker
    assert crossing.ended


async def test_an_order_that_was_refused_cannot_be_cancelled(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring([])
    fake.admission = replace(fake.admission, accepted=False, state=ManagerState.REJECTED)
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
        assert await orders.cancel(order.mo_id, actor="user:test") is None
    assert not [call for call in fake.calls if call.startswith("cancel")]


async def test_waves_of_all_pages_go_out_before_any_page_begins(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(2, FollowerState.CONFIRMED), shards=2)
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
    assert fake.calls[:3] == ["admit", "wave webhook", "wave webhook"]
    assert sorted(fake.calls[3:7]) == ["expand 0", "expand 1", "list", "list"]


async def test_without_a_wave_the_pages_begin_at_once(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1), wave=False)
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
    assert fake.calls == ["admit", "expand 0", "list", "deliver FO-0", "settle", "archive"]


async def test_no_more_waves_are_under_way_at_once_than_the_platform_allows(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1, FollowerState.CONFIRMED), shards=5)
    fake.admission = replace(fake.admission, waves_at_once=2)
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
        history = [event async for event in handle_of(local, order).fetch_history_events()]
    most, waves, ended = 0, set(), 0
    for event in history:
        if event.activity_task_scheduled_event_attributes.activity_type.name == "dispatch_wave":
            waves.add(event.event_id)
        elif event.activity_task_completed_event_attributes.scheduled_event_id in waves:
            ended += 1
        most = max(most, len(waves) - ended)
    assert (most, ended) == (2, 5)


async def test_an_order_that_is_due_gets_its_owner_while_another_pages_wave_lasts(local: WorkflowEnvironment):
    slow, failed = page_of(2)
    order, fake = fresh(), FakeMirroring([slow, failed], shards=2)
    fake.due = [failed]
    fake.wave_ends = asyncio.Event()  # set by the failed order's next attempt: without it, no wave ever ends
    async with ordering(local, fake) as orders, asyncio.timeout(60):
        await orders.admit(order)
        await result_of(local, order)
    assert fake.calls[:4] == ["admit", "wave webhook", "wave webhook", "deliver FO-1"]
    assert fake.calls.count("deliver FO-0") == 1


async def test_a_wave_that_fails_is_not_repeated_and_its_orders_go_on_one_by_one(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(2))
    fake.wave_fails = True
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
    assert fake.calls.count("wave webhook") == 1
    assert {"deliver FO-0", "deliver FO-1"} <= set(fake.calls)


async def test_a_wave_is_given_up_when_no_worker_picks_it_up_or_its_worker_falls_silent(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(1, FollowerState.CONFIRMED))
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
        [wave] = [
            event.activity_task_scheduled_event_attributes
            async for event in handle_of(local, order).fetch_history_events()
            if event.activity_task_scheduled_event_attributes.activity_type.name == "dispatch_wave"
        ]
    assert wave.schedule_to_start_timeout.ToTimedelta() == timedelta(minutes=1)
    assert wave.heartbeat_timeout.ToTimedelta() == timedelta(seconds=6)
    assert wave.retry_policy.maximum_attempts == 1

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.admission import Intent
from domain.mirroring import Cancellation, MirrorOrderInput
from domain.orders import ManagerState, Side
from temporal import ids, queues
from temporal.orders import MirrorOrders
from tests.workflows.crossing import EndChildFirst
from tests.workflows.fakes import FakeMirroring, page_of
from tests.workflows.test_mirror_shard import activities, deciders
from workflows import ALL
from workflows.mirror_order import MirrorResult

INTENT = Intent("V_1", "AAPL", Side.BUY, Decimal(10))


def fresh() -> MirrorOrderInput:
    return MirrorOrderInput("t", f"M-{uuid.uuid4().hex}", INTENT, {}, "f", "api", "user:test")


@asynccontextmanager
async def serving(env: WorkflowEnvironment, fake: FakeMirroring) -> AsyncIterator[MirrorOrders]:
    async with activities(env, fake), deciders(env):
        yield MirrorOrders(env.client, admit_timeout_s=20)


def handle_of(env: WorkflowEnvironment, order: MirrorOrderInput) -> WorkflowHandle[Any, MirrorResult]:
    return env.client.get_workflow_handle(ids.mirror(order.mo_id), result_type=MirrorResult)


async def result_of(env: WorkflowEnvironment, order: MirrorOrderInput) -> MirrorResult:
    async with asyncio.timeout(20):
        return await handle_of(env, order).result()


async def _hanging(fake: FakeMirroring, fo_id: str) -> None:
    async with asyncio.timeout(20):
        await fake.delivering[fo_id].wait()


async def test_an_order_is_admitted_mirrored_settled_and_archived(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring(page_of(2), shards=2)
    # Two pages with the same two followers: the second page's owners exist already, and it goes on without them.
    async with serving(local, fake) as orders:
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
    async with serving(local, fake) as orders:
        assert await orders.admit(order) == fake.admission
        assert await result_of(local, order) == MirrorResult(ManagerState.REJECTED)
    assert fake.calls == ["admit"]


async def test_an_order_that_cannot_be_recorded_fails_and_its_caller_hears_why(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring([])
    fake.refusal = ApplicationError("no vault 'V_1'", type="not-found", non_retryable=True)
    async with serving(local, fake) as orders:
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
    async with serving(local, fake) as orders:
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
    async with serving(local, fake) as orders:
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
    worker = Worker(local.client, task_queue=queues.ORCHESTRATION, workflows=ALL, interceptors=[crossing])
    async with activities(local, fake), worker:
        orders = MirrorOrders(local.client, admit_timeout_s=20)
        await orders.admit(order)
        await _hanging(fake, "FO-0")
        assert await orders.cancel(order.mo_id, actor="user:test") == Cancellation(order.mo_id, 1, 0)
    assert crossing.ended


async def test_an_order_that_was_refused_cannot_be_cancelled(local: WorkflowEnvironment):
    order, fake = fresh(), FakeMirroring([])
    fake.admission = replace(fake.admission, accepted=False, state=ManagerState.REJECTED)
    async with serving(local, fake) as orders:
        await orders.admit(order)
        await result_of(local, order)
        assert await orders.cancel(order.mo_id, actor="user:test") is None
    assert not [call for call in fake.calls if call.startswith("cancel")]

"""An order's time is over: what is still open of it is called off, once, at that time and not before."""

import asyncio
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from domain.mirroring import MirrorOrderInput
from domain.orders import FollowerState
from temporal import ids, queues
from tests.workflows.fakes import FakeMirroring, page_of
from tests.workflows.test_mirror_order import INTENT, fresh, handle_of, ordering, result_of
from tests.workflows.test_mirror_shard import serving
from workflows.mirror_order import MirrorOrderWorkflow, MirrorResult

EXPIRE = "cancel by system:expiry"


async def start(
    env: WorkflowEnvironment, fake: FakeMirroring, expires_at: datetime | None
) -> WorkflowHandle[Any, MirrorResult]:
    fake.admission = replace(fake.admission, expires_at=expires_at)
    order = MirrorOrderInput("t", f"M-{uuid.uuid4().hex}", INTENT, {}, "f", "api", "user:test")
    return await env.client.start_workflow(
        MirrorOrderWorkflow.run, order, id=ids.mirror(order.mo_id), task_queue=queues.ORCHESTRATION
    )


async def test_what_is_still_open_is_called_off_when_the_orders_time_is_over(skipping: WorkflowEnvironment) -> None:
    fake = FakeMirroring(page_of(2))
    fake.delivering = {"FO-1": asyncio.Event()}  # again in an hour, until somebody calls it off
    expires_at = await skipping.get_current_time() + timedelta(minutes=30)
    async with serving(skipping, fake):
        handle = await start(skipping, fake, expires_at)
        await handle.result()
        ended = (await handle.describe()).close_time
    assert fake.calls.count(EXPIRE) == 1
    assert fake.calls.count("deliver FO-1") == 2
    assert fake.calls[-2:] == ["settle", "archive"]
    assert ended is not None
    assert expires_at <= ended < expires_at + timedelta(minutes=1)


async def test_an_order_that_is_over_in_time_is_not_called_off_and_waits_for_nothing(
    skipping: WorkflowEnvironment,
) -> None:
    fake = FakeMirroring(page_of(2))
    expires_at = await skipping.get_current_time() + timedelta(days=3)
    async with serving(skipping, fake):
        handle = await start(skipping, fake, expires_at)
        await handle.result()
        ended = (await handle.describe()).close_time
    assert ended is not None
    assert ended < expires_at - timedelta(days=2)
    assert EXPIRE not in fake.calls


async def test_without_an_expiry_an_open_order_waits_for_its_followers(skipping: WorkflowEnvironment) -> None:
    fake = FakeMirroring(page_of(1))
    fake.delivering = {"FO-0": asyncio.Event()}
    async with serving(skipping, fake):
        handle = await start(skipping, fake, None)
        async with asyncio.timeout(60):
            while fake.calls.count("deliver FO-0") < 5:
                await skipping.sleep(timedelta(hours=1))
        assert EXPIRE not in fake.calls
        await handle.terminate()


async def test_an_order_can_expire_while_its_waves_are_under_way(local: WorkflowEnvironment) -> None:
    order, fake = fresh(), FakeMirroring(page_of(1, FollowerState.CONFIRMED))
    fake.wave_ends = asyncio.Event()
    fake.admission = replace(fake.admission, expires_at=await local.get_current_time())
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        async with asyncio.timeout(60):
            while EXPIRE not in fake.calls:
                await asyncio.sleep(0.02)
        fake.wave_ends.set()
        await result_of(local, order)
    assert fake.calls[-2:] == ["settle", "archive"]


async def test_an_order_that_has_expired_cannot_be_cancelled(local: WorkflowEnvironment) -> None:
    order, fake = fresh(), FakeMirroring(page_of(1, FollowerState.CONFIRMED))
    fake.wave_ends = asyncio.Event()
    fake.admission = replace(fake.admission, expires_at=await local.get_current_time())
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        async with asyncio.timeout(60):
            while "**expired**" not in await _details(local, order):
                await asyncio.sleep(0.05)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await orders.cancel(order.mo_id, actor="user:test")
        fake.wave_ends.set()
        await result_of(local, order)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "already-expired"


async def _details(env: WorkflowEnvironment, order: MirrorOrderInput) -> str:
    """What the console shows of the order now."""
    details: str = await handle_of(env, order).query("__temporal_workflow_metadata")
    return str(details)

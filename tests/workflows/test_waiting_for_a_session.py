"""An order that waits for its session: released when it opens and not before, cancelled and expired while it waits."""

import asyncio
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from domain.mirroring import Admission, MirrorOrderInput
from domain.orders import FollowerState, ManagerState
from temporal import ids, queues
from tests.workflows.fakes import FakeMirroring, page_of
from tests.workflows.test_mirror_order import INTENT, fresh, ordering, result_of
from tests.workflows.test_mirror_shard import serving
from workflows.mirror_order import MirrorOrderWorkflow, MirrorResult

HOUR = timedelta(hours=1)


def waits(fake: FakeMirroring, until: datetime, **more: Any) -> Admission:
    """The order is to wait; released, it begins as the fake's admission would have it."""
    begun = fake.admission
    fake.released.append(begun)
    fake.admission = replace(
        begun, state=ManagerState.RECEIVED, shards=0, followers=0, routes=(), waits_until=until, **more
    )
    return begun


async def start(env: WorkflowEnvironment) -> WorkflowHandle[Any, MirrorResult]:
    order = MirrorOrderInput("t", f"M-{uuid.uuid4().hex}", INTENT, {}, "f", "api", "user:test")
    return await env.client.start_workflow(
        MirrorOrderWorkflow.run, order, id=ids.mirror(order.mo_id), task_queue=queues.ORCHESTRATION
    )


async def ended_at(handle: WorkflowHandle[Any, MirrorResult]) -> datetime:
    closed = (await handle.describe()).close_time
    assert closed is not None
    return closed


async def test_it_begins_when_its_session_does(skipping: WorkflowEnvironment) -> None:
    fake = FakeMirroring(page_of(2, FollowerState.CONFIRMED))
    opens = await skipping.get_current_time() + 14 * HOUR
    waits(fake, opens)
    async with serving(skipping, fake):
        handle = await start(skipping)
        assert (await handle.result()).state is ManagerState.SETTLED
    assert fake.calls[:3] == ["admit", "release", "wave webhook"]
    assert fake.calls[-2:] == ["settle", "archive"]
    assert opens <= await ended_at(handle) < opens + HOUR


async def test_a_session_that_has_moved_is_waited_for_again(skipping: WorkflowEnvironment) -> None:
    fake = FakeMirroring(page_of(1, FollowerState.CONFIRMED))
    opens = await skipping.get_current_time() + HOUR
    waits(fake, opens)
    fake.released.insert(0, replace(fake.admission, waits_until=opens + 24 * HOUR))
    async with serving(skipping, fake):
        handle = await start(skipping)
        await handle.result()
    assert fake.calls.count("release") == 2
    assert await ended_at(handle) >= opens + 24 * HOUR


async def test_what_is_refused_at_the_opening_ends_there(skipping: WorkflowEnvironment) -> None:
    fake = FakeMirroring(page_of(1))
    now = await skipping.get_current_time()
    waits(fake, now + HOUR, expires_at=now + 48 * HOUR)
    fake.released = [replace(fake.admission, accepted=False, state=ManagerState.REJECTED, waits_until=None)]
    async with serving(skipping, fake):
        handle = await start(skipping)
        assert await handle.result() == MirrorResult(ManagerState.REJECTED)
    assert fake.calls == ["admit", "release"]
    assert await ended_at(handle) < now + 2 * HOUR


async def test_its_time_can_be_over_before_its_session_begins(skipping: WorkflowEnvironment) -> None:
    """Where the session has moved beyond it: an open is never sent late."""
    fake = FakeMirroring(page_of(1))
    now = await skipping.get_current_time()
    waits(fake, now + 24 * HOUR, expires_at=now + HOUR)
    fake.released = [replace(fake.admission, state=ManagerState.EXPIRED, waits_until=None)]
    async with serving(skipping, fake):
        handle = await start(skipping)
        assert (await handle.result()).state is ManagerState.EXPIRED
    assert fake.calls == ["admit", "cancel by system:expiry", "release"]
    assert await ended_at(handle) < now + 2 * HOUR


async def test_it_can_be_cancelled_while_it_waits(local: WorkflowEnvironment) -> None:
    order, fake = fresh(), FakeMirroring(page_of(1))
    waits(fake, await local.get_current_time() + 24 * HOUR)
    fake.released = [replace(fake.admission, state=ManagerState.CANCELLED, waits_until=None)]
    async with ordering(local, fake) as orders:
        verdict = await orders.admit(order)
        assert verdict is not None
        assert (verdict.accepted, verdict.state) == (True, ManagerState.RECEIVED)
        done = await orders.cancel(order.mo_id, actor="user:test")
        assert done is not None
        assert done.state is ManagerState.CANCELLED
        assert (await result_of(local, order)).state is ManagerState.CANCELLED
    assert fake.calls == ["admit", "cancel by user:test", "release"]


async def test_a_cancel_at_the_very_opening_waits_for_the_release_and_reaches_its_pages(
    local: WorkflowEnvironment,
) -> None:
    order, fake = fresh(), FakeMirroring(page_of(1))
    fake.delivering = {"FO-0": asyncio.Event()}
    waits(fake, await local.get_current_time())
    fake.release_holds = asyncio.Event()
    async with ordering(local, fake) as orders:
        await orders.admit(order)
        async with asyncio.timeout(60):
            while "release" not in fake.calls:
                await asyncio.sleep(0.02)
        cancelling = asyncio.create_task(orders.cancel(order.mo_id, actor="user:test"))
        async with asyncio.timeout(60):
            while not await _asked_to_cancel(local, order):
                await asyncio.sleep(0.05)
        fake.release_holds.set()
        assert await cancelling is not None
        await result_of(local, order)
    assert fake.calls.index("cancel by user:test") > fake.calls.index("release")
    assert fake.calls[-2:] == ["settle", "archive"]


async def _asked_to_cancel(env: WorkflowEnvironment, order: MirrorOrderInput) -> bool:
    history = await env.client.get_workflow_handle(ids.mirror(order.mo_id)).fetch_history()
    asked = [e.workflow_execution_update_accepted_event_attributes.accepted_request.input.name for e in history.events]
    return "cancel" in asked

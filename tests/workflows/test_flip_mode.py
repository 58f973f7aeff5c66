import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from api.overlaying import as_refused
from domain.errors import NotEntitled, NotFound
from domain.flip_mode import Extension, FlipModeInput, StartOverlay
from domain.overlays import EndReason, NewOverlay, Overlay, OverlayKind, Params
from domain.requests import Once
from temporal import ids, queues, search_attributes
from temporal.overlays import FlipModes
from temporal.plugin import VantaPlugin
from tests.workflows.conftest import BIN
from tests.workflows.overlay_fakes import FakeOverlays
from workflows.flip_mode import FlipModeWorkflow

FLIPS = 1_000
MINUTE = timedelta(minutes=1)
SHORT = timedelta(seconds=2)
_A_TASK = timedelta(seconds=10)
FLIP = NewOverlay(OverlayKind.FLIP, "V_1", ttl=30 * MINUTE, params=Params(persona="ares", amplify=Decimal("0.35")))
FLIP_ID = OverlayKind.FLIP


async def now() -> datetime:
    return datetime.now(UTC)


def fresh(new: NewOverlay = FLIP) -> StartOverlay:
    overlay_id = f"OV-{uuid.uuid4().hex}"
    return StartOverlay("t", overlay_id, new, Once("start_overlay", overlay_id, "f"), "user:ann")


@asynccontextmanager
async def serving(env: WorkflowEnvironment, fake: FakeOverlays) -> AsyncIterator[FlipModes]:
    worker = Worker(
        env.client, task_queue=queues.ORCHESTRATION, workflows=[FlipModeWorkflow], activities=fake.all(),
        max_concurrent_workflow_tasks=20, max_concurrent_activities=20, max_concurrent_local_activities=20,
    )  # fmt: skip
    async with worker:
        yield FlipModes(env.client, timeout_s=20)


def handle_of(env: WorkflowEnvironment, start: StartOverlay) -> WorkflowHandle[Any, Overlay]:
    return env.client.get_workflow_handle(ids.overlay(start.new.kind, start.overlay_id), result_type=Overlay)


async def result_of(env: WorkflowEnvironment, start: StartOverlay) -> Overlay:
    async with asyncio.timeout(60):
        return await handle_of(env, start).result()


async def start_alone(env: WorkflowEnvironment, start: StartOverlay, row: Overlay | None = None) -> None:
    """Without waiting for its answer, as the time-skipping server knows no updates."""
    await env.client.start_workflow(
        FlipModeWorkflow.run, FlipModeInput(start, row), id=ids.overlay("flip", start.overlay_id),
        task_queue=queues.ORCHESTRATION,
    )  # fmt: skip


async def about_to_expire(env: WorkflowEnvironment, fake: FakeOverlays, left: timedelta = SHORT) -> StartOverlay:
    """A flip whose run goes on from one before it, with so little time left that a test can wait for its end."""
    start = fresh()
    until = await now() + left
    row = Overlay(start.overlay_id, FLIP_ID, "V_1", None, FLIP.params, until - 30 * MINUTE, expires_at=until)
    fake.rows[start.overlay_id] = row
    await start_alone(env, start, row)
    return start


def refused(error: WorkflowUpdateFailedError) -> tuple[str | None, str]:
    assert isinstance(error.cause, ApplicationError)
    return error.cause.type, error.cause.message


async def test_a_thousand_flips_revert_at_their_time_exactly(skipping: WorkflowEnvironment):
    fake = FakeOverlays(skipping.get_current_time)
    starts = [fresh(replace(FLIP, ttl=(30 + number % 31) * MINUTE)) for number in range(FLIPS)]
    async with serving(skipping, fake):
        for first in range(0, FLIPS, 50):
            some = starts[first : first + 50]
            await asyncio.gather(*(start_alone(skipping, start) for start in some))
            async with asyncio.timeout(60):
                while len(fake.rows) < first + len(some):  # time stands still meanwhile
                    await asyncio.sleep(0.02)
        for _ in range(61):  # one call for all of it would have to end within the client's time-out
            await skipping.sleep(MINUTE)
        async with asyncio.timeout(60):
            while fake.names().count("end") < FLIPS:
                await asyncio.sleep(0.02)
    asked = {overlay_id: at for name, overlay_id, at in fake.calls if name == "end"}
    for start in starts:
        row, ttl = fake.rows[start.overlay_id], start.new.ttl
        assert ttl is not None
        assert row.end_reason is EndReason.EXPIRED
        assert row.ended_at == row.expires_at == row.starts_at + ttl
        # Never early; late by as long as the machine takes for a task.
        assert timedelta() <= asked[start.overlay_id] - row.starts_at - ttl < _A_TASK
    assert len(fake.calls) == 2 * FLIPS


async def test_a_flip_is_started_once_and_says_what_it_is(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh(replace(FLIP, follower_id="F_1"))
    async with serving(local, fake) as flips:
        begun = await flips.start(start)
        again = await flips.start(start)
        assert begun is not None
        assert begun == again
        assert begun.overlay == fake.rows[start.overlay_id]
        assert begun.fingerprint == "f"
        handle = handle_of(local, start)
        assert await handle.query(FlipModeWorkflow.state) == begun.overlay
        described = await handle.describe()
        assert await described.static_summary() == "flip persona ares amplify 0.35 on F_1 for 30 min"
        shown = described.typed_search_attributes
        keys = (search_attributes.TENANT, search_attributes.VAULT, search_attributes.FOLLOWER, search_attributes.STATE)
        assert [shown.get(key) for key in keys] == ["t", "V_1", "F_1", "active"]
    assert fake.names() == ["start"]


async def test_what_cannot_be_started_fails_with_its_reason_and_may_be_asked_for_again(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    fake.refusal = NotFound("vault", "V_1")
    async with serving(local, fake) as flips:
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await flips.start(start)
        assert refused(heard.value) == ("not-found", "no vault 'V_1'")
        with pytest.raises(WorkflowFailureError):
            await result_of(local, start)
        fake.refusal = None
        assert await flips.start(start) is not None


async def test_a_plan_that_runs_out_on_the_way_is_told_with_those_that_would_allow_it(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    fake.refusal = NotEntitled("flip_mode", "is not there", ["pro", "institutional"])
    async with serving(local, fake) as flips:
        with pytest.raises(WorkflowUpdateFailedError) as heard:
            await flips.start(start)
    told = as_refused(heard.value)
    assert isinstance(told, NotEntitled)
    assert (told.entitlement, told.reason, told.plans) == ("flip_mode", "is not there", ["pro", "institutional"])


async def test_an_extension_is_never_longer_than_the_longest_time(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    async with serving(local, fake) as flips:
        await flips.start(start)
        for ttl, length in ((45, 45), (45, 45), (60, 60)):
            overlay = await flips.extend(start.overlay_id, FLIP_ID, Extension(ttl * MINUTE, "user:ann"))
            assert overlay is not None
            assert overlay.expires_at == overlay.starts_at + length * MINUTE
        for ttl in (61, 59, 0):
            with pytest.raises(WorkflowUpdateFailedError) as heard:
                await flips.extend(start.overlay_id, FLIP_ID, Extension(ttl * MINUTE, "user:ann"))
            kind, reason = refused(heard.value)
            assert kind == "invalid-input"
            assert reason.startswith("ttl_minutes: ")
        assert fake.names() == ["start", "extend", "extend", "extend"]  # the validator let none of the others in
        assert await handle_of(local, start).query(FlipModeWorkflow.state) == overlay


async def test_a_cancel_ends_it_at_once(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    async with serving(local, fake) as flips:
        await flips.start(start)
        overlay = await flips.cancel(start.overlay_id, FLIP_ID, "user:bob")
        assert overlay is not None
        assert overlay.end_reason is EndReason.CANCELLED
        assert await result_of(local, start) == overlay
        # Its workflow is over: whoever asks now looks at the row.
        assert await flips.cancel(start.overlay_id, FLIP_ID, "user:bob") is None
        assert await flips.extend(start.overlay_id, FLIP_ID, Extension(60 * MINUTE, "user:bob")) is None
        assert await flips.start(start) is None
    assert fake.names() == ["start", "end"]


async def test_cancels_and_extensions_at_once_come_to_one_end(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    async with serving(local, fake) as flips:
        await flips.start(start)
        answers = await asyncio.gather(
            *(flips.extend(start.overlay_id, FLIP_ID, Extension((40 + n) * MINUTE, "user:ann")) for n in range(4)),
            *(flips.cancel(start.overlay_id, FLIP_ID, "user:bob") for _ in range(3)),
            return_exceptions=True,
        )
        ended = await result_of(local, start)
    assert ended.end_reason is EndReason.CANCELLED
    assert fake.names().count("end") == 1
    for answer in answers[:4]:
        assert answer is None or isinstance(answer, Overlay | WorkflowUpdateFailedError)
    assert {answer for answer in answers[4:] if answer is not None} == {ended}


async def test_a_cancel_from_the_console_reverts_it(local: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    async with serving(local, fake) as flips:
        await flips.start(start)
        await handle_of(local, start).cancel()
        with pytest.raises(WorkflowFailureError):
            await result_of(local, start)
        assert (await handle_of(local, start).describe()).status is WorkflowExecutionStatus.CANCELED
    assert fake.rows[start.overlay_id].end_reason is EndReason.CANCELLED


async def test_its_end_is_a_time_of_day_whatever_happened_to_its_worker(local: WorkflowEnvironment):
    fake = FakeOverlays(now)
    async with serving(local, fake):
        start = await about_to_expire(local, fake)
        over = await about_to_expire(local, fake, left=timedelta(seconds=0.5))
        assert await handle_of(local, start).query(FlipModeWorkflow.state) is not None
    row = fake.rows[over.overlay_id]
    assert row.expires_at is not None
    while await now() < row.expires_at:  # nobody is there when its time comes
        await asyncio.sleep(0.05)
    async with serving(local, fake):
        for one in (over, start):
            ended = await result_of(local, one)
            assert ended.end_reason is EndReason.EXPIRED
            assert ended.expires_at == fake.rows[one.overlay_id].expires_at
    assert ended.ended_at == ended.expires_at


async def test_a_row_with_more_time_than_it_knew_is_left_until_that_has_come(local: WorkflowEnvironment):
    fake = FakeOverlays(now)
    async with serving(local, fake):
        start = await about_to_expire(local, fake, left=timedelta(seconds=0.5))
        row = fake.rows[start.overlay_id]
        assert row.expires_at is not None
        fake.rows[start.overlay_id] = replace(row, expires_at=row.expires_at + SHORT)
        ended = await result_of(local, start)
    assert ended.ended_at == ended.expires_at == row.expires_at + SHORT
    assert fake.names() == ["end", "end"]


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[WorkflowEnvironment]:
    """A server that asks for a new run after a few events."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BIN / "temporal"), plugins=[VantaPlugin()],
        search_attributes=search_attributes.ALL, dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=25"],
    ) as env:  # fmt: skip
        yield env


async def test_a_long_history_goes_on_in_a_new_run_with_the_same_end(forgetful: WorkflowEnvironment):
    fake, start = FakeOverlays(now), fresh()
    async with serving(forgetful, fake) as flips:
        await flips.start(start)
        first = await handle_of(forgetful, start).describe()
        for ttl in range(31, 61):
            overlay = await flips.extend(start.overlay_id, FLIP_ID, Extension(ttl * MINUTE, "user:ann"))
        assert overlay is not None
        assert overlay.expires_at == overlay.starts_at + 60 * MINUTE
        described = await handle_of(forgetful, start).describe()
        assert described.run_id != first.run_id
        assert described.typed_search_attributes == first.typed_search_attributes
        assert await handle_of(forgetful, start).query(FlipModeWorkflow.state) == overlay
        assert await flips.start(start) is not None  # a repeat of the first request meets the run of today
        with pytest.raises(WorkflowUpdateFailedError):
            await flips.extend(start.overlay_id, FLIP_ID, Extension(61 * MINUTE, "user:ann"))
        cancelled = await flips.cancel(start.overlay_id, FLIP_ID, "user:bob")
        assert cancelled == await result_of(forgetful, start)
    assert fake.names() == ["start", *["extend"] * 30, "end"]

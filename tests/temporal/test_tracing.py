"""A request's trace goes where its work goes: into the workflow, its activities, its children and their logs."""

import io
import json
import logging
import uuid
from collections.abc import Iterator

import pytest
from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from adapters import logs
from domain.tracing import CURRENT, Trace, accept, restored
from settings import Settings
from temporal.client import connect
from tests.temporal.traced import Above, Below, look

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, out = root.handlers, root.level, io.StringIO()
    logs.configure("INFO", out)
    yield out
    root.handlers = handlers
    root.setLevel(level)


async def test_a_trace_reaches_everything_that_the_request_sets_off(settings: Settings, logged: io.StringIO) -> None:
    client, queue = await connect(settings.temporal), f"tracing-{uuid.uuid4().hex}"
    start = WithStartWorkflowOperation(
        Above.run, id=queue, task_queue=queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    async with Worker(client, task_queue=queue, workflows=[Above, Below], activities=[look]):
        token = CURRENT.set(Trace("req-1", PARENT))
        try:
            first = await client.execute_update_with_start_workflow(Above.ask, start_workflow_operation=start)
        finally:
            CURRENT.reset(token)
        handle = await start.workflow_handle()
        found = await handle.result()
        untold = await client.execute_workflow(Below.run, id=f"{queue}-untold", task_queue=queue)
    assert {first, *found} == {"req-1 0af7651916cd43dd8448eb211c80319c"}
    assert untold == "none"
    memo = (await handle.describe()).memo
    assert await memo() == {"request_id": "req-1", "traceparent": PARENT}
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    told = [line["logger"] for line in lines if line.get("request_id") == "req-1"]
    assert told.count("vanta.test") == 3
    assert any(name.startswith("temporalio.workflow") for name in told)


@pytest.mark.parametrize(
    "given",
    [
        "", "nonsense", PARENT.upper(), f"{PARENT}-more", f"ff{PARENT[2:]}", f"01{PARENT[2:]}-{'x' * 600}",
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), PARENT.replace("b7ad6b7169203331", "0" * 16),
    ],
)  # fmt: skip
def test_a_traceparent_that_is_none_is_replaced(given: str) -> None:
    made = accept("", given, lambda n: "ab" * n)
    assert made == Trace("ab" * 16, f"00-{'ab' * 16}-{'ab' * 8}-00")


def test_a_traceparent_is_gone_on_with_in_a_step_of_our_own() -> None:
    for given in (PARENT, f"cc{PARENT[2:]}-of.a.later.version"):
        made = accept("abc-1", given, lambda n: "ab" * n)
        assert made == Trace("abc-1", f"00-{PARENT[3:35]}-{'ab' * 8}-01")
        assert restored(made.request_id, made.traceparent) == made
    assert restored("a b", PARENT) is restored("a", "x") is restored(None, PARENT) is None

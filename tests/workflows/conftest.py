import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from temporal import search_attributes
from temporal.plugin import VantaPlugin

BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BIN / "temporal"),
        plugins=[VantaPlugin()],
        search_attributes=search_attributes.ALL,
        dev_server_log_level="error",
    ) as env:
        yield env


@pytest.fixture
async def local(server: WorkflowEnvironment) -> AsyncIterator[WorkflowEnvironment]:
    """A real server for what the time-skipping one lacks: updates, and signals to what has ended.

    All tests share it and its queues, so what a test leaves behind is ended: its steps would be the next one's.
    """
    yield server
    async for left in server.client.list_workflows("ExecutionStatus = 'Running'"):
        with suppress(RPCError):  # it has ended meanwhile
            await server.client.get_workflow_handle(left.id).terminate("its test is over")


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server of this test's own that jumps over waits: all that share one would jump together."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(BIN / "temporal-test-server"), plugins=[VantaPlugin()]
    ) as env:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        names = [key.name for key in search_attributes.ALL]
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=env.client.namespace, search_attributes=dict.fromkeys(names, keyword))
        )
        yield env

"""What a request has set off, by its trace: from the API's context into workflows, and on into all that they start.

It travels in Temporal's headers, which are no part of what replay compares, so that histories from before it, and with
it, replay alike. The memo of a workflow that the API starts shows it to operators in the console.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import temporalio.client as client
import temporalio.worker as worker
from temporalio.api.common.v1 import Payload
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from domain.tracing import CURRENT, Trace, restored

HEADER = "vanta-trace"
_Headers = Mapping[str, Payload]


class TraceInterceptor(client.Interceptor, worker.Interceptor):
    """One for clients and workers alike."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        return _Client(next)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        return _Activity(next)

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[worker.WorkflowInboundInterceptor]:
        return _Workflow


def with_trace(headers: _Headers) -> _Headers:
    trace = CURRENT.get()
    if trace is None:
        return headers
    data = json.dumps({"request_id": trace.request_id, "traceparent": trace.traceparent}).encode()
    return {**headers, HEADER: Payload(metadata={"encoding": b"json/plain"}, data=data)}


def trace_of(headers: _Headers) -> Trace | None:
    """None where there is none, or none that we have written."""
    payload = headers.get(HEADER)
    if payload is None:
        return None
    try:
        found = json.loads(payload.data)
        return restored(found["request_id"], found["traceparent"])
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _within(headers: _Headers) -> Iterator[None]:
    trace = trace_of(headers)
    if trace is None:
        yield
        return
    token = CURRENT.set(trace)
    try:
        yield
    finally:
        CURRENT.reset(token)


def _memo(memo: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    trace = CURRENT.get()
    if trace is None:
        return memo
    return {**(memo or {}), "request_id": trace.request_id, "traceparent": trace.traceparent}


class _Client(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers, input.memo = with_trace(input.headers), _memo(input.memo)
        return await super().start_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: client.StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> client.WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        start.headers, start.memo = with_trace(start.headers), _memo(start.memo)
        update.headers = with_trace(update.headers)
        return await super().start_update_with_start_workflow(input)

    async def start_workflow_update(self, input: client.StartWorkflowUpdateInput) -> client.WorkflowUpdateHandle[Any]:  # noqa: A002
        input.headers = with_trace(input.headers)
        return await super().start_workflow_update(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:  # noqa: A002
        input.headers = with_trace(input.headers)
        await super().signal_workflow(input)


class _Activity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002
        with _within(input.headers):
            return await super().execute_activity(input)


class _Workflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_FromWorkflow(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:  # noqa: A002
        with _within(input.headers):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:  # noqa: A002
        with _within(input.headers):
            await super().handle_signal(input)

    async def handle_update_handler(self, input: worker.HandleUpdateInput) -> Any:  # noqa: A002
        with _within(input.headers):
            return await super().handle_update_handler(input)


class _FromWorkflow(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        input.headers = with_trace(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        input.headers = with_trace(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: worker.StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = with_trace(input.headers)
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: worker.SignalChildWorkflowInput) -> None:  # noqa: A002
        input.headers = with_trace(input.headers)
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: worker.SignalExternalWorkflowInput) -> None:  # noqa: A002
        input.headers = with_trace(input.headers)
        await super().signal_external_workflow(input)

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:  # noqa: A002
        input.headers = with_trace(input.headers)
        super().continue_as_new(input)

"""A child that ends between its parent's decision to signal it and the server's hearing of that."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import (
    Interceptor,
    SignalChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)


class EndChildFirst(Interceptor):
    """Terminates the child `workflow_id` while the workflow task that signals it is under way."""

    def __init__(self, env: WorkflowEnvironment, workflow_id: str) -> None:
        self.ended = False
        self._env, self._id = env, workflow_id
        self._loop = asyncio.get_running_loop()

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        crossing = self

        class Outbound(WorkflowOutboundInterceptor):
            async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:  # noqa: A002  the SDK's name
                if input.child_workflow_id == crossing._id and not crossing.ended:
                    with workflow.unsafe.sandbox_unrestricted():
                        crossing.end()
                await super().signal_child_workflow(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound

    def end(self) -> None:
        """Called on the workflow's thread, which waits; the test's loop does the work."""
        handle: Any = self._env.client.get_workflow_handle(self._id)
        asyncio.run_coroutine_threadsafe(handle.terminate("crossed"), self._loop).result(2)
        self.ended = True

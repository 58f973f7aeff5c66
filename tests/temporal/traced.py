"""Workflows that do nothing but look at the trace they run under; apart, as the sandbox imports this file."""

import logging
from datetime import timedelta

from temporalio import activity, workflow

from domain.tracing import CURRENT

_SECONDS = timedelta(seconds=30)


@activity.defn
async def look() -> str:
    trace = CURRENT.get()
    logging.getLogger("vanta.test").info("activity")
    return "none" if trace is None else f"{trace.request_id} {trace.trace_id}"


@workflow.defn
class Below:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(look, start_to_close_timeout=_SECONDS)


@workflow.defn
class Above:
    def __init__(self) -> None:
        self._asked = False

    @workflow.run
    async def run(self) -> list[str]:
        workflow.logger.info("workflow")
        await workflow.wait_condition(lambda: self._asked)
        child = await workflow.execute_child_workflow(Below.run, id=f"{workflow.info().workflow_id}/below")
        local = await workflow.execute_local_activity(look, start_to_close_timeout=_SECONDS)
        return [child, local]

    @workflow.update
    async def ask(self) -> str:
        self._asked = True
        return await workflow.execute_activity(look, start_to_close_timeout=_SECONDS)

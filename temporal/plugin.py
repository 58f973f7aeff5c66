"""What API, workers, tests and replay must share: the data converter, the sandbox's passthroughs, and traces."""

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from temporal.tracing import TraceInterceptor

# Pure modules and value types: passing them through is safe and spares every workflow task their re-import. Nothing
# here reads a clock, a file or a socket at import or in what workflows call.
PASSTHROUGH = ("activities", "domain", "pydantic", "pydantic_core", "annotated_types", "typing_inspection")


def _runner(_existing: WorkflowRunner | None) -> WorkflowRunner:
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSTHROUGH))


class VantaPlugin(SimplePlugin):
    """One plugin for client, worker and replayer, so that none can disagree with another."""

    def __init__(self) -> None:
        super().__init__(
            "vanta",
            data_converter=pydantic_data_converter,
            workflow_runner=_runner,
            interceptors=[TraceInterceptor()],
        )

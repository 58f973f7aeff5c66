"""How the API and the queue hand an order to its workflow: update-with-start, so that there is no second write."""

from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.mirroring import Admission, Cancellation, MirrorOrderInput
from domain.sizing import plain
from temporal import ids, queues
from temporal import search_attributes as sa

MIRROR_WORKFLOW = "MirrorOrderWorkflow"
_KNOCK = timedelta(seconds=2)
MAYBE_DONE = frozenset(
    {
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNAVAILABLE,
    }
)


class EngineUnavailable(Exception):
    """Temporal did not answer. `taken` is false only where the order is certainly not there."""

    def __init__(self, message: str, *, taken: bool) -> None:
        super().__init__(message)
        self.taken = taken


class MirrorOrders:
    """Starts and steers `mirror/{mo_id}`."""

    def __init__(self, client: Client, *, admit_timeout_s: int) -> None:
        self._client = client
        self._timeout = timedelta(seconds=admit_timeout_s)

    async def admit(self, order: MirrorOrderInput) -> Admission | None:
        """Start the order's workflow, or meet the one that has its id, and wait for the verdict at the door.

        None: the order's workflow has ended long ago; the database has the answer. Raises EngineUnavailable.
        """
        await knock(self._client)
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            MIRROR_WORKFLOW,
            order,
            id=ids.mirror(order.mo_id),
            task_queue=queues.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=_summary(order),
            static_details=_details(order),
            search_attributes=_attributes(order),
            priority=Priority(priority_key=1),
        )
        try:
            verdict: Admission = await self._client.execute_update_with_start_workflow(
                "admit", start_workflow_operation=start, result_type=Admission, rpc_timeout=self._timeout
            )
        except WorkflowAlreadyStartedError:
            return None
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise EngineUnavailable("the order was handed over, but nobody has admitted it yet", taken=True) from error
        except RPCError as error:
            raise EngineUnavailable("the workflow engine broke off", taken=error.status in MAYBE_DONE) from error
        return verdict

    async def cancel(self, mo_id: str, *, actor: str) -> Cancellation | None:
        """Ask the order's workflow to cancel; None where it has ended.

        Raises EngineUnavailable, and WorkflowUpdateFailedError where the order cannot be cancelled any more.
        """
        await knock(self._client)
        handle = self._client.get_workflow_handle(ids.mirror(mo_id))
        try:
            described = await handle.describe(rpc_timeout=self._timeout)
            if described.status != WorkflowExecutionStatus.RUNNING:
                return None
            answer: Cancellation = await handle.execute_update(
                "cancel", actor, result_type=Cancellation, rpc_timeout=self._timeout
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise EngineUnavailable("the cancel was handed over, but nobody has acted on it yet", taken=True) from error
        except RPCError as error:
            raise EngineUnavailable("the workflow engine does not answer", taken=False) from error
        return answer


async def knock(client: Client) -> None:
    """Raises EngineUnavailable at once when nobody is there; the SDK would first retry for many seconds.

    Only then is it certain that nothing was taken: a call that breaks off later may have arrived.
    """
    try:
        await client.service_client.check_health(timeout=_KNOCK)
    except (RPCError, RuntimeError) as error:  # RuntimeError: a lazy client's first connection failed
        raise EngineUnavailable("the workflow engine does not answer", taken=False) from error


def _summary(order: MirrorOrderInput) -> str:
    intent = order.intent
    return f"{intent.side} {plain(intent.qty)} {intent.symbol} on {intent.vault_id}"


def _details(order: MirrorOrderInput) -> str:
    """Why the manager gave the order, for the operator who opens it in the console; Markdown."""
    conviction = order.meta.get("conviction", {})
    lines = [f"- {_line(reason)}" for reason in order.meta.get("reason_vector", [])]
    words = [f"{name} {_line(conviction[name])}" for name in ("score", "band", "persona") if name in conviction]
    if words:
        lines.append(f"- conviction: {', '.join(words)}")
    head = f"by {order.actor} through {order.source}"
    return "\n".join([head, "", *lines]) if lines else head


def _line(text: object) -> str:
    return " ".join(str(text).split())[:200]


def _attributes(order: MirrorOrderInput) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(sa.TENANT, order.tenant_id),
            SearchAttributePair(sa.VAULT, order.intent.vault_id),
            SearchAttributePair(sa.SYMBOL, order.intent.symbol),
            SearchAttributePair(sa.STATE, "received"),
        ]
    )

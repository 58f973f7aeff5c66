"""How the API hands a flip or a boost to the workflow that owns its time: update-with-start, no second write."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.flip_mode import Begun, Extension, FlipModeInput, StartOverlay
from domain.overlays import Overlay, OverlayKind
from temporal import ids, queues
from temporal import search_attributes as sa
from temporal.orders import MAYBE_DONE, EngineUnavailable, knock

FLIP_MODE_WORKFLOW = "FlipModeWorkflow"
_T = TypeVar("_T")


class FlipModes:
    """Starts and steers `flip/{overlay_id}` and `boost/{overlay_id}`. Every method raises EngineUnavailable, and

    WorkflowUpdateFailedError with the code of what was refused.
    """

    def __init__(self, client: Client, *, timeout_s: int) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_s)

    async def start(self, start: StartOverlay) -> Begun | None:
        """Start it, or meet the one that has its id, and wait until its row is there. None where it has ended."""
        await knock(self._client)
        new = start.new
        begin: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            FLIP_MODE_WORKFLOW,
            FlipModeInput(start),
            id=ids.overlay(new.kind, start.overlay_id),
            task_queue=queues.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            # One that failed has changed nothing, so its request may be repeated.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            static_summary=_summary(start),
            static_details=f"by {start.actor}\n\n{new.reason}",
            search_attributes=_attributes(start),
        )
        answer = self._client.execute_update_with_start_workflow(
            "begin", start_workflow_operation=begin, result_type=Begun, rpc_timeout=self._timeout
        )
        try:
            return await _answered(answer)
        except WorkflowAlreadyStartedError:
            return None

    async def extend(self, overlay_id: str, kind: OverlayKind, extension: Extension) -> Overlay | None:
        """None where its workflow has ended."""
        return await self._update(overlay_id, kind, "extend", extension)

    async def cancel(self, overlay_id: str, kind: OverlayKind, actor: str) -> Overlay | None:
        """None where its workflow has ended."""
        return await self._update(overlay_id, kind, "cancel", actor)

    async def _update(self, overlay_id: str, kind: OverlayKind, name: str, argument: Any) -> Overlay | None:
        await knock(self._client)
        handle = self._client.get_workflow_handle(ids.overlay(kind, overlay_id))
        answer = handle.execute_update(name, argument, result_type=Overlay, rpc_timeout=self._timeout)
        try:
            return await _answered(answer)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None


async def _answered(answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise EngineUnavailable("it was handed over, but nobody has acted on it yet", taken=True) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise
        raise EngineUnavailable("the workflow engine broke off", taken=error.status in MAYBE_DONE) from error


def _summary(start: StartOverlay) -> str:
    new = start.new
    what = " ".join(f"{name} {value}" for name, value in new.params.to_json().items())
    minutes = 0 if new.ttl is None else int(new.ttl.total_seconds() // 60)
    return f"{new.kind} {what} on {new.follower_id or new.vault_id} for {minutes} min"


def _attributes(start: StartOverlay) -> TypedSearchAttributes:
    named = ((sa.TENANT, start.tenant_id), (sa.VAULT, start.new.vault_id), (sa.FOLLOWER, start.new.follower_id))
    given = [SearchAttributePair(key, value) for key, value in named if value is not None]
    return TypedSearchAttributes([*given, SearchAttributePair(sa.STATE, "starting")])

"""How the API has a dead letter's order sent again: by update-with-start, so that it hears the verdict."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from domain.mirroring import FollowerOrderInput, RedriveRequest, RedriveVerdict
from domain.orders import FollowerState
from domain.redrive import Redrivable
from domain.sizing import plain
from temporal import ids, queues
from temporal import search_attributes as sa
from temporal.orders import EngineUnavailable, knock

FOLLOWER_WORKFLOW = "FollowerOrderWorkflow"
_AGAIN = 3


class Redrives:
    """Starts `mirror/{mo_id}/{follower_id}/r{dead_letter_id}`; at most `at_once` of them wait for their verdicts."""

    def __init__(self, client: Client, *, timeout_s: int, at_once: int = 20) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_s)
        self._slots = asyncio.Semaphore(at_once)

    async def ready(self) -> None:
        """Raises EngineUnavailable at once when nobody is there, and nothing has been started."""
        await knock(self._client)

    async def redrive(self, letter: Redrivable, *, actor: str) -> RedriveVerdict:
        """The verdict of the letter's owner, started by this call or by one before it that is still under way.

        Raises EngineUnavailable, `taken` where the owner may have been started.
        """
        async with self._slots:
            for left in reversed(range(_AGAIN)):
                try:
                    return await self._start(letter, actor)
                except RPCError as error:
                    # An owner that refused ended between our meeting it and our asking: the next one is ours.
                    if error.status is not RPCStatusCode.NOT_FOUND or left == 0:
                        raise EngineUnavailable("the workflow engine broke off", taken=True) from error
            raise AssertionError("unreachable")

    async def _start(self, letter: Redrivable, actor: str) -> RedriveVerdict:
        order = letter.order
        request = RedriveRequest(letter.dead_letter_id, actor)
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            FOLLOWER_WORKFLOW,
            FollowerOrderInput(letter.tenant_id, order, letter.tif, request),
            id=ids.redrive(letter.mo_id, letter.follower_id, letter.dead_letter_id),
            task_queue=queues.FOLLOWERS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            # A redrive that was refused may be asked for again; the letter itself sees to it that it acts once.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"redrive: {order.side} {plain(order.qty)} {letter.symbol} for {letter.follower_id}",
            static_details=f"dead letter {letter.dead_letter_id}, sent again by {actor}",
            search_attributes=_attributes(letter),
            priority=Priority(priority_key=2),  # a person waits
        )
        try:
            verdict: RedriveVerdict = await self._client.execute_update_with_start_workflow(
                "redrive", start_workflow_operation=start, result_type=RedriveVerdict, rpc_timeout=self._timeout
            )
        except (WorkflowUpdateRPCTimeoutOrCancelledError, WorkflowUpdateFailedError) as error:
            raise EngineUnavailable("the redrive was handed over, but nobody has decided yet", taken=True) from error
        return verdict


def _attributes(letter: Redrivable) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(sa.TENANT, letter.tenant_id),
            SearchAttributePair(sa.VAULT, letter.vault_id),
            SearchAttributePair(sa.FOLLOWER, letter.follower_id),
            SearchAttributePair(sa.SYMBOL, letter.symbol),
            SearchAttributePair(sa.STATE, FollowerState.DEAD_LETTER.value),
        ]
    )

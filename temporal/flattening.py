"""Starting a flatten, and how it reaches the workflows that own orders."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.flattening import FlattenInput
from domain.mirroring import Admission, MirrorOrderInput
from temporal import ids, queues
from temporal import search_attributes as sa
from temporal.orders import EngineUnavailable, MirrorOrders, knock

FLATTEN_WORKFLOW = "FlattenWorkflow"


class Flattener:
    def __init__(self, client: Client, *, timeout_s: int) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_s)

    async def start(self, scopes: Sequence[FlattenInput]) -> None:
        """A repeat meets the first one. Raises EngineUnavailable; the halt is in force regardless."""
        await knock(self._client)
        for scope in scopes:
            try:
                await self._start(scope)
            except WorkflowAlreadyStartedError:
                continue
            except RPCError as error:
                raise EngineUnavailable("the workflow engine broke off", taken=True) from error

    async def _start(self, scope: FlattenInput) -> None:
        attributes = [SearchAttributePair(sa.TENANT, scope.tenant_id), SearchAttributePair(sa.STATE, "flattening")]
        if scope.vault_id is not None:
            attributes.append(SearchAttributePair(sa.VAULT, scope.vault_id))
        if scope.follower_id is not None:
            attributes.append(SearchAttributePair(sa.FOLLOWER, scope.follower_id))
        await self._client.start_workflow(
            FLATTEN_WORKFLOW,
            scope,
            id=ids.flatten(scope.halt_id, scope.tenant_id),
            task_queue=queues.ORCHESTRATION,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"flatten {scope.follower_id or scope.vault_id or 'the whole tenant'}",
            search_attributes=TypedSearchAttributes(attributes),
            rpc_timeout=self._timeout,
        )


class Owners:
    """For the steps of a flatten: an order that has ended meanwhile is no fault."""

    def __init__(self, client: Client, orders: MirrorOrders) -> None:
        self._client = client
        self._orders = orders

    async def admit(self, order: MirrorOrderInput) -> Admission | None:
        return await self._orders.admit(order)

    async def cancel(self, mo_id: str, *, actor: str) -> None:
        with suppress(WorkflowUpdateFailedError):
            await self._orders.cancel(mo_id, actor=actor)

    async def cancel_follower_order(self, mo_id: str, follower_id: str, leg: int) -> None:
        handle = self._client.get_workflow_handle(ids.follower_order(mo_id, follower_id, leg))
        try:
            await handle.signal("cancel")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

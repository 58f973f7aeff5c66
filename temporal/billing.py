"""Owners of subscriptions as the daily comparison sees to them, and the comparison itself when somebody asks for it."""

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from temporal import ids
from temporal.orders import EngineUnavailable, knock
from temporal.subscriptions import Subscriptions


class SubscriptionOwners:
    def __init__(self, client: Client, subscriptions: Subscriptions) -> None:
        self._client, self._subscriptions = client, subscriptions

    async def wake(self, tenant_id: str, subscription_id: str) -> None:
        """Raises EngineUnavailable."""
        await self._subscriptions.tell(tenant_id, subscription_id)

    async def ensure(self, tenant_id: str, subscription_id: str) -> bool:
        """Start the subscription's workflow where none runs; whether that was so. Raises EngineUnavailable."""
        try:
            described = await self._client.get_workflow_handle(ids.subscription(subscription_id)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise EngineUnavailable("the workflow engine does not answer", taken=False) from error
        else:
            if described.status is WorkflowExecutionStatus.RUNNING:
                return False
        await self._subscriptions.tell(tenant_id, subscription_id)
        return True


async def compare_now(client: Client) -> None:
    """Start it beside its schedule's times; one that is under way goes on alone. Raises EngineUnavailable."""
    await knock(client)
    try:
        await client.get_schedule_handle(ids.BILLING).trigger()
    except RPCError as error:
        raise EngineUnavailable(
            "there is no schedule of the comparison: has a worker been started?", taken=False
        ) from error

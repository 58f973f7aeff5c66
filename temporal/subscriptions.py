"""How the API and the inbox of payment events reach the workflow that owns a subscription."""

from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from domain.billing import CheckoutPage, Refund
from domain.subscriptions import (
    CancelWish,
    CheckoutWish,
    PauseWish,
    PlanWish,
    RefundWish,
    SubscriptionInput,
    SubscriptionView,
    Wish,
)
from temporal import ids, queues
from temporal import search_attributes as sa
from temporal.orders import MAYBE_DONE, EngineUnavailable, knock

SUBSCRIPTION_WORKFLOW = "SubscriptionWorkflow"
_T = TypeVar("_T")


class Subscriptions:
    """Steers `subscription/{subscription_id}`. A workflow that is not there is started, and reads what is true.

    Every method raises EngineUnavailable. Those that carry out a wish also raise WorkflowUpdateFailedError, whose cause
    is an ApplicationError: its type is the code of a Conflict, a BillingRefused or `invalid-input`, `not-found`,
    `billing-unavailable`; its message is the error's own, `field: reason` for `invalid-input`.
    """

    def __init__(self, client: Client, *, timeout_s: int) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_s)

    async def checkout(self, wish: CheckoutWish) -> CheckoutPage:
        """Where to pay. Opens the subscription where it is new."""
        return await self._update("checkout", wish, CheckoutPage)

    async def change(self, wish: PlanWish) -> SubscriptionView:
        return await self._update("change", wish, SubscriptionView)

    async def cancel(self, wish: CancelWish) -> SubscriptionView:
        return await self._update("cancel", wish, SubscriptionView)

    async def keep(self, wish: Wish) -> SubscriptionView:
        return await self._update("keep", wish, SubscriptionView)

    async def pause(self, wish: PauseWish) -> SubscriptionView:
        return await self._update("pause", wish, SubscriptionView)

    async def resume(self, wish: Wish) -> SubscriptionView:
        return await self._update("resume", wish, SubscriptionView)

    async def refund(self, wish: RefundWish) -> Refund:
        """Without its `claim_url`, which only the store tells (`SubscriptionStore.refunds`)."""
        return await self._update("refund", wish, Refund)

    async def tell(self, tenant_id: str, subscription_id: str) -> None:
        """Something has happened to it at its payment system: it reads what. Any number of times is once."""
        await knock(self._client)
        try:
            await self._client.start_workflow(
                SUBSCRIPTION_WORKFLOW,
                SubscriptionInput(tenant_id, subscription_id),
                **_where(tenant_id, subscription_id),
                start_signal="tell",
                rpc_timeout=self._timeout,
            )
        except RPCError as error:
            raise EngineUnavailable("the workflow engine broke off", taken=error.status in MAYBE_DONE) from error

    async def _update(self, name: str, wish: Wish, kind: type[_T]) -> _T:
        await knock(self._client)
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            SUBSCRIPTION_WORKFLOW,
            SubscriptionInput(wish.tenant_id, wish.subscription_id),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **_where(wish.tenant_id, wish.subscription_id),
        )
        try:
            done: _T = await self._client.execute_update_with_start_workflow(
                name, wish, start_workflow_operation=start, result_type=kind, rpc_timeout=self._timeout
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise EngineUnavailable("it was handed over, but nobody has acted on it yet", taken=True) from error
        except RPCError as error:
            raise EngineUnavailable("the workflow engine broke off", taken=error.status in MAYBE_DONE) from error
        return done


def _where(tenant_id: str, subscription_id: str) -> dict[str, Any]:
    return {
        "id": ids.subscription(subscription_id),
        "task_queue": queues.BILLING,
        # What is true is in the database: a run that has ended, however it did, hinders nobody.
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "static_summary": f"subscription {subscription_id}",
        "search_attributes": TypedSearchAttributes([SearchAttributePair(sa.TENANT, tenant_id)]),
    }

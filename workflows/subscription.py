"""One subscription, as long as it lasts: the only one who changes it, one thing after another.

Events of payment systems only wake it: what is true, it reads. Its timers are times of day in the subscription itself,
so that no restart, no outage and no new run moves them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.subscriptions import SubscriptionActivities as Steps
    from domain import subscriptions as rules
    from domain.billing import CheckoutPage, Refund, Subscription, SubscriptionState
    from domain.errors import Conflict, InvalidInput
    from domain.subscriptions import (
        CancelWish,
        CheckedOut,
        CheckoutWish,
        Look,
        PauseWish,
        PlanWish,
        Refunded,
        RefundWish,
        Step,
        StepKind,
        SubscriptionInput,
        SubscriptionView,
        Wish,
    )
    from temporal import policies
    from temporal import search_attributes as sa

_T = TypeVar("_T", SubscriptionView, CheckedOut, Refunded)
_W = TypeVar("_W", bound=Wish)
_NOT_FOUND = "not-found"
# A run ends after so many looks, before its history gets long: about half a year of a quiet subscription.
_LOOKS = 200


@workflow.defn
class SubscriptionWorkflow:
    @workflow.init
    def __init__(self, given: SubscriptionInput) -> None:
        self._given = given
        self._view = given.view
        self._told = False
        self._asked = 0  # updates that are over, whatever became of them
        self._looks = 0
        self._gone = False
        self._turn = asyncio.Lock()  # one change at a time, in the order in which they came

    @workflow.run
    async def run(self, given: SubscriptionInput) -> SubscriptionView | None:
        """Until it is over; None where there is no such subscription."""
        if self._view is None:
            # A first checkout opens it, and may be refused; anybody else means one that is there.
            await workflow.wait_condition(lambda: self._told or self._asked > 0)
            if self._ended():  # of what is over, the next wish may be waiting for its turn behind the first
                await workflow.wait_condition(workflow.all_handlers_finished)
        while not self._ended():
            if self._told or self._view is None or _due(self._view):
                await self._look()
            elif self._looks >= _LOOKS or workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self._told:
                    workflow.continue_as_new(replace(self._given, view=self._view))
            else:
                await self._wait(self._view)
            await workflow.wait_condition(workflow.all_handlers_finished)
        return self._view

    @workflow.signal
    def tell(self) -> None:
        """Something has happened at its payment system: read what is true there."""
        self._told = True

    @workflow.update
    async def checkout(self, wish: CheckoutWish) -> CheckoutPage:
        """Open it where it is new, and a page to pay at."""
        done = await self._carry_out(Steps.checkout_subscription, wish, f"checkout of {wish.plan_id}")
        return done.page

    @checkout.validator
    def _may_checkout(self, wish: CheckoutWish) -> None:
        self._check(lambda held: rules.check_checkout(held, wish))

    @workflow.update
    async def change(self, wish: PlanWish) -> SubscriptionView:
        """An upgrade now, a downgrade at the renewal."""
        return await self._carry_out(Steps.change_subscription, wish, f"change to {wish.plan_id}")

    @change.validator
    def _may_change(self, wish: PlanWish) -> None:
        self._check(lambda held: rules.check_change(held, wish))

    @workflow.update
    async def cancel(self, wish: CancelWish) -> SubscriptionView:
        when = "at the period's end" if wish.at_period_end else "at once"
        return await self._carry_out(Steps.cancel_subscription, wish, f"cancel {when}")

    @cancel.validator
    def _may_cancel(self, wish: CancelWish) -> None:
        self._check(lambda held: rules.check_cancel(held, wish, workflow.now()))

    @workflow.update
    async def keep(self, wish: Wish) -> SubscriptionView:
        """Take back an end or a downgrade that is scheduled."""
        return await self._carry_out(Steps.keep_subscription, wish, "keep")

    @keep.validator
    def _may_keep(self, wish: Wish) -> None:
        self._check(rules.check_keep)

    @workflow.update
    async def pause(self, wish: PauseWish) -> SubscriptionView:
        return await self._carry_out(Steps.pause_subscription, wish, "pause")

    @pause.validator
    def _may_pause(self, wish: PauseWish) -> None:
        self._check(lambda held: rules.check_pause(held, wish, workflow.now()))

    @workflow.update
    async def resume(self, wish: Wish) -> SubscriptionView:
        return await self._carry_out(Steps.resume_subscription, wish, "resume")

    @resume.validator
    def _may_resume(self, wish: Wish) -> None:
        self._check(rules.check_resume)

    @workflow.update
    async def refund(self, wish: RefundWish) -> Refund:
        """Give back money of an invoice, all of it or a part; what that grants stays as it is."""
        done = await self._carry_out(Steps.refund_invoice, wish, f"refund {wish.amount_minor} of {wish.invoice_id}")
        return done.refund

    @workflow.query
    def state(self) -> SubscriptionView | None:
        """As this workflow knows it; None until it was read for the first time."""
        return self._view

    @workflow.query
    def next_event(self) -> Step | None:
        """The earliest timer."""
        return None if self._view is None else self._view.next

    def _ended(self) -> bool:
        return self._gone or (self._view is not None and self._view.subscription.over and not self._told)

    def _check(self, rule: Callable[[Subscription], None]) -> None:
        """Validators spare a payment system what does not go; what may be changing just now, the activity checks."""
        if self._view is None or self._told or self._turn.locked():
            return
        try:
            rule(self._view.subscription)
        except (Conflict, InvalidInput) as error:
            raise ApplicationError(str(error), type=error.code) from error

    async def _wait(self, view: SubscriptionView) -> None:
        assert view.next is not None  # only what is over has no timer
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._told or self._view is not view,
                timeout=view.next.at - workflow.now(),
                timeout_summary=f"{view.next.kind} at {view.next.at:%Y-%m-%d %H:%M} UTC",
            )

    async def _look(self) -> None:
        async with self._turn:
            self._told = False
            self._looks += 1
            given = self._given
            due = self._view is not None and _due(self._view) and self._view.next
            try:
                view = await workflow.execute_activity_method(
                    Steps.look_at_subscription,
                    Look(given.tenant_id, given.subscription_id, workflow.now()),
                    start_to_close_timeout=policies.BILLING_TIMEOUT,
                    heartbeat_timeout=policies.BILLING_HEARTBEAT,
                    schedule_to_close_timeout=policies.BILLING_LOOK_WITHIN,
                    retry_policy=policies.STORE_RETRY,
                    summary=due.kind.value if due else "told that something has happened",
                )
            except ActivityError as error:
                await self._not_looked(error)
            else:
                self._show(view)

    async def _not_looked(self, error: ActivityError) -> None:
        """A bug or an outage of ours must not end it: what it was stays, and it looks again."""
        told = _told(error)
        if told.type == _NOT_FOUND and self._view is None:
            self._gone = True
        elif self._view is None:
            await workflow.sleep(policies.BILLING_LOOK_AGAIN, summary="it could not be read")
        else:
            again = Step(StepKind.LOOK, workflow.now() + policies.BILLING_LOOK_AGAIN)
            self._show(replace(self._view, next=again, heard=False, note=f"{told.type}: {told.message}"[:300]))

    async def _carry_out(self, step: Callable[[Steps, _W, datetime], Awaitable[_T]], wish: _W, summary: str) -> _T:
        """The answer of the activity, once it is this wish's turn. What was refused fails the update with its code."""
        try:
            async with self._turn:
                done = await workflow.execute_activity_method(
                    step,
                    args=[wish, workflow.now()],
                    start_to_close_timeout=policies.BILLING_TIMEOUT,
                    heartbeat_timeout=policies.BILLING_HEARTBEAT,
                    schedule_to_close_timeout=policies.BILLING_CHANGE_WITHIN,
                    retry_policy=policies.STORE_RETRY,
                    summary=f"{summary}, by {wish.actor}",
                )
                self._show(done if isinstance(done, SubscriptionView) else done.view)
                return done
        except ActivityError as error:
            raise _told(error) from error
        finally:
            self._asked += 1

    def _show(self, view: SubscriptionView) -> None:
        """For operators, in the Temporal UI."""
        held, was = view.subscription, self._view
        state = _state(held)
        if was is None or _state(was.subscription) != state:
            workflow.upsert_search_attributes([sa.STATE.value_set(state)])
        self._view = view
        lines = [f"**{state}** · {held.plan_id} v{held.plan_version} by {held.provider}"]
        if held.paid_through is not None:
            lines.append(f"paid through {held.paid_through:%Y-%m-%d %H:%M} UTC")
        if held.scheduled_plan_id is not None:
            lines.append(f"{held.scheduled_plan_id} from the renewal on")
        if view.next is not None:
            lines.append(f"next: {view.next.kind} at {view.next.at:%Y-%m-%d %H:%M} UTC")
        if not view.heard:
            lines.append(f"not heard of its payment system: {view.note}")
        workflow.set_current_details("\n\n".join(lines))


def _state(held: Subscription) -> str:
    return "close_only" if held.close_only and held.status is SubscriptionState.PAST_DUE else held.status.value


def _due(view: SubscriptionView) -> bool:
    return view.next is not None and view.next.at <= workflow.now()


def _told(error: ActivityError) -> ApplicationError:
    """What the caller that waits in an update hears."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type:
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    return ApplicationError(str(cause), type="billing-unavailable", non_retryable=True)

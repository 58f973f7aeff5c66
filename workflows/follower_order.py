"""One follower order, owned to its end: attempts, look-ups, fills, or the dead letter."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    from activities.delivery import BuryInput, DeliveryActivities, FollowerOrderKey, OrderStatus
    from activities.redrive import RedriveActivities, RedriveInput
    from domain.mirroring import CONFIRM_WINDOW_H, FollowerOrderInput, RedriveRequest, RedriveVerdict
    from domain.orders import FOLLOWER_ENDS, FollowerState
    from domain.retry import MAX_ATTEMPTS
    from domain.sizing import plain
    from temporal import policies, queues
    from temporal import search_attributes as sa

_F = FollowerState
_WITH_THE_VENUE = frozenset({_F.ACK, _F.PARTIALLY_FILLED})


@workflow.defn
class FollowerOrderWorkflow:
    @workflow.init
    def __init__(self, start: FollowerOrderInput) -> None:
        self._order = start.order
        self._key = FollowerOrderKey(start.tenant_id, start.order.fo_id)
        self._queue = queues.for_route(start.order.route)
        self._window = timedelta(hours=CONFIRM_WINDOW_H[start.tif])
        self._status = OrderStatus(start.order.state, start.order.attempts, Decimal(0))
        self._cancel = False
        self._cancel_passed_on = False
        self._reports = 0
        self._redrive = start.redrive
        self._verdict: RedriveVerdict | None = None

    @workflow.run
    async def run(self, start: FollowerOrderInput) -> str:
        if self._redrive is not None and not await self._reopen(self._redrive):
            await workflow.wait_condition(workflow.all_handlers_finished)
            return self._status.state
        if self._status.state not in FOLLOWER_ENDS:
            await self._own()
            workflow.upsert_search_attributes([sa.STATE.value_set(self._status.state)])
            if self._redrive is not None:
                await self._close_redrive()
        self._show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._status.state

    @workflow.update
    async def redrive(self) -> RedriveVerdict:
        """Whether the dead letter's order goes out again, as soon as that is known."""
        await workflow.wait_condition(lambda: self._verdict is not None)
        assert self._verdict is not None
        return self._verdict

    @redrive.validator
    def _may_redrive(self) -> None:
        if self._redrive is None:
            raise ApplicationError("this owner has no dead letter to redrive", type="no-redrive")

    @workflow.signal
    def cancel(self) -> None:
        """The manager order was cancelled: stop retrying, and cancel at the venue what is open there."""
        self._cancel = True

    @workflow.signal
    def venue_reported(self) -> None:
        """The venue's stream has moved the order, as the store knows: look at once instead of at the next poll."""
        self._reports += 1

    @workflow.query
    def status(self) -> OrderStatus:
        return self._status

    async def _reopen(self, request: RedriveRequest) -> bool:
        """Whether the order goes out again; where not, it stays as it is."""
        self._verdict = verdict = await workflow.execute_activity_method(
            RedriveActivities.redrive,
            RedriveInput(self._key, request),
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary=f"dead letter {request.dead_letter_id}: may it go out again?",
        )
        self._status = OrderStatus(verdict.state, verdict.attempts, Decimal(0), verdict.reason, verdict.attempts)
        if not verdict.redriven:
            workflow.set_current_details(f"**refused** · {verdict.code}: {verdict.reason}")
        return verdict.redriven

    async def _close_redrive(self) -> None:
        await workflow.execute_activity_method(
            RedriveActivities.close_redrive,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="nothing of it is in flight any more",
        )

    async def _own(self) -> None:
        self._show()
        await self._wait_for_due()
        while self._status.state not in FOLLOWER_ENDS:
            self._show()
            if self._status.state in _WITH_THE_VENUE:
                await self._confirm()
            else:
                await self._deliver()

    async def _wait_for_due(self) -> None:
        """The wait that the wave's failed attempt has earned; later ones are waited for in the server."""
        order = self._order
        if order.wait_ms > 0 and not self._cancel:
            summary = f"attempt {order.attempts + 1} of {MAX_ATTEMPTS} is due after this"
            wait = timedelta(milliseconds=order.wait_ms)
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._cancel or self._reports > 0, timeout=wait, timeout_summary=summary
                )

    async def _deliver(self) -> None:
        next_attempt = min(self._status.tries + 1, MAX_ATTEMPTS)
        handle = workflow.start_activity_method(
            DeliveryActivities.deliver,
            self._key,
            task_queue=self._queue,
            start_to_close_timeout=policies.ATTEMPT_TIMEOUT,
            schedule_to_close_timeout=policies.ATTEMPT_GIVE_UP,
            retry_policy=policies.ATTEMPT_RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"by {self._order.route}: attempts {next_attempt} to {MAX_ATTEMPTS}",
        )
        await self._follow(handle, "unresolved")

    async def _confirm(self) -> None:
        if self._cancel and self._order.route == queues.WEBHOOK_ROUTE:
            # A receiver that has confirmed a part can neither be asked for the rest nor told to leave it.
            self._status = await self._bury("unconfirmed")
            return
        if self._cancel and not self._cancel_passed_on:
            await self._cancel_at_venue()
        handle = workflow.start_activity_method(
            DeliveryActivities.confirm,
            self._key,
            task_queue=self._queue,
            start_to_close_timeout=policies.ATTEMPT_TIMEOUT,
            schedule_to_close_timeout=self._window,
            retry_policy=policies.ATTEMPT_RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"follow the order at {self._order.route} until it is over",
        )
        await self._follow(handle, "unconfirmed")

    async def _follow(self, handle: ActivityHandle[OrderStatus], give_up_reason: str) -> None:
        """Take the activity's answer. A cancel or a streamed report cuts its waiting short, so that the next look is
        at once.

        Both wait for an attempt that is on the wire: its answer is worth more than the second it costs.
        """
        interrupted, known = False, self._reports
        if not self._cancel:
            await workflow.wait_condition(lambda: handle.done() or self._cancel or self._reports > known)
            if not handle.done():
                interrupted = True
                handle.cancel()
        try:
            self._status = await handle
        except ActivityError as error:
            if interrupted:
                return
            cause = error.cause
            reason = cause.type if isinstance(cause, ApplicationError) and cause.non_retryable else None
            self._status = await self._bury(reason or give_up_reason)

    async def _cancel_at_venue(self) -> None:
        self._cancel_passed_on = True
        try:
            await workflow.execute_activity_method(
                DeliveryActivities.cancel_at_venue,
                self._key,
                task_queue=self._queue,
                start_to_close_timeout=policies.ATTEMPT_TIMEOUT,
                schedule_to_close_timeout=policies.CANCEL_GIVE_UP,
                retry_policy=policies.ATTEMPT_RETRY,
                summary=f"cancel at {self._order.route}",
            )
        except ActivityError:
            workflow.logger.warning("the venue did not take the cancel; the order is followed to its own end")

    async def _bury(self, reason: str) -> OrderStatus:
        return await workflow.execute_activity_method(
            DeliveryActivities.bury,
            BuryInput(self._key, reason),
            task_queue=self._queue,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary=f"dead letter: {reason}",
        )

    def _show(self) -> None:
        status, order = self._status, self._order
        why = f"\n\n{status.reason}" if status.reason else ""
        workflow.set_current_details(
            f"**{status.state}** · attempt {status.tries} of {MAX_ATTEMPTS} · "
            f"{plain(status.filled_qty)} of {plain(order.qty)} filled{why}"
        )

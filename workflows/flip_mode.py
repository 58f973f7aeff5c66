"""One flip or persona boost: it writes the row, owns its time, and reverts it when that has come.

The row's expiry is a time of day and not a span, so that no restart and no new run makes the overlay last longer. It
counts without us too: whoever reads overlays leaves out those whose time is over.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.overlays import OverlayActivities
    from domain.errors import InvalidInput
    from domain.flip_mode import Begun, EndOverlay, ExtendOverlay, Extension, FlipModeInput
    from domain.overlays import EndReason, Overlay, extended
    from temporal import policies
    from temporal import search_attributes as sa

_TIMER = "system:flip-mode"
_CONSOLE = "system:temporal"
_LOOK_AGAIN = timedelta(seconds=1)


@workflow.defn
class FlipModeWorkflow:
    @workflow.init
    def __init__(self, given: FlipModeInput) -> None:
        self._start = given.start
        self._overlay = given.stored
        self._refused: ApplicationError | None = None
        self._turn = asyncio.Lock()  # one change at a time, in the order in which they came

    @workflow.run
    async def run(self, given: FlipModeInput) -> Overlay:
        overlay = self._overlay or await self._begin()
        self._show(overlay)
        try:
            overlay = await self._run_out(overlay)
        except (asyncio.CancelledError, FailureError) as error:
            if not is_cancelled_exception(error):
                raise
            # From the console. Whoever cancels the owner of a flip means the flip.
            await self._end(EndReason.CANCELLED, _CONSOLE)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        return overlay

    @workflow.update
    async def begin(self) -> Begun:
        """The overlay as it stands; fails with the code of one that could not be started."""
        await workflow.wait_condition(lambda: self._overlay is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused
        assert self._overlay is not None
        return Begun(self._overlay, self._start.once.fingerprint)

    @workflow.update
    async def extend(self, extension: Extension) -> Overlay:
        """Make it last longer, counted from its start."""
        start = self._start
        async with self._turn:
            try:
                self._overlay = await workflow.execute_activity_method(
                    OverlayActivities.extend_overlay,
                    ExtendOverlay(start.tenant_id, start.overlay_id, extension.ttl, extension.actor),
                    start_to_close_timeout=policies.STORE_TIMEOUT,
                    schedule_to_close_timeout=policies.OVERLAY_CHANGE_WITHIN,
                    retry_policy=policies.STORE_RETRY,
                    summary=f"to {_minutes(extension.ttl)} minutes, by {extension.actor}",
                )
            except ActivityError as error:
                raise _told(error, "extension-failed") from error
        self._show(self._overlay)
        return self._overlay

    @extend.validator
    def _may_extend(self, extension: Extension) -> None:
        if self._overlay is None:
            raise ApplicationError("it has not started yet", type="not-started")
        try:
            extended(self._overlay, extension.ttl, workflow.now())
        except InvalidInput as error:
            raise ApplicationError(str(error), type=error.code) from error

    @workflow.update
    async def cancel(self, actor: str) -> Overlay:
        """End it before its time; one that is over already is no error."""
        return await self._end(EndReason.CANCELLED, actor)

    @cancel.validator
    def _may_cancel(self, actor: str) -> None:
        if self._overlay is None:
            raise ApplicationError("it has not started yet", type="not-started")

    @workflow.query
    def state(self) -> Overlay | None:
        """The overlay as this workflow knows it; None until it has started."""
        return self._overlay

    async def _begin(self) -> Overlay:
        try:
            # Within the first workflow task: whoever waits in `begin` is spared two trips through the server.
            self._overlay = await workflow.execute_local_activity_method(
                OverlayActivities.start_overlay,
                self._start,
                start_to_close_timeout=policies.STORE_TIMEOUT,
                schedule_to_close_timeout=policies.OVERLAY_CHANGE_WITHIN,
                retry_policy=policies.STORE_RETRY,
                local_retry_threshold=policies.STORE_RETRY_LOCALLY,
                summary="write the overlay",
            )
        except FailureError as error:
            self._refused = _told(error, "start-failed")
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refused from error
        workflow.upsert_search_attributes([sa.STATE.value_set(self._overlay.end_reason or "active")])
        return self._overlay

    async def _run_out(self, overlay: Overlay) -> Overlay:
        """Until its time has come or somebody has ended it; by a new run where this one's history is long."""
        while overlay.end_reason is None:
            await self._wait(overlay)
            await workflow.wait_condition(workflow.all_handlers_finished)
            overlay = self._overlay or overlay
            if overlay.end_reason is not None:
                break
            if _left(overlay) <= timedelta():
                overlay = await self._expire()
            elif workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(FlipModeInput(self._start, overlay))
        return overlay

    async def _wait(self, overlay: Overlay) -> None:
        left = _left(overlay)
        if left <= timedelta():
            return
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._overlay != overlay or workflow.info().is_continue_as_new_suggested(),
                timeout=left,
                timeout_summary=f"until {overlay.expires_at:%H:%M:%S} UTC",
            )

    async def _expire(self) -> Overlay:
        overlay = await self._end(EndReason.EXPIRED, _TIMER)
        if overlay.end_reason is None:
            # The row has more time than we had heard of, or its clock is behind ours.
            await workflow.sleep(_LOOK_AGAIN, summary="the database says that it is not over yet")
        return overlay

    async def _end(self, reason: EndReason, actor: str) -> Overlay:
        start = self._start
        async with self._turn:
            assert self._overlay is not None
            if self._overlay.end_reason is None:
                self._overlay = await workflow.execute_activity_method(
                    OverlayActivities.end_overlay,
                    EndOverlay(start.tenant_id, start.overlay_id, reason, actor),
                    start_to_close_timeout=policies.STORE_TIMEOUT,
                    retry_policy=policies.STORE_RETRY,
                    summary="revert" if reason is EndReason.EXPIRED else f"cancelled by {actor}",
                )
                workflow.upsert_search_attributes([sa.STATE.value_set(self._overlay.end_reason or "active")])
                self._show(self._overlay)
            return self._overlay

    def _show(self, overlay: Overlay) -> None:
        state = overlay.end_reason or "active"
        until = overlay.ended_at or overlay.expires_at
        workflow.set_current_details(f"**{state}** · {overlay.starts_at:%Y-%m-%d %H:%M:%S} to {until:%H:%M:%S} UTC")


def _left(overlay: Overlay) -> timedelta:
    assert overlay.expires_at is not None  # kinds without a time have no workflow
    return overlay.expires_at - workflow.now()


def _told(error: FailureError, otherwise: str) -> ApplicationError:
    """What the caller that waits in an update hears."""
    cause = error.cause if isinstance(error, ActivityError) else error  # a local one comes as it is
    if isinstance(cause, ApplicationError) and cause.type:
        return ApplicationError(cause.message, *cause.details, type=cause.type, non_retryable=True)
    return ApplicationError(str(cause), type=otherwise, non_retryable=True)


def _minutes(time: timedelta) -> int:
    return int(time.total_seconds() // 60)

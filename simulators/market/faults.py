"""Breaks a conversation as scripted: before the order is booked, after it, or so late that the sender has gone."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import web

from simulators.market.behaviour import Fault, FaultKind
from simulators.market.refusals import Reason, Refusal

_LONGEST_HANG_S = 60
_MAX_LATE = 1_000


class FaultPlayer:
    """Owns the waiting requests, so that closing lets go of all of them at once."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._late: set[asyncio.Task[web.StreamResponse]] = set()

    async def close(self) -> None:
        self._closing.set()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def before_booking(self, request: web.Request, fault: Fault) -> None:
        """Raises Refusal, drops the connection, waits, or does nothing."""
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                raise Refusal(Reason.RATE_LIMITED, "too many requests.", retry_after_s=fault.retry_after_s)
            case FaultKind.ERROR:
                raise _broken(fault)
            case FaultKind.HANG | FaultKind.DROP:
                await self.leave_unanswered(request, hang=fault.kind is FaultKind.HANG)
            case FaultKind.SLOW:
                await self._pause(fault.delay_ms / 1_000)
            case _:
                return

    async def after_booking(self, request: web.Request, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.ERROR_AFTER_BOOKING:
                raise _broken(fault)
            case FaultKind.HANG_AFTER_BOOKING | FaultKind.DROP_AFTER_BOOKING:
                await self.leave_unanswered(request, hang=fault.kind is FaultKind.HANG_AFTER_BOOKING)
            case FaultKind.DUPLICATE_AFTER_BOOKING:
                raise Refusal(Reason.DUPLICATE_ID, "client_order_id must be unique")
            case _:
                return

    async def to_the_end(self, work: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
        """Finish `work` even if the client hangs up, as a venue does that is only slow."""
        if len(self._late) >= _MAX_LATE:
            work.close()
            raise Refusal(Reason.BROKEN, "too many slow requests at once", status=503)
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._finish)
        return await asyncio.shield(task)

    def _finish(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # marks a refusal as seen: its client may have gone

    async def leave_unanswered(self, request: web.Request, *, hang: bool = False) -> None:
        if hang:
            await self._pause(_LONGEST_HANG_S)
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError  # nobody is left to answer

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _broken(fault: Fault) -> Refusal:
    return Refusal(
        Reason.BROKEN, "internal server error occurred", status=fault.status, retry_after_s=fault.retry_after_s
    )

"""Breaks a conversation as scripted: before the order is booked, after it, or so late that the sender has gone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web

from simulators.market.behaviour import Fault, FaultKind
from simulators.market.refusals import Reason, Refusal

_LONGEST_HANG_S = 60
_MAX_LATE = 1_000
_LOOK_EVERY_S = 0.05


@dataclass(eq=False, slots=True)
class _Late:
    """A request that is answered at `due` on the venue's clock."""

    due: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[web.StreamResponse] | None" = None


class FaultPlayer:
    """Owns the waiting requests, so that closing lets go of all of them at once. `played` counts by kind."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.played: Counter[tuple[str, FaultKind]] = Counter()
        self._clock = clock
        self._closing = asyncio.Event()
        self._late: set[_Late] = set()

    async def close(self) -> None:
        self._closing.set()
        for late in self._late:
            late.wake.set()
        await asyncio.gather(*(late.task for late in self._late if late.task), return_exceptions=True)

    def count(self, what: str, fault: Fault) -> None:
        """Of a submission or a read."""
        if fault.kind is not FaultKind.NONE:
            self.played[what, fault.kind] += 1

    async def before_booking(self, request: web.Request, fault: Fault) -> None:
        """Raises Refusal, drops the connection, waits, or does nothing."""
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                raise Refusal(Reason.RATE_LIMITED, "too many requests.", retry_after_s=fault.retry_after_s)
            case FaultKind.ERROR:
                raise _broken(fault)
            case FaultKind.HANG | FaultKind.DROP:
                await self.leave_unanswered(request, hang=fault.kind is FaultKind.HANG)
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

    async def later(self, fault: Fault, work: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Do `work` after the fault's delay, even if the client hangs up, as a venue does that is only slow."""
        if len(self._late) >= _MAX_LATE:
            raise Refusal(Reason.BROKEN, "too many slow requests at once", status=503)
        late = _Late(self._clock() + fault.delay_ms / 1_000)
        late.task = asyncio.ensure_future(self._when_due(late, work))
        self._late.add(late)
        late.task.add_done_callback(partial(self._finish, late))
        return await asyncio.shield(late.task)

    async def catch_up(self) -> None:
        """What is due by now has happened before anybody asks: a clock may have jumped."""
        due = [late for late in self._late if late.due <= self._clock()]
        for late in due:
            late.wake.set()
        if due:
            await asyncio.wait([late.task for late in due if late.task])

    async def _when_due(self, late: _Late, work: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        while not late.wake.is_set() and (left := late.due - self._clock()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(late.wake.wait(), min(left, _LOOK_EVERY_S))
        return await work()

    def _finish(self, late: _Late, task: "asyncio.Task[web.StreamResponse]") -> None:
        self._late.discard(late)
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

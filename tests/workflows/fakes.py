"""Activities under the real names, on orders in memory: what the workflows decide is tested, not what stores do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.delivery import BuryInput, FollowerOrderKey, OrderStatus
from activities.errors import RETRY_LATER, STILL_OPEN, again_in
from activities.mirroring import CancelInput, OrderKey, ShardKey
from activities.wave import WaveInput, WaveResult
from domain import retry
from domain.dispatch import Change, NewFill, PendingOrder, orphaned, reported, resolve
from domain.mirroring import Admission, Cancellation, MirrorOrderInput, OrderRef, Settlement
from domain.orders import FOLLOWER_ENDS, FollowerState, ManagerState
from domain.ports import OutcomeKind, SendOutcome, VenueOrder
from tests.domain.life import follow
from tests.domain.pending import pending

F = FollowerState
Clock = Callable[[], Awaitable[datetime]]
FAIL = SendOutcome(OutcomeKind.RETRYABLE, "http_500")
ACK = SendOutcome(OutcomeKind.ACK, "ack")
REFUSE = SendOutcome(OutcomeKind.FINAL, "http_400")
SILENT = SendOutcome(OutcomeKind.AMBIGUOUS, "timeout")


def ref(order: PendingOrder, *, wait_ms: int = 0) -> OrderRef:
    return OrderRef(
        order.fo_id, order.follower_id, order.side.value, order.qty, order.route, order.state, order.attempts, wait_ms
    )


class FakeDelivery:
    """Each attempt takes the next of `answers`, each look the next of `reports`; the last ones repeat.

    `calls` holds what was called and when. A report of None is a venue that cannot tell.
    """

    def __init__(
        self,
        order: PendingOrder,
        clock: Clock,
        *,
        answers: Sequence[SendOutcome] = (ACK,),
        reports: Sequence[VenueOrder | None] = (None,),
    ) -> None:
        self.order = order
        self.calls: list[tuple[str, datetime]] = []
        self.states = [order.state]
        self.fills: dict[str, NewFill] = {}
        self.cancel_fails = False
        self.after_cancel: VenueOrder | None = None
        self.sending = asyncio.Event()
        self.wire: asyncio.Event | None = None  # an attempt is on the wire until it is set
        self.cancelled = False
        self.poll_wait: timedelta | None = None  # as between late polls
        self._clock = clock
        self._answers, self._reports = list(answers), list(reports)

    def times(self, call: str) -> list[datetime]:
        return [at for name, at in self.calls if name == call]

    def all(self) -> list[Callable[..., Any]]:
        return [self.deliver, self.confirm, self.cancel_at_venue, self.bury]

    @activity.defn
    async def deliver(self, key: FollowerOrderKey) -> OrderStatus:
        await self._called("deliver")
        order = self.order
        if order.state is F.SENT:
            self.move(orphaned(order))
        if self.order.state is F.UNKNOWN and not order.is_webhook:
            return self._ask()
        if self.order.state in FOLLOWER_ENDS | {F.ACK, F.PARTIALLY_FILLED}:
            return self._status()
        if self.cancelled:
            self.move(Change(order.fo_id, self.order.state, (F.CANCELLED,), reason="manager_order_cancelled"))
            return self._status()
        self.move(Change(order.fo_id, self.order.state, (F.SENT,), attempts=order.attempts + 1))
        self.sending.set()
        if self.wire is not None:
            await self.wire.wait()
        change = resolve(self.order, _next(self._answers))
        self.move(change)
        if change.wait is not None:
            raise again_in("again", max(change.wait, timedelta(milliseconds=1)), RETRY_LATER)
        return self._status()

    @activity.defn
    async def confirm(self, key: FollowerOrderKey) -> OrderStatus:
        await self._called("confirm")
        report = _next(self._reports)
        if report is not None and self.order.state not in FOLLOWER_ENDS:
            self.move(reported(self.order, report, self.order.route))
        if self.order.state in FOLLOWER_ENDS:
            return self._status()
        raise again_in("open", self.poll_wait or retry.poll_wait(activity.info().attempt), STILL_OPEN)

    @activity.defn
    async def cancel_at_venue(self, key: FollowerOrderKey) -> None:
        await self._called("cancel_at_venue")
        if self.cancel_fails:
            raise ApplicationError("the venue refuses", type="venue-refused", non_retryable=True)
        if self.after_cancel is not None:
            self._reports = [self.after_cancel]

    @activity.defn
    async def bury(self, bury: BuryInput) -> OrderStatus:
        await self._called("bury")
        self.move(Change(self.order.fo_id, self.order.state, (F.DEAD_LETTER,), reason=bury.reason))
        self.order = replace(self.order, last_error=bury.reason)
        return self._status()

    def move(self, change: Change) -> None:
        self.order = follow(self.order, change, self.fills, self.states)

    def _ask(self) -> OrderStatus:
        report = _next(self._reports)
        if report is None:
            wait = self.poll_wait or retry.poll_wait(activity.info().attempt)
            raise again_in("the venue cannot tell", wait, STILL_OPEN)
        self.move(reported(self.order, report, self.order.route))
        return self._status()

    async def _called(self, name: str) -> None:
        self.calls.append((name, await self._clock()))

    def _status(self) -> OrderStatus:
        return OrderStatus(self.order.state, self.order.attempts, self.order.filled_qty, self.order.last_error)


class FakeMirroring:
    """A manager order with `orders` on one page; its follower orders are confirmed at the first attempt by default."""

    def __init__(self, orders: Sequence[OrderRef], *, shards: int = 1, wave: bool = True, starting: int = 50) -> None:
        self.orders = list(orders)
        self.calls: list[str] = []
        self.admission = Admission(
            "M-1", accepted=True, state=ManagerState.DISPATCHING, fingerprint="f", followers=len(orders),
            shards=shards, routes=(("webhook",) if orders else (),) * shards, wave=wave, children_starting=starting,
        )  # fmt: skip
        self.refusal: ApplicationError | None = None
        self.released: list[Admission] = []  # what each release comes to
        self.release_holds: asyncio.Event | None = None  # a release that lasts until somebody sets it
        self.wave_fails = False
        self.wave_ends: asyncio.Event | None = None  # a wave that lasts until somebody sets it
        self.due: list[OrderRef] = []
        self.delivering: dict[str, asyncio.Event] = {}
        self.deliver_fails: set[str] = set()

    def all(self) -> list[Callable[..., Any]]:
        return [
            self.admit, self.release, self.expand, self.list_orders, self.list_due, self.list_due_pages, self.settle,
            self.cancel, self.archive,
        ]  # fmt: skip

    def dispatching(self) -> list[Callable[..., Any]]:
        return [self.dispatch_wave, self.deliver]

    @activity.defn
    async def admit(self, order: MirrorOrderInput) -> Admission:
        self.calls.append("admit")
        if self.refusal is not None:
            raise self.refusal
        return self.admission

    @activity.defn
    async def release(self, order: MirrorOrderInput) -> Admission:
        self.calls.append("release")
        if self.release_holds is not None:
            await self.release_holds.wait()
        return self.released.pop(0)

    @activity.defn
    async def expand(self, key: ShardKey) -> dict[str, int]:
        self.calls.append(f"expand {key.shard}")
        return {"webhook": len(self.orders)} if self.orders else {}

    @activity.defn
    async def dispatch_wave(self, wave: WaveInput) -> WaveResult:
        self.calls.append(f"wave {wave.route}")
        if self.wave_fails:
            raise ApplicationError("the wave's worker is gone", type="gone")
        if self.wave_ends is not None:
            await self.wave_ends.wait()
        return WaveResult(sent=len(self.orders))

    @activity.defn
    async def list_orders(self, key: ShardKey) -> list[OrderRef]:
        self.calls.append("list")
        return self.orders

    @activity.defn
    async def list_due(self, key: ShardKey) -> list[OrderRef]:
        return self.due

    @activity.defn
    async def list_due_pages(self, key: OrderKey) -> list[int]:
        return [0] if self.due else []

    @activity.defn
    async def deliver(self, key: FollowerOrderKey) -> OrderStatus:
        self.calls.append(f"deliver {key.fo_id}")
        if self.wave_ends is not None and key.fo_id in {order.fo_id for order in self.due}:
            self.wave_ends.set()
        if key.fo_id in self.delivering:
            self.delivering[key.fo_id].set()
            raise again_in("again", timedelta(hours=1), RETRY_LATER)
        if key.fo_id in self.deliver_fails:
            raise ApplicationError("a bug", type="bug", non_retryable=True)
        return OrderStatus(F.CONFIRMED, 1, Decimal(10))

    @activity.defn
    async def settle(self, key: OrderKey) -> Settlement:
        self.calls.append("settle")
        return Settlement(key.mo_id, ManagerState.SETTLED, {"confirmed": len(self.orders)})

    @activity.defn
    async def cancel(self, order: CancelInput) -> Cancellation:
        self.calls.append(f"cancel by {order.actor}")
        for fo_id in list(self.delivering):
            del self.delivering[fo_id]
        state = ManagerState.EXPIRED if order.expired else ManagerState.CANCELLED
        return Cancellation(order.mo_id, len(self.orders), 0, state)

    @activity.defn
    async def archive(self, key: OrderKey) -> str:
        self.calls.append("archive")
        return f"{key.tenant_id}/{key.mo_id}/trade_log.jsonl"


def page_of(count: int, state: FollowerState = F.SIZED) -> list[OrderRef]:
    return [ref(pending(fo_id=f"FO-{n}", follower_id=f"F_{n}", state=state, attempts=0)) for n in range(count)]


def _next(script: list[Any]) -> Any:
    return script.pop(0) if len(script) > 1 else script[0]

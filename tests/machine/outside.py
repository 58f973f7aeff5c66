"""The other sides of the state machine: a broker and receivers that keep books of their own, and lose answers.

A request pauses before it arrives and again before its answer leaves, until the machine lets it go on or its sender
dies; what has arrived by then stays.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from adapters.brokers.alpaca import AlpacaBroker
from domain.errors import VenueUnavailable
from domain.ports import (
    AccountOrder,
    BrokerCredentials,
    ChildOrder,
    OutcomeKind,
    SendOutcome,
    VenueAccount,
    VenueOrder,
    VenuePosition,
    VenueStatus,
    WebhookRequest,
)
from domain.venues import Capabilities

CAPABILITIES = AlpacaBroker.capabilities
_LOST = SendOutcome(OutcomeKind.AMBIGUOUS, "timeout")
_BUSY = SendOutcome(OutcomeKind.RETRYABLE, "http_503")
_ENDED = frozenset({VenueStatus.FILLED, VenueStatus.CANCELLED, VenueStatus.REJECTED})


@dataclass
class Wire:
    """Where requests pause. `faults`: whether anything goes wrong at all."""

    rng: random.Random
    waiting: list[asyncio.Event] = field(default_factory=list)
    faults: bool = True

    async def pause(self) -> None:
        if not self.faults:
            return
        event = asyncio.Event()
        self.waiting.append(event)
        try:
            await event.wait()
        finally:
            self.waiting.remove(event)

    def release_one(self) -> None:
        if self.waiting:
            self.rng.choice(self.waiting).set()

    def release_all(self) -> None:
        for event in self.waiting:
            event.set()

    def fails(self, chance: float) -> bool:
        return self.faults and self.rng.random() < chance


@dataclass
class Booked:
    """An order as the broker has it."""

    order: ChildOrder
    status: VenueStatus = VenueStatus.WORKING
    filled: Decimal = Decimal(0)


@dataclass
class FakeBroker:
    """`begins` is called with the client order id when a submission begins to arrive."""

    wire: Wire
    begins: Callable[[str], None]
    book: dict[str, Booked] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        self.begins(order.client_order_id)
        await self.wire.pause()
        if self.wire.fails(0.15):
            return _BUSY
        if self.wire.fails(0.1):
            return _LOST
        if order.client_order_id in self.book:
            self.twice.append(order.client_order_id)
        self.book[order.client_order_id] = Booked(order)
        if self.wire.fails(0.05):
            self.book[order.client_order_id].status = VenueStatus.REJECTED
        await self.wire.pause()
        if self.wire.fails(0.2):
            return _LOST
        return SendOutcome(OutcomeKind.ACK, "accepted", venue_order=self._report(order.client_order_id))

    async def look_up(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        if self.wire.fails(0.2):
            raise VenueUnavailable("timeout", "no answer")
        return self._report(client_order_id) if client_order_id in self.book else None

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        booked = self.book[ref.removeprefix("ref-")]
        if booked.status not in _ENDED:
            booked.status = VenueStatus.CANCELLED

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        raise NotImplementedError

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        raise NotImplementedError

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        raise NotImplementedError

    def trade(self) -> None:
        """Fill some open order, in part or whole, or let it expire."""
        still = [b for b in self.book.values() if b.status not in _ENDED]
        if not still:
            return
        booked = self.wire.rng.choice(still)
        if self.wire.fails(0.1):
            booked.status = VenueStatus.CANCELLED
            return
        part = (booked.order.qty / self.wire.rng.choice([1, 2, 4])).quantize(Decimal(1)) or booked.order.qty
        booked.filled = min(booked.order.qty, booked.filled + part)
        full = booked.filled == booked.order.qty
        booked.status = VenueStatus.FILLED if full else VenueStatus.PARTIALLY_FILLED

    def trade_all(self) -> None:
        for booked in self.book.values():
            if booked.status not in _ENDED:
                booked.filled, booked.status = booked.order.qty, VenueStatus.FILLED

    def _report(self, client_id: str) -> VenueOrder:
        booked = self.book[client_id]
        return VenueOrder(f"ref-{client_id}", client_id, booked.status, booked.filled, Decimal(100))


@dataclass
class FakeReceivers:
    """Every webhook follower's endpoint: processes a delivery once, whatever becomes of its answer."""

    wire: Wire
    begins: Callable[[str], None]
    processed: dict[str, tuple[str, str, Decimal]] = field(default_factory=dict)  # id → follower, symbol, signed

    async def send(self, request: WebhookRequest) -> SendOutcome:
        await self.wire.pause()  # in line, connecting
        if request.refused is not None and (why := request.refused()) is not None:
            return SendOutcome(OutcomeKind.RETRYABLE, "stopped_before_send", why)
        self.begins(request.delivery_id)
        if self.wire.fails(0.15):
            return _BUSY
        if self.wire.fails(0.1):
            return _LOST
        if self.wire.fails(0.05) and request.delivery_id not in self.processed:
            return SendOutcome(OutcomeKind.FINAL, "http_400")
        body = json.loads(request.body)
        sign = 1 if body["side"] == "buy" else -1
        self.processed[request.delivery_id] = (body["follower_id"], body["symbol"], sign * Decimal(body["qty_str"]))
        await self.wire.pause()
        return _LOST if self.wire.fails(0.2) else SendOutcome(OutcomeKind.ACK, "ack")

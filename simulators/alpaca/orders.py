"""One order: its vendor states and how its scripted life plays out over monotonic time."""

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal

from simulators.alpaca.behaviour import Life

OPEN_STATES = frozenset({"accepted", "new", "partially_filled"})
_NINE_PLACES = Decimal("0.000000001")


def timestamp() -> str:
    """Now in RFC 3339 with the vendor's nanosecond fraction."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A validated body of `POST /v2/orders`."""

    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal
    limit_price: Decimal | None
    extended_hours: bool
    order_class: str


@dataclass(slots=True)
class Order:
    """`due` is the monotonic time of the next step; `reserve_price` is what buying power is held at."""

    request: OrderRequest
    life: Life
    due: float
    reserve_price: Decimal
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "accepted"
    filled_qty: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    steps_done: int = 0
    history: list[str] = field(default_factory=lambda: ["accepted"])
    created_at: str = field(default_factory=timestamp)
    updated_at: str = ""
    ended_at: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def remaining(self) -> Decimal:
        return self.request.qty - self.filled_qty

    def move(self, status: str) -> None:
        if status == self.status:
            return
        self.status = status
        self.history.append(status)
        self.updated_at = timestamp()
        if not self.is_open:
            self.ended_at = self.updated_at

    def is_marketable(self, price: Decimal) -> bool:
        limit = self.request.limit_price
        if limit is None:
            return True
        return limit >= price if self.request.side == "buy" else limit <= price

    def play(self, now: float, price: Decimal) -> Decimal:
        """Do everything due by `now`; return the quantity executed, all of it at `price`."""
        before = self.filled_qty
        if self.status == "accepted" and self.life.ending != "rejected":
            self.move("new")
        while self.is_open and self.due <= now:
            if self.steps_done >= self.life.executed_steps:
                self._end()
                break
            if not self.is_marketable(price):
                self.due = now
                self._end_if_immediate()
                break
            self._execute_step(price)
        return self.filled_qty - before

    def _execute_step(self, price: Decimal) -> None:
        self.steps_done += 1
        self.due += self.life.interval_ms / 1_000
        # Fill-or-kill never shows a partial fill, whatever the script says.
        steps = 1 if self.request.time_in_force == "fok" else self.life.steps
        whole = self.request.qty == self.request.qty.to_integral_value()
        share = self.request.qty * min(self.steps_done, steps) / steps
        target = share.quantize(Decimal(1) if whole else _NINE_PLACES, rounding=ROUND_FLOOR)
        self.cost += (target - self.filled_qty) * price
        self.filled_qty = target
        if target == self.request.qty:
            self.move("filled")
        elif target > 0:
            self.move("partially_filled")

    def _end(self) -> None:
        if self.life.ending in {"expired", "rejected"}:
            self.move(self.life.ending)
        else:
            self._end_if_immediate()

    def _end_if_immediate(self) -> None:
        if self.request.time_in_force in {"ioc", "fok"}:
            self.move("canceled")

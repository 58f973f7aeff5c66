"""One order: its states and how its scripted life plays out over monotonic time."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum

from simulators.market.behaviour import Life

_NINE_PLACES = Decimal("0.000000001")


class State(StrEnum):
    """The states of the FIX protocol's OrdStatus that this market knows; vendors have other words for them."""

    ACCEPTED = "accepted"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


OPEN_STATES = frozenset({State.ACCEPTED, State.NEW, State.PARTIALLY_FILLED, State.PENDING_CANCEL})


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A validated order. `side` is buy or sell, `type` market or limit, `time_in_force` day, gtc, ioc, fok, …

    An empty `client_order_id` is none. `extras` are the vendor's own fields, kept to be shown again.
    """

    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal
    limit_price: Decimal | None = None
    post_only: bool = False
    extras: Mapping[str, object] = field(default_factory=dict)

    @property
    def signed_qty(self) -> Decimal:
        return self.qty if self.side == "buy" else -self.qty

    def is_marketable(self, price: Decimal) -> bool:
        if self.limit_price is None:
            return True
        return self.limit_price >= price if self.side == "buy" else self.limit_price <= price


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `at_ns` is nanoseconds since 1970; `filled_qty` is the order's after it."""

    qty: Decimal
    price: Decimal
    filled_qty: Decimal
    fee: Decimal = Decimal(0)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at_ns: int = field(default_factory=time.time_ns)


@dataclass(slots=True)
class Order:
    """`due` is the monotonic time of the next step; `reserve_price` is what money is held back at; `fee_rate` is a
    share of an execution's value.

    `*_ns` are nanoseconds since 1970. `cancel_due` is set once a cancel was asked for that takes its time.
    """

    request: OrderRequest
    life: Life
    due: float
    reserve_price: Decimal
    fee_rate: Decimal = Decimal(0)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: State = State.ACCEPTED
    filled_qty: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    steps_done: int = 0
    cancel_due: float | None = None
    late_steps_left: int = 0
    history: list[State] = field(default_factory=lambda: [State.ACCEPTED])
    executions: list[Execution] = field(default_factory=list)
    created_ns: int = field(default_factory=time.time_ns)
    updated_ns: int = 0
    ended_ns: int | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def remaining(self) -> Decimal:
        return self.request.qty - self.filled_qty

    @property
    def average_price(self) -> Decimal | None:
        return self.cost / self.filled_qty if self.filled_qty else None

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_ns // 1_000 / 1_000_000, UTC)

    def move(self, status: State) -> None:
        if status == self.status:
            return
        self.status = status
        self.history.append(status)
        self.updated_ns = time.time_ns()
        if not self.is_open:
            self.ended_ns = self.updated_ns

    def ask_cancel(self, now: float) -> None:
        """At once, or when the script lets it happen."""
        if self.cancel_due is not None:
            return
        self.cancel_due = now + self.life.cancel_delay_ms / 1_000
        self.late_steps_left = self.life.late_steps
        if self.cancel_due > now:
            self.move(State.PENDING_CANCEL)

    def play(self, now: float, price: Decimal) -> list[Execution]:
        """Do everything due by `now`; what was executed, all of it at `price`."""
        known = len(self.executions)
        if self.status is State.ACCEPTED and self.life.ending != "rejected":
            self.move(State.NEW)
        self._play_script(now if self.cancel_due is None else min(now, self.cancel_due), price)
        if self.is_open and self.cancel_due is not None and self.cancel_due <= now:
            while self.late_steps_left and self.is_open and self.request.is_marketable(price):
                self.late_steps_left -= 1
                self._execute_step(price)
            if self.is_open:
                self.move(State.CANCELED)
        return self.executions[known:]

    def _play_script(self, until: float, price: Decimal) -> None:
        while self.is_open and self.due <= until:
            if self.steps_done >= self.life.executed_steps:
                self._end()
                break
            if not self.request.is_marketable(price):
                self.due = until
                self._end_if_immediate()
                break
            self._execute_step(price)

    def _execute_step(self, price: Decimal) -> None:
        self.steps_done += 1
        self.due += self.life.interval_ms / 1_000
        # Fill-or-kill never shows a partial fill, whatever the script says.
        steps = 1 if self.request.time_in_force == "fok" else self.life.steps
        whole = self.request.qty == self.request.qty.to_integral_value()
        share = self.request.qty * min(self.steps_done, steps) / steps
        target = share.quantize(Decimal(1) if whole else _NINE_PLACES, rounding=ROUND_FLOOR)
        if target > self.filled_qty:
            self._book(target - self.filled_qty, price)
        if target == self.request.qty:
            self.move(State.FILLED)
        elif target > 0 and self.cancel_due is None:
            self.move(State.PARTIALLY_FILLED)

    def _book(self, qty: Decimal, price: Decimal) -> None:
        execution = Execution(qty, price, self.filled_qty + qty, qty * price * self.fee_rate)
        self.executions.append(execution)
        self.filled_qty = execution.filled_qty
        self.cost += qty * price
        self.fees += execution.fee

    def _end(self) -> None:
        if self.life.ending in {"expired", "rejected"}:
            self.move(State(self.life.ending))
        else:
            self._end_if_immediate()

    def _end_if_immediate(self) -> None:
        if self.request.time_in_force in {"ioc", "fok"}:
            self.move(State.CANCELED)

"""What a follower should hold of a symbol, folded from its orders in the order in which they were given.

An order that opens adds what it meant for the follower: its allotment, and what a cap or a kill kept from it. One that
reduces takes the manager's fraction of what should be held by then, so that an exit also ends what an earlier failure
left open. What the fold adds without its being held is kept by cause. Quantities are signed units, money is in USD.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal, localcontext
from enum import StrEnum

from domain.orders import FOLLOWER_ENDS, FollowerState, Side
from domain.sizing import floor_to

ADOPTED = "adopted"  # the source of a fill that takes over what the follower did by hand
CORRECTION = "correction"
# The manager took the order back: nobody is short of what it would have bought.
WITHDRAWN = "manager_order_cancelled"
_AS_SIZED = frozenset({"below_minimum", "nothing_held"})
_CONTEXT = Context(prec=60)
_FINEST = Decimal("1e-12")
ZERO = Decimal(0)


class Cause(StrEnum):
    """Why a position is not what it should be."""

    ROUNDING = "rounding"
    CAP = "cap"
    KILL_OR_SKIP = "kill_or_skip"
    MISSED_FILL = "missed_fill"
    OWN_TRADE = "own_trade"
    IN_FLIGHT = "in_flight"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OrderFact:
    """A follower order. `wanted` is its quantity before caps and kills, `qty` the allotment; both unsigned.

    `fraction` is the part of the vault's position that the manager order closes, None where it opens. `price` is the
    manager order's reference price. `is_stale`: it is not over, and nobody has touched it for longer than its owner
    would wait. `turned_away`: a correction's manager order that was refused at the door, under its own id.
    `given_back`: no follower got anything of the manager order, and the vault's position is as if it had never been.
    """

    fo_id: str
    at: datetime
    side: Side
    wanted: Decimal
    qty: Decimal
    filled: Decimal
    state: FollowerState
    kind: str = "order"
    reason: str | None = None
    capped: bool = False
    fraction: Decimal | None = None
    price: Decimal | None = None
    expires_at: datetime | None = None
    is_stale: bool = False
    turned_away: bool = False
    given_back: bool = False

    @property
    def is_over(self) -> bool:
        return self.state in FOLLOWER_ENDS

    @property
    def is_withdrawn(self) -> bool:
        """Nobody is short of what the manager took back. An exit that was cancelled when others were out is none."""
        cancelled = self.fraction is None and self.reason == WITHDRAWN
        return self.is_over and (self.given_back or cancelled)


@dataclass(frozen=True, slots=True)
class FillFact:
    """A booked fill; `qty` is signed."""

    fill_id: str
    at: datetime
    qty: Decimal
    price: Decimal | None
    source: str


@dataclass(slots=True)
class Expectation:
    """The fold's result.

    `expected` less `held` (what the orders' fills come to) is the sum of `parts`; `orders` names those behind each.
    `failed_correction` is the last correction, if it ended without its fill and no order has been given since.
    """

    expected: Decimal
    held: Decimal
    parts: dict[Cause, Decimal] = field(default_factory=dict)
    orders: dict[Cause, list[OrderFact]] = field(default_factory=dict)
    expected_pnl: Decimal = ZERO
    actual_pnl: Decimal = ZERO
    failed_correction: str | None = None
    adopted_at: datetime | None = None


def expect(
    opening: Decimal, orders: Iterable[OrderFact], fills: Iterable[FillFact], step: Decimal, mark: Decimal | None
) -> Expectation:
    """`opening` is what was booked before the first of these orders; `mark` is the present price."""
    with localcontext(_CONTEXT):
        fold = _Fold(Expectation(opening, opening), step, mark)
        events: list[tuple[tuple[datetime, int, str], OrderFact | FillFact]] = [((o.at, 0, o.fo_id), o) for o in orders]
        events += [((f.at, 1, f.fill_id), f) for f in fills]
        for _, event in sorted(events, key=lambda e: e[0]):
            if isinstance(event, FillFact):
                fold.fill(event)
            elif event.kind == CORRECTION:
                fold.correct(event)
            else:
                fold.mirror(event)
        return fold.so_far


@dataclass(slots=True)
class _Fold:
    so_far: Expectation
    step: Decimal
    mark: Decimal | None

    def mirror(self, order: OrderFact) -> None:
        x, sign = self.so_far, order.side.sign
        x.failed_correction = None
        qty = order.filled if order.is_withdrawn else order.qty
        if order.is_withdrawn:
            delta = sign * qty
        elif order.fraction is None:
            delta = sign * max(order.wanted, qty)
        else:
            delta = self._reduction(order, qty)
            self._scale(1 - min(order.fraction, Decimal(1)))
        self._expect(delta, order.price)
        x.held += sign * order.filled
        missing = x.expected - x.held - sum(x.parts.values(), ZERO)
        unfilled = sign * (qty - order.filled)
        self._blame(Cause.KILL_OR_SKIP if order.is_over else Cause.IN_FLIGHT, unfilled, order)
        self._blame(self._why_unallotted(order, missing - unfilled), missing - unfilled, order)

    def correct(self, order: OrderFact) -> None:
        """A correction brings the follower to what is expected; nothing more is expected because of it."""
        x, sign = self.so_far, order.side.sign
        x.held += sign * order.filled
        under_way = ZERO if order.is_over else sign * (order.qty - order.filled)
        self._blame(Cause.KILL_OR_SKIP, -sign * order.filled - under_way, order)
        self._blame(Cause.IN_FLIGHT, under_way, order)
        x.failed_correction = order.fo_id if order.is_over and order.filled < max(order.qty, order.wanted) else None

    def fill(self, fill: FillFact) -> None:
        x = self.so_far
        if self.mark is not None and fill.price is not None:
            x.actual_pnl += fill.qty * (self.mark - fill.price)
        if fill.source == ADOPTED:
            # What the follower chose to hold is what it should hold from here on.
            x.held += fill.qty
            self._expect(x.held - x.expected, fill.price)
            x.parts, x.orders, x.adopted_at, x.failed_correction = {}, {}, fill.at, None

    def _reduction(self, order: OrderFact, qty: Decimal) -> Decimal:
        x = self.so_far
        assert order.fraction is not None
        if order.fraction >= 1:
            return -x.expected
        if x.expected == x.held and (qty > 0 or order.reason in _AS_SIZED):
            return order.side.sign * qty
        return floor_to(-x.expected * order.fraction, self.step)

    def _why_unallotted(self, order: OrderFact, qty: Decimal) -> Cause:
        if order.capped:
            return Cause.CAP
        return Cause.KILL_OR_SKIP if order.qty == 0 and abs(qty) >= self.step else Cause.ROUNDING

    def _expect(self, delta: Decimal, price: Decimal | None) -> None:
        self.so_far.expected += delta
        if self.mark is not None and price is not None:
            self.so_far.expected_pnl += delta * (self.mark - price)

    def _blame(self, cause: Cause, qty: Decimal, order: OrderFact) -> None:
        if qty != 0:
            self.so_far.parts[cause] = self.so_far.parts.get(cause, ZERO) + qty
            self.so_far.orders.setdefault(cause, []).append(order)

    def _scale(self, factor: Decimal) -> None:
        x = self.so_far
        scaled = {cause: (qty * factor).quantize(_FINEST) for cause, qty in x.parts.items()}
        x.parts = {cause: qty for cause, qty in scaled.items() if qty != 0}
        x.orders = {cause: orders for cause, orders in x.orders.items() if cause in x.parts}

"""One brokerage account: cash, positions, what open orders hold back, and its request budget."""

import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from simulators.alpaca.behaviour import Behaviour
from simulators.alpaca.errors import forbidden
from simulators.alpaca.orders import Order, OrderRequest

_ZERO = Decimal(0)


@dataclass(slots=True)
class Position:
    """`qty` is negative for a short."""

    qty: Decimal
    avg_entry_price: Decimal

    def apply(self, signed_qty: Decimal, price: Decimal) -> None:
        total = self.qty + signed_qty
        if self.qty * signed_qty >= 0:
            paid = abs(self.qty) * self.avg_entry_price + abs(signed_qty) * price
            self.avg_entry_price = paid / abs(total)
        elif total * self.qty < 0:
            self.avg_entry_price = price
        self.qty = total


@dataclass(slots=True)
class Account:
    """`requests_used` counts since `window_start` (monotonic seconds)."""

    key_id: str
    secret: str = field(repr=False)
    cash: Decimal
    shorting_enabled: bool = False
    trading_blocked: bool = False
    behaviour: Behaviour | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    positions: dict[str, Position] = field(default_factory=dict)
    open_orders: dict[str, Order] = field(default_factory=dict)
    window_start: float = 0.0
    requests_used: int = 0

    def position_qty(self, symbol: str) -> Decimal:
        position = self.positions.get(symbol)
        return position.qty if position else _ZERO

    def held(self, symbol: str) -> Decimal:
        """Shares that open sell orders have claimed."""
        return sum((o.remaining for o in self._open("sell") if o.request.symbol == symbol), _ZERO)

    def buying_power(self, prices: dict[str, Decimal]) -> Decimal:
        """Cash, less what open buys reserve and twice the shorts' value (their proceeds are in cash)."""
        reserved = sum((o.remaining * o.reserve_price for o in self._open("buy")), _ZERO)
        shorts = sum((-p.qty * prices[s] for s, p in self.positions.items() if p.qty < 0), _ZERO)
        return max(_ZERO, self.cash - reserved - 2 * shorts)

    def check_funds(self, request: OrderRequest, price: Decimal, prices: dict[str, Decimal]) -> None:
        """Raise the vendor's 403 where buying power or shares do not suffice."""
        if self.trading_blocked:
            raise forbidden("account is blocked from trading")
        existing = self.position_qty(request.symbol)
        opening = request.qty
        if request.side == "sell" and (existing > 0 or not self.shorting_enabled):
            self._check_shares(request, existing)
            return
        if request.side == "buy" and existing < 0:
            opening = max(_ZERO, request.qty + existing)  # covering a short needs no buying power
        available = self.buying_power(prices)
        if opening * price > available:
            raise forbidden("insufficient buying power", buying_power=str(available), cost_basis=str(opening * price))

    def apply_fill(self, order: Order, qty: Decimal, price: Decimal) -> None:
        signed = qty if order.request.side == "buy" else -qty
        self.cash -= signed * price
        position = self.positions.setdefault(order.request.symbol, Position(_ZERO, price))
        position.apply(signed, price)
        if position.qty == 0:
            del self.positions[order.request.symbol]

    def _check_shares(self, request: OrderRequest, existing: Decimal) -> None:
        held = self.held(request.symbol)
        available = max(_ZERO, existing - held)
        if request.qty > available:
            raise forbidden(
                f"insufficient qty available for order (requested: {request.qty}, available: {available})",
                symbol=request.symbol,
                available=str(available),
                existing_qty=str(existing),
                held_for_orders=str(held),
                related_orders=[o.id for o in self._open("sell") if o.request.symbol == request.symbol],
            )

    def _open(self, side: str) -> list[Order]:
        return [o for o in self.open_orders.values() if o.request.side == side]

"""One account: its money by currency, positions, what open orders hold back, and its request budget."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from simulators.market.behaviour import Behaviour
from simulators.market.instruments import Instrument
from simulators.market.orders import Execution, Order, OrderRequest
from simulators.market.refusals import Reason, Refusal

_ZERO = Decimal(0)
Instruments = Mapping[str, Instrument]


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
class Usage:
    """Requests counted since `window_start` (monotonic seconds)."""

    window_start: float
    requests: int = 0


@dataclass(slots=True)
class Account:
    """`wallets` is money by currency; `positions` are keyed by what is held (`Instrument.held_as`).

    `orders` are those that the exchange still remembers, oldest first. `revoked` is a key that was taken back.
    """

    key_id: str
    secret: str = field(repr=False)
    wallets: dict[str, Decimal]
    shorting_enabled: bool = False
    trading_blocked: bool = False
    revoked: bool = False
    behaviour: Behaviour | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    open_orders: dict[str, Order] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def cash(self) -> Decimal:
        """The USD wallet."""
        return self.wallets.get("USD", _ZERO)

    def position_qty(self, held_as: str) -> Decimal:
        position = self.positions.get(held_as)
        return position.qty if position else _ZERO

    def held(self, held_as: str, instruments: Instruments) -> Decimal:
        """What open sell orders have claimed of a holding."""
        mine = (o for o in self._open("sell") if instruments[o.request.symbol].held_as == held_as)
        return sum((o.remaining for o in mine), _ZERO)

    def reserved(self, currency: str, instruments: Instruments) -> Decimal:
        """What open buys hold back of a wallet, fees included."""
        mine = (o for o in self._open("buy") if instruments[o.request.symbol].quote_currency == currency)
        return sum((o.remaining * o.reserve_price * (1 + o.fee_rate) for o in mine), _ZERO)

    def buying_power(self, instruments: Instruments, currency: str = "USD") -> Decimal:
        """The wallet, less what open buys reserve and twice the shorts' value (their proceeds are in the wallet)."""
        shorts = (
            -p.qty * price_of(held_as, instruments, currency) for held_as, p in self.positions.items() if p.qty < 0
        )
        free = self.wallets.get(currency, _ZERO) - self.reserved(currency, instruments) - 2 * sum(shorts, _ZERO)
        return max(_ZERO, free)

    def check_funds(self, request: OrderRequest, unit_cost: Decimal, instruments: Instruments) -> None:
        """Raises Refusal where money or holdings do not suffice. `unit_cost` includes fees."""
        if self.trading_blocked:
            raise Refusal(Reason.BLOCKED, "account is blocked from trading")
        instrument = instruments[request.symbol]
        if instrument.quote_currency not in self.wallets:
            raise Refusal(Reason.NO_WALLET, f"account is not available: no {instrument.quote_currency} wallet")
        existing = self.position_qty(instrument.held_as)
        opening = request.qty
        if request.side == "sell" and (existing > 0 or not self.shorting_enabled):
            self._check_holding(request, existing, instruments)
            return
        if request.side == "buy" and existing < 0:
            opening = max(_ZERO, request.qty + existing)  # covering a short needs no buying power
        available, cost = self.buying_power(instruments, instrument.quote_currency), opening * unit_cost
        if cost > available:
            raise Refusal(
                Reason.INSUFFICIENT_FUNDS, "insufficient buying power", buying_power=available, cost_basis=cost
            )

    def apply(self, order: Order, execution: Execution, instrument: Instrument) -> None:
        signed = execution.qty if order.request.side == "buy" else -execution.qty
        self.wallets[instrument.quote_currency] -= signed * execution.price + execution.fee
        position = self.positions.setdefault(instrument.held_as, Position(_ZERO, execution.price))
        position.apply(signed, execution.price)
        if position.qty == 0:
            del self.positions[instrument.held_as]

    def _check_holding(self, request: OrderRequest, existing: Decimal, instruments: Instruments) -> None:
        held_as = instruments[request.symbol].held_as
        held = self.held(held_as, instruments)
        available = max(_ZERO, existing - held)
        if request.qty > available:
            raise Refusal(
                Reason.INSUFFICIENT_QTY,
                f"insufficient qty available for order (requested: {request.qty}, available: {available})",
                symbol=request.symbol,
                available=available,
                existing_qty=existing,
                held_for_orders=held,
                related_orders=[o.id for o in self._open("sell") if instruments[o.request.symbol].held_as == held_as],
            )

    def _open(self, side: str) -> list[Order]:
        return [o for o in self.open_orders.values() if o.request.side == side]


def price_of(held_as: str, instruments: Instruments, currency: str = "USD") -> Decimal:
    """What a unit of a holding costs; in the currency where it is traded in it, else by any instrument of it."""
    of_it = [i for i in (instruments.get(held_as), *_others(held_as, instruments)) if i and i.held_as == held_as]
    if not of_it:
        raise ValueError(f"no price for {held_as!r}")
    return next((i.price for i in of_it if i.quote_currency == currency), of_it[0].price)


def _others(held_as: str, instruments: Instruments) -> list[Instrument]:
    own = instruments.get(held_as)
    if own is not None and own.held_as == held_as:
        return []  # the usual case: the symbol is what is held
    return [i for i in instruments.values() if i.held_as == held_as]

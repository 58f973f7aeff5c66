"""A venue in memory that changes money and trades, for tests of what is done with it; it counts all that it does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from adapters.brokers.alpaca import AlpacaBroker
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import Side
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
)
from domain.venues import Capabilities, Conversion, ConversionStatus, VenueFill, VenueInstrument, VenueQuote

D = Decimal
PRICE, PAR, NOTHING = D(200), D(1), D(0)


class Crash(BaseException):
    """The process is gone: no handler of ours sees it."""


@dataclass
class Exchange:
    """Sells every symbol at `price` for `currency` without a fee, and changes USD into USDC at `rate` less `fee`.

    `refuses`: codes by call, until taken away. `loses`: calls that are carried out but whose answer never comes, each
    as often as it is there. `crash_at` ends the process at these steps; every call has two, before and
    after it is carried out.
    """

    purse: dict[str, Decimal] = field(default_factory=dict)
    currency: str = "USDC"
    price: Decimal = PRICE
    rate: Decimal = PAR
    fee: Decimal = NOTHING
    pending: bool = False
    refuses: dict[str, str] = field(default_factory=dict)
    loses: list[str] = field(default_factory=list)
    crash_at: set[int] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    conversions: dict[str, Conversion] = field(default_factory=dict)
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    capabilities: Capabilities = field(
        default=replace(AlpacaBroker.capabilities, converts=True, absence_proven_after_s=0)
    )
    _step: int = -1

    async def balances(self, _credentials: BrokerCredentials) -> Mapping[str, Decimal]:
        with _Call(self, "balances"):
            return dict(self.purse)

    async def instruments(
        self, _credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        with _Call(self, "instruments"):
            return {s: VenueInstrument(s, self.currency, D("0.00000001")) for s in symbols}

    async def quotes(self, _credentials: BrokerCredentials, symbols: Sequence[str]) -> Mapping[str, VenueQuote]:
        with _Call(self, "quotes"):
            return {s: VenueQuote(s, self.price, self.price, datetime.now(UTC)) for s in symbols}

    async def quote_conversion(
        self, _credentials: BrokerCredentials, source: str, target: str, amount: Decimal
    ) -> Conversion:
        with _Call(self, "quote"):
            ref = f"conversion-{len(self.conversions) + 1}"
            fee = amount * self.rate * self.fee
            received = amount * self.rate - fee
            quoted = Conversion(ref, source, target, amount, received, fee, ConversionStatus.QUOTED)
            self.conversions[ref] = quoted
            return quoted

    async def commit_conversion(self, _credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        with _Call(self, "commit"):
            known = self.conversions[quoted.ref]
            if known.status is ConversionStatus.QUOTED:
                if self.purse.get(known.source, D(0)) < known.amount:
                    raise VenueRefused("insufficient_funds", "not enough money")
                self.purse[known.source] -= known.amount
                self.purse[known.target] = self.purse.get(known.target, D(0)) + known.received
                self.calls["moved"] += 1
                status = ConversionStatus.PENDING if self.pending else ConversionStatus.COMPLETED
                known = self.conversions[known.ref] = replace(known, status=status)
            return known

    async def look_up_conversion(self, _credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        with _Call(self, "look_up_conversion"):
            return self.conversions[quoted.ref]

    async def positions(self, _credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        return []

    async def account(self, _credentials: BrokerCredentials) -> VenueAccount:
        return VenueAccount(NOTHING, NOTHING, NOTHING)

    async def orders_since(self, _credentials: BrokerCredentials, _since: datetime) -> Sequence[AccountOrder]:
        return []

    async def cancel(self, _credentials: BrokerCredentials, _ref: str) -> None:
        return

    async def fills_since(self, _credentials: BrokerCredentials, since: datetime) -> Sequence[VenueFill]:
        self.calls["fills"] += 1
        if "fills" in self.refuses:
            raise VenueRefused(self.refuses["fills"], "the venue says no")
        at = since + timedelta(minutes=6)
        return [
            VenueFill(f"fill-{made.ref}", made.ref, "", "X", Side.BUY, made.filled_qty, self.price, at, fee=D("12.50"))
            for made in self.orders.values()
        ]

    async def submit(self, _credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        self.calls["submit"] += 1
        if (code := self.refuses.get("submit")) is not None:
            return SendOutcome(OutcomeKind.FINAL, code, "the venue says no")
        cost = order.qty * self.price
        if self.purse.get(self.currency, D(0)) < cost:
            return SendOutcome(OutcomeKind.FINAL, "insufficient_funds", "not enough money")
        self.purse[self.currency] -= cost
        assert order.client_order_id not in self.orders
        made = VenueOrder(
            "ref-" + order.client_order_id, order.client_order_id, VenueStatus.FILLED, order.qty, self.price
        )
        self.orders[order.client_order_id] = made
        return SendOutcome(OutcomeKind.ACK, "accepted", venue_order=made)

    async def look_up(self, _credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        return self.orders.get(client_order_id)

    def step(self) -> None:
        self._step += 1
        if self._step in self.crash_at:
            raise Crash


class _Call:
    """One request: it may be refused, it may be carried out without an answer, and the process may end around it."""

    def __init__(self, exchange: Exchange, name: str) -> None:
        self._exchange, self._name = exchange, name

    def __enter__(self) -> None:
        self._exchange.step()
        self._exchange.calls[self._name] += 1
        if (code := self._exchange.refuses.get(self._name)) is not None:
            raise VenueRefused(code, "the venue says no")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        self._exchange.step()
        if self._name in self._exchange.loses:
            self._exchange.loses.remove(self._name)
            raise VenueUnavailable("no_answer", "no answer in time")

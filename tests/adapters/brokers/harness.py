"""What the contract suite needs of a venue: an adapter, a simulator of the venue, and a way to make it misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, Protocol

from adapters.brokers.alpaca import AlpacaBroker
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import Broker, BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder
from simulators.alpaca import AlpacaSimulator, Behaviour, Fault, FaultKind, Life

Breakage = Literal[
    "rate_limited",
    "error",
    "error_after_booking",
    "hang",
    "hang_after_booking",
    "drop",
    "drop_after_booking",
]
TIMEOUT_MS = 400
SYMBOL = "AAPL"
SECRET = "s3cret-of-the-follower"


@dataclass
class Clock:
    """The venue's time; moves only when told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Venue(Protocol):
    """One row of the contract suite."""

    broker: Broker
    credentials: BrokerCredentials
    clock: Clock

    def break_next(self, breakage: Breakage, times: int = 1, retry_after_s: int | None = None) -> None:
        """The next new order's first `times` submissions break this way."""

    def live_next(self, *, steps: int = 1, interval_s: int = 0, delay_s: int = 0, ending: str = "filled") -> None:
        """How the next order fares once booked; other endings than `filled` come after one step of `steps`."""

    def break_reads(self, breakage: Breakage) -> None:
        """The next look-up or cancel breaks this way."""

    def trade_by_hand(self, side: Literal["buy", "sell"], qty: int) -> str:
        """The account's owner trades SYMBOL without us; the venue's id of the order."""

    def booked(self, client_order_id: str) -> int:
        """Orders in the venue's book under this id."""

    def submissions(self, client_order_id: str) -> int:
        """Submissions that reached the venue under this id."""


@dataclass
class AlpacaVenue:
    simulator: AlpacaSimulator
    broker: Broker
    credentials: BrokerCredentials
    clock: Clock = field(default_factory=Clock)

    def break_next(self, breakage: Breakage, times: int = 1, retry_after_s: int | None = None) -> None:
        fault = Fault(kind=FaultKind(breakage), times=times, retry_after_s=retry_after_s)
        self.simulator.script(Behaviour(fault=fault), count=1)

    def live_next(self, *, steps: int = 1, interval_s: int = 0, delay_s: int = 0, ending: str = "filled") -> None:
        life = Life.model_validate(
            {
                "ending": ending,
                "delay_ms": delay_s * 1_000,
                "steps": steps,
                "interval_ms": interval_s * 1_000,
                "fill_steps": 0 if ending == "filled" else 1,
            }
        )
        self.simulator.script(Behaviour(life=life), count=1)

    def break_reads(self, breakage: Breakage) -> None:
        self.simulator.fail_reads(Fault(kind=FaultKind(breakage)))

    def trade_by_hand(self, side: Literal["buy", "sell"], qty: int) -> str:
        return self.simulator.trade_by_hand("AK1", side, SYMBOL, Decimal(qty))

    def booked(self, client_order_id: str) -> int:
        return sum(int(str(row["booked"])) for row in self.simulator.orders(client_order_id))

    def submissions(self, client_order_id: str) -> int:
        return sum(int(str(row["submissions"])) for row in self.simulator.orders(client_order_id))


@asynccontextmanager
async def open_alpaca(*, dedupes: bool = True, rate_limit: int = 1_000_000) -> AsyncIterator[AlpacaVenue]:
    clock = Clock()
    async with AlpacaSimulator(rate_limit=rate_limit, dedupes=dedupes, clock=clock) as simulator:
        simulator.add_account("AK1", SECRET, positions={SYMBOL: Decimal(1_000)}, cash=Decimal(10_000_000))
        broker = AlpacaBroker(live_url=simulator.url, paper_url=simulator.url, timeout_ms=TIMEOUT_MS, clock=clock)
        try:
            yield AlpacaVenue(simulator, broker, BrokerCredentials("cred-1", "AK1", SECRET), clock)
        finally:
            await broker.close()


OPENERS: dict[str, Callable[[], AbstractAsyncContextManager[Venue]]] = {"alpaca": open_alpaca}


def child_order(client_order_id: str, **changes: Any) -> ChildOrder:
    order = ChildOrder(client_order_id, SYMBOL, Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
    return replace(order, **changes)


async def accepted(venue: Venue, order: ChildOrder) -> VenueOrder:
    outcome = await venue.broker.submit(venue.credentials, order)
    assert outcome.kind is OutcomeKind.ACK, outcome
    assert outcome.venue_order is not None
    return outcome.venue_order


async def found(venue: Venue, client_order_id: str) -> VenueOrder:
    order = await venue.broker.look_up(venue.credentials, client_order_id)
    assert order is not None
    return order

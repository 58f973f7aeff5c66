"""One row of the contract suite: a venue's adapter against its simulator."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, MarketBroker
from simulators.market import Behaviour, Fault, FaultKind, Life, Simulator
from simulators.market.orders import Order

Breakage = Literal[
    "rate_limited",
    "error",
    "error_after_booking",
    "hang",
    "hang_after_booking",
    "drop",
    "drop_after_booking",
    "slow",
    "duplicate_after_booking",
]
TIMEOUT_MS = 400
SECRET = "s3cret-of-the-follower"
PRICE = Decimal("185.25")  # of every venue's first symbol, for the tests' sums
HELD = Decimal(1_000)
CASH = Decimal(10_000_000)
SLOW_MS = 20_000  # on the venue's clock: later than any sender waits, sooner than absence is proven


@dataclass
class Clock:
    """The venue's time; moves only when told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Venue:
    """`enrol` opens one more account (CASH, HELD of `symbol`) under a key id and says how to reach it.

    `symbol` costs PRICE; `second_symbol` is another that the venue trades; `held_as` names the first one's holding in
    the simulator. `wrong` are credentials that the venue refuses, `unknown_ref` is an order id that it never gave.
    """

    simulator: Simulator
    broker: MarketBroker
    clock: Clock
    enrol: Callable[[str], BrokerCredentials]
    wrong: BrokerCredentials
    symbol: str
    second_symbol: str
    held_as: str
    unknown_ref: str = "00000000-0000-4000-8000-000000000000"
    credentials: BrokerCredentials = field(init=False)

    def __post_init__(self) -> None:
        self.simulator.set_instrument(self.symbol, PRICE)
        self.credentials = self.enrol("AK1")

    def order(self, client_order_id: str, **changes: Any) -> ChildOrder:
        """A market order to buy ten of the first symbol, unless told otherwise."""
        order = ChildOrder(client_order_id, self.symbol, Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
        return replace(order, **changes)

    def break_next(self, breakage: Breakage, times: int = 1, retry_after_s: int | None = None) -> None:
        """The next new order's first `times` submissions break this way."""
        self.simulator.script(Behaviour(fault=fault(breakage, times, retry_after_s)), count=1)

    def live_next(
        self, *, steps: int = 1, interval_s: int = 0, delay_s: int = 0, ending: str = "filled", **more: int
    ) -> None:
        """How the next order fares once booked; other endings than `filled` come after one step of `steps`."""
        self.simulator.script(
            Behaviour(life=life(steps=steps, interval_s=interval_s, delay_s=delay_s, ending=ending, **more)), count=1
        )

    def break_reads(self, breakage: Breakage, times: int = 1) -> None:
        """The next look-ups or cancels break this way."""
        self.simulator.fail_reads(fault(breakage, times))

    def foresee(self, credentials: BrokerCredentials, client_order_id: str, behaviour: Behaviour) -> None:
        """What becomes of the account's order under this id, which nobody has sent yet."""
        exchange = self.simulator.exchange
        self.simulator.script(behaviour, account=credentials.key_id, count=1)
        exchange.tally(exchange.accounts[credentials.key_id], client_order_id, self.symbol)

    def trade_by_hand(self, side: Literal["buy", "sell"], qty: int) -> str:
        """The account's owner trades `symbol` without us; the venue's id of the order."""
        return self.simulator.trade_by_hand(self.credentials.key_id, side, self.symbol, Decimal(qty))

    def booked(self, client_order_id: str) -> int:
        """Orders in the venue's book under this id."""
        return sum(int(str(row["booked"])) for row in self.simulator.orders(client_order_id))

    def submissions(self, client_order_id: str) -> int:
        """Submissions that reached the venue under this id."""
        return sum(int(str(row["submissions"])) for row in self.simulator.orders(client_order_id))

    def truth(self, credentials: BrokerCredentials, client_order_id: str) -> list[Order]:
        """The orders that the venue really has under this id."""
        account = self.simulator.exchange.accounts[credentials.key_id]
        orders = self.simulator.exchange.orders_of(account)
        return [order for order in orders if order.request.client_order_id == client_order_id]


def fault(breakage: Breakage, times: int = 1, retry_after_s: int | None = None) -> Fault:
    delay_ms = SLOW_MS if breakage == "slow" else 0
    return Fault(kind=FaultKind(breakage), times=times, retry_after_s=retry_after_s, delay_ms=delay_ms)


def life(*, steps: int = 1, interval_s: int = 0, delay_s: int = 0, ending: str = "filled", **more: int) -> Life:
    return Life.model_validate(
        {
            "ending": ending,
            "delay_ms": delay_s * 1_000,
            "steps": steps,
            "interval_ms": interval_s * 1_000,
            "fill_steps": 0 if ending == "filled" else 1,
        }
        | more
    )

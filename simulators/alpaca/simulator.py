"""Puts the parts together and runs them on a loopback port."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Literal, Self

from aiohttp import web
from pydantic import SecretStr

from simulators.alpaca.behaviour import Behaviour, Fault
from simulators.alpaca.control import AccountSpec, AssetSpec, BehaviourSpec, Control, ReadFaultSpec, TradeSpec
from simulators.alpaca.exchange import Exchange
from simulators.alpaca.faults import FaultPlayer
from simulators.alpaca.gate import Gate
from simulators.alpaca.market_data import MarketDataRoutes
from simulators.alpaca.routes import VendorRoutes

_MAX_BODY = 1_000_000


class AlpacaSimulator:
    """`async with AlpacaSimulator(port=0) as sim`: `sim.url` is the base URL for live and paper alike.

    `rate_limit` is requests per minute and account; `clock` (monotonic seconds) drives fills and the rate limit's
    window; `dedupes=False` lets a second order through under the same client order id.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        rate_limit: int = 200,
        dedupes: bool = True,
        clock: Callable[[], float] = time.monotonic,
        max_orders: int = 100_000,
    ) -> None:
        self.exchange = Exchange(clock, dedupes=dedupes, max_orders=max_orders)
        self._faults = FaultPlayer()
        self._gate = Gate(self.exchange, self._faults, rate_limit)
        self._routes = VendorRoutes(self.exchange, self._faults)
        self.control = Control(self.exchange, self._gate)
        self._port = port
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        app = web.Application(middlewares=[self._gate.middleware], client_max_size=_MAX_BODY)
        app.add_routes([*self._routes.table(), *MarketDataRoutes(self.exchange).table(), *self.control.table()])
        # Cancelling on disconnect frees a hanging request as soon as its client gives up.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        except OSError:
            await self.close()
            raise
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        self._routes.stop_booking()
        await self._faults.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def add_account(
        self,
        key_id: str,
        secret: str,
        *,
        cash: Decimal = Decimal(100_000),
        positions: Mapping[str, Decimal] | None = None,
        behaviour: Behaviour | None = None,
        shorting_enabled: bool = False,
        trading_blocked: bool = False,
    ) -> None:
        self.control.add_account(
            AccountSpec(
                key_id=key_id,
                secret=SecretStr(secret),
                cash=cash,
                positions=dict(positions or {}),
                behaviour=behaviour,
                shorting_enabled=shorting_enabled,
                trading_blocked=trading_blocked,
            )
        )

    def set_asset(
        self, symbol: str, price: Decimal, *, fractionable: bool = True, tradable: bool = True,
        traded_at: datetime | None = None,
    ) -> None:  # fmt: skip
        self.control.set_asset(
            AssetSpec(symbol=symbol, price=price, fractionable=fractionable, tradable=tradable, traded_at=traded_at)
        )

    def script(
        self,
        behaviour: Behaviour,
        *,
        account: str | None = None,
        symbol: str | None = None,
        count: int | None = None,
    ) -> None:
        """For the next `count` new orders (of `account`), else all of an account or symbol, else every order."""
        self.control.set_behaviour(BehaviourSpec(behaviour=behaviour, account=account, symbol=symbol, count=count))

    def trade_by_hand(self, account: str, side: Literal["buy", "sell"], symbol: str, qty: Decimal) -> str:
        """What the account's owner does without us; the id of the order. Raises ValueError where it is refused."""
        return self.control.trade(TradeSpec(account=account, side=side, symbol=symbol, qty=qty))

    def fail_reads(self, fault: Fault) -> None:
        """Break the next `fault.times` look-ups, lists and cancels."""
        self.control.fail_reads(ReadFaultSpec(fault=fault))

    def orders(self, client_order_id: str | None = None) -> Sequence[dict[str, object]]:
        return self.control.orders(client_order_id)

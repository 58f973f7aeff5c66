"""Puts a venue's parts together and runs them on a loopback port."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from pydantic import SecretStr

from simulators.market.behaviour import Behaviour, Fault, FaultKind
from simulators.market.control import (
    AccountSpec,
    BehaviourSpec,
    Control,
    InstrumentSpec,
    OutageSpec,
    ReadFaultSpec,
    RevocationSpec,
    StreamFaultSpec,
    TradeSpec,
)
from simulators.market.desk import Desk
from simulators.market.exchange import Exchange
from simulators.market.faults import FaultPlayer
from simulators.market.gate import Gate
from simulators.market.instruments import Instrument
from simulators.market.wire import Wire

_MAX_BODY = 1_000_000
_PULSE_S = 0.02


class Simulator:
    """`async with …Simulator(port=0) as sim`: `sim.url` is the base URL for live and paper alike.

    A vendor's subclass makes the exchange and the wire; everything that is told to the simulator is here. While
    somebody listens to an account, what is due on its orders happens without being asked for.
    """

    def __init__(
        self, port: int, exchange: Exchange, wire: Callable[[Exchange, Desk], Wire], *, template: Instrument
    ) -> None:
        self.exchange = exchange
        self._faults = FaultPlayer(exchange.clock)
        self._desk = Desk(exchange, self._faults)
        self._wire = wire(exchange, self._desk)
        self._gate = Gate(exchange, self._faults, self._wire)
        self.control = Control(exchange, self._gate, template)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._pulse: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        app = web.Application(middlewares=[self._gate.middleware], client_max_size=_MAX_BODY)
        app.add_routes([*self._wire.table(), *self.control.table()])
        # Cancelling on disconnect frees a hanging request as soon as its client gives up.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await self.open_port()
        except OSError:
            await self.close()
            raise
        self._pulse = asyncio.create_task(self._beat())

    async def open_port(self) -> None:
        """Listen (again, on the same port, after `close_port`)."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def close_port(self) -> None:
        """Until `open_port`, connections are refused, and those that were open are cut; the book stays."""
        self.exchange.feed.close()
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def close(self) -> None:
        self._desk.stop_booking()
        self.exchange.feed.close()
        if self._pulse is not None:
            self._pulse.cancel()
            with suppress(asyncio.CancelledError):
                await self._pulse
            self._pulse = None
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
        wallets: Mapping[str, Decimal] | None = None,
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
                wallets=dict(wallets or {}),
                positions=dict(positions or {}),
                behaviour=behaviour,
                shorting_enabled=shorting_enabled,
                trading_blocked=trading_blocked,
            )
        )

    def set_instrument(self, symbol: str, price: Decimal, **changes: Any) -> None:
        """`changes` are fields of `InstrumentSpec`; the rest stays as it is. Raises ValueError."""
        self.control.set_instrument(InstrumentSpec.model_validate({"symbol": symbol, "price": price, **changes}))

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

    def stop_failing(self) -> None:
        """Forget the scripted faults of reads."""
        self.control.stop_failing()

    def lose_events(self, count: int, account: str | None = None) -> None:
        """The next `count` events never reach the streams (of an account)."""
        self.control.fail_streams(StreamFaultSpec(account=account, drop=count))

    def end_streams(self, account: str | None = None) -> None:
        self.control.fail_streams(StreamFaultSpec(account=account, close=True))

    def go_down(self, seconds: float, how: Literal["unavailable", "drop"] = "unavailable") -> None:
        """On the simulator's clock: 503 for everything, or every connection dropped."""
        self.control.go_down(OutageSpec(seconds=seconds, how=how))

    def revoke(self, account: str, *, revoked: bool = True) -> None:
        self.control.revoke(RevocationSpec(account=account, revoked=revoked))

    def orders(self, client_order_id: str | None = None) -> Sequence[dict[str, object]]:
        return self.control.orders(client_order_id)

    @property
    def played(self) -> Mapping[tuple[str, FaultKind], int]:
        """How often each fault was met by a `submission` or a `read`."""
        return dict(self._faults.played)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_PULSE_S)
            self.exchange.settle_listened()


def serve(name: str, description: str | None, make: Callable[[int, int], Simulator], rate_limit: int) -> None:
    """A simulator's `main()`: prints one JSON line with its URL, then serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--rate-limit", type=int, default=rate_limit, help="requests per window and account")
    given = parser.parse_args()
    try:
        asyncio.run(_serve(make(given.port, given.rate_limit)))
    except OSError as error:
        sys.exit(f"cannot listen on port {given.port}: {error.strerror}")


async def _serve(simulator: Simulator) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with simulator:
        sys.stdout.write(json.dumps({"url": simulator.url}) + "\n")
        sys.stdout.flush()
        await stop.wait()

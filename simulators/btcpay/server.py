"""Puts the parts together and runs them on a loopback port."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from simulators.btcpay import control
from simulators.btcpay.delivery import Deliveries, Delivery, Webhook
from simulators.btcpay.faults import Gate, Kind
from simulators.btcpay.keeping import Keeper
from simulators.btcpay.ledger import Ledger
from simulators.btcpay.page import Pages
from simulators.btcpay.render import payment_json
from simulators.btcpay.routes import Greenfield
from simulators.btcpay.state import Clock, Invoice, Payment, Speed

_HOST = "127.0.0.1"
_LOOK_EVERY_S = 0.2


class BtcpayServer:
    """`async with BtcpayServer(...) as server`: `server.url` is what a client is given.

    `start`: the clock stands there until `advance`; none: it is real time. `folder`: what is kept there outlives the
    process, webhooks that were not taken among it. Methods raise ValueError on what cannot be.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        store_id: str = "store",
        api_key: str = "greenfield-key",
        webhooks: Sequence[Webhook] = (),
        rate: Decimal = Decimal(60_000),
        speed: Speed = Speed.MEDIUM,
        start: datetime | None = None,
        folder: Path | None = None,
    ) -> None:
        self.store_id = store_id
        self.api_key = api_key
        self.rate = rate
        self.url = ""
        self.clock = Clock(start)
        self.deliveries = Deliveries(tuple(webhooks), self.clock)
        self._keeper = Keeper(folder / "book.json" if folder else None)
        self.book = self._keeper.read(self.deliveries)
        self._ledger = Ledger(self.book, self.clock, self.deliveries.tell, self._payment_json)
        self._greenfield = Greenfield(self._ledger, self.clock, store_id, speed, lambda: self.rate, lambda: self.url)
        self._gate = Gate(api_key)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        app = web.Application(middlewares=[self._keep_first, self._gate.middleware], client_max_size=1_000_000)
        app.add_routes([*self._greenfield.table(), *Pages(self._ledger, self._changed).table(), *control.table(self)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self._port).start()
        except OSError:
            await self.close()
            raise
        self._port = self._runner.addresses[0][1]
        self.url = f"http://{_HOST}:{self._port}"
        self._tasks = [asyncio.create_task(self.deliveries.run()), asyncio.create_task(self._beat())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._keeper.write(self.book, self.deliveries)

    def invoice(self, invoice_id: str) -> Invoice:
        return self._ledger.find(invoice_id)

    def of_order(self, order_id: str) -> list[Invoice]:
        """Those that were made for it, oldest first."""
        return [invoice for invoice in self.book.invoices.values() if invoice.order_id == order_id]

    def pay(
        self, invoice_id: str, bitcoin: Decimal | None = None, *, part: Decimal = Decimal(1), rbf: bool = False
    ) -> str:
        """`bitcoin`, or `part` of what is due in all; the payment's id. It is in no block yet."""
        amount = self.invoice(invoice_id).part(part) if bitcoin is None else bitcoin
        payment = self._ledger.pay(invoice_id, amount, rbf=rbf)
        self._changed()
        return payment.id

    def mine(self, blocks: int = 1) -> None:
        self._ledger.mine(blocks)
        self._changed()

    def replace(self, payment_id: str, bitcoin: Decimal | None = None) -> str | None:
        """Its sender replaces it, by one to somewhere else or by `bitcoin` to the same invoice; that one's id."""
        made = self._ledger.replace(payment_id, bitcoin)
        self._changed()
        return made.id if made else None

    def reorganise(self, payment_id: str, *, returns: bool = False) -> None:
        """Its block is lost. `returns`: it waits for another block; else it was spent elsewhere."""
        self._ledger.reorganise(payment_id, returns=returns)
        self._changed()

    def expire(self, invoice_id: str) -> None:
        """It ends now, without the clock being moved."""
        self._ledger.expire(invoice_id)
        self._changed()

    def claim(self, pull_id: str, destination: str = "bcrt1qcustomer") -> None:
        """The customer claims a refund, and it is paid."""
        if pull_id not in self.book.pulls:
            raise ValueError(f"no pull payment {pull_id!r}")
        pull = self.book.pulls[pull_id]
        pull.claimed_at, pull.claimed_to = self.clock.now(), destination
        self._changed()

    def advance(self, by: timedelta) -> None:
        self.clock.advance(by)
        self._ledger.look_at_all()
        self._changed()

    def outage(self, *, on: bool) -> None:
        """While it is on: 503 for everything but `/_control`, and no webhook is sent."""
        self._gate.down = on
        self.deliveries.held = on
        self._changed()

    def fail(self, kind: Kind, times: int = 1) -> None:
        """The next requests. `lost`: done, and not answered."""
        self._gate.faults.extend([kind] * times)

    def set_rate(self, rate: Decimal) -> None:
        """Of invoices to come."""
        self.rate = rate

    @property
    def requests(self) -> int:
        """How many came to the vendor's paths while it was up."""
        return self._gate.requests

    def taken(self) -> list[Delivery]:
        """Take what waits for a webhook without a url."""
        found = [delivery for delivery in self.deliveries.waiting if not delivery.webhook.url]
        self.deliveries.waiting = [delivery for delivery in self.deliveries.waiting if delivery.webhook.url]
        return found

    async def delivered(self) -> None:
        """Until every webhook has been sent that is due by the clock."""
        await self.deliveries.idle()

    def _payment_json(self, invoice: Invoice, payment: Payment) -> dict[str, Any]:
        return payment_json(invoice, payment, self.book.height)

    def _changed(self) -> None:
        self._keeper.write(self.book, self.deliveries)
        self.deliveries.wake()

    @web.middleware
    async def _keep_first(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What a client was told has been written before it hears of it."""
        response = await handler(request)
        self._changed()
        return response

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._ledger.look_at_all()
            self._changed()

"""Takes a submission: counts it under its client order id, plays the fault of that id, books."""

from collections.abc import Callable

from aiohttp import web

from simulators.market.behaviour import NO_FAULT, FaultKind
from simulators.market.exchange import Exchange, Tally
from simulators.market.faults import FaultPlayer
from simulators.market.gate import ACCOUNT
from simulators.market.orders import Order, OrderRequest
from simulators.market.refusals import Reason, Refusal

Parse = Callable[[], OrderRequest]
Render = Callable[[Order], web.StreamResponse]


class Desk:
    def __init__(self, exchange: Exchange, faults: FaultPlayer) -> None:
        self._exchange = exchange
        self._faults = faults
        self._closed = False

    def stop_booking(self) -> None:
        """What is still waiting to be booked is refused."""
        self._closed = True

    async def submit(
        self, request: web.Request, client_order_id: object, symbol: object, parse: Parse, render: Render
    ) -> web.StreamResponse:
        """The vendor's answer. `parse` may raise Refusal; it runs once the fault lets the order through."""
        known_id = client_order_id if isinstance(client_order_id, str) else ""
        tally = self._exchange.tally(request[ACCOUNT], known_id, symbol)
        tally.submissions += 1
        fault = tally.behaviour.fault if tally.submissions <= tally.behaviour.fault.times else NO_FAULT

        async def late() -> web.StreamResponse:
            return render(self._book(request, parse, tally))

        self._faults.count("submission", fault)
        if fault.kind is FaultKind.SLOW:
            return await self._faults.later(fault, late)
        await self._faults.before_booking(request, fault)
        answer = render(self._book(request, parse, tally))
        await self._faults.after_booking(request, fault)
        return answer

    def _book(self, request: web.Request, parse: Parse, tally: Tally) -> Order:
        if self._closed:
            raise Refusal(Reason.BROKEN, "closing", status=503)
        return self._exchange.submit(request[ACCOUNT], parse(), tally)

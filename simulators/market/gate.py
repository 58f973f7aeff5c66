"""What every request to the venue passes first: an outage, credentials, the budget, scripted faults, error bodies."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from simulators.market.behaviour import Fault, FaultKind
from simulators.market.exchange import Exchange
from simulators.market.faults import FaultPlayer
from simulators.market.ledger import Account, Usage
from simulators.market.refusals import Reason, Refusal
from simulators.market.wire import Spent, Wire

ACCOUNT = web.RequestKey("account", Account)
MAX_READ_FAULTS = 10_000


@dataclass(frozen=True, slots=True)
class Outage:
    """Until `until` (monotonic seconds) every request is answered 503, or its connection dropped."""

    until: float
    how: Literal["unavailable", "drop"]


class Gate:
    """`read_faults` are consumed, oldest first, by requests other than order submissions."""

    def __init__(self, exchange: Exchange, faults: FaultPlayer, wire: Wire) -> None:
        self.read_faults: deque[Fault] = deque(maxlen=MAX_READ_FAULTS)
        self.outage: Outage | None = None
        self._exchange = exchange
        self._faults = faults
        self._wire = wire

    @property
    def is_down(self) -> bool:
        return self.outage is not None and self._exchange.clock() < self.outage.until

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_control"):
            return await handler(request)
        if self.is_down:
            return await self._stay_down(request)
        if not self._wire.owns(request):
            return await handler(request)
        headers: dict[str, str] = {}
        await self._faults.catch_up()
        try:
            account = request[ACCOUNT] = self._authenticate(request)
            spent = self._count(account, request)
            headers = self._wire.budget_headers(spent)
            if spent.usage.requests > spent.budget.limit:
                raise Refusal(Reason.RATE_LIMITED, "too many requests.")
            response = await self._answer(request, handler)
        except Refusal as refusal:
            response = self._refuse(refusal)
        except web.HTTPNotFound:
            response = self._wire.no_such_path()
        if not response.prepared:  # a websocket has sent its headers
            response.headers.update(headers)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._wire.is_submission(request) or not self.read_faults:
            return await handler(request)
        fault = self.read_faults.popleft()
        self._faults.count("read", fault)
        if fault.kind is FaultKind.SLOW:
            return await self._faults.later(fault, lambda: handler(request))
        await self._faults.before_booking(request, fault)
        response = await handler(request)
        await self._faults.after_booking(request, fault)
        return response

    async def _stay_down(self, request: web.Request) -> web.StreamResponse:
        assert self.outage is not None
        if self.outage.how == "drop":
            await self._faults.leave_unanswered(request)
        return self._refuse(Refusal(Reason.BROKEN, "service unavailable", status=503))

    def _authenticate(self, request: web.Request) -> Account:
        account = self._wire.authenticate(request)
        if account.revoked:
            raise Refusal(Reason.UNAUTHORIZED, "unauthorized.")
        return account

    def _count(self, account: Account, request: web.Request) -> Spent:
        budget, now = self._wire.budget(request), self._exchange.clock()
        usage = account.usage.setdefault(budget.name, Usage(now))
        if now - usage.window_start >= budget.window_s:
            usage.window_start, usage.requests = now, 0
        usage.requests += 1
        return Spent(budget, usage, budget.window_s - (now - usage.window_start))

    def _refuse(self, refusal: Refusal) -> web.Response:
        response = self._wire.refuse(refusal)
        if refusal.retry_after_s is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_s)
        return response

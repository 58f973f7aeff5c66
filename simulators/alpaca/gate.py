"""What every request to the vendor passes first: credentials, the budget, scripted read faults, error bodies."""

import hmac
import time
from collections import deque

from aiohttp import web
from aiohttp.typedefs import Handler

from simulators.alpaca.behaviour import Fault
from simulators.alpaca.errors import RATE_LIMITED, UNAUTHORIZED, RefusalError
from simulators.alpaca.exchange import Exchange
from simulators.alpaca.faults import FaultPlayer
from simulators.alpaca.ledger import Account

ACCOUNT = web.RequestKey("account", Account)
MAX_READ_FAULTS = 10_000
_WINDOW_S = 60


class Gate:
    """`read_faults` are consumed, oldest first, by requests other than order submissions."""

    def __init__(self, exchange: Exchange, faults: FaultPlayer, rate_limit: int) -> None:
        self.rate_limit = rate_limit
        self.read_faults: deque[Fault] = deque(maxlen=MAX_READ_FAULTS)
        self._exchange = exchange
        self._faults = faults

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(("/v2/", "/v1beta3/")):
            return await handler(request)
        headers: dict[str, str] = {}
        try:
            account = request[ACCOUNT] = self._authenticate(request)
            headers = self._count(account)
            if account.requests_used > self.rate_limit:
                raise RefusalError(429, RATE_LIMITED, "too many requests.")
            if request.method != "POST" and self.read_faults:
                await self._faults.before_booking(request, self.read_faults.popleft())
            response = await handler(request)
        except RefusalError as refusal:
            response = web.json_response(refusal.body, status=refusal.status)
            headers |= refusal.headers
        except web.HTTPNotFound:
            response = web.json_response({"message": "endpoint not found."}, status=404)
        response.headers.update(headers)
        return response

    def _authenticate(self, request: web.Request) -> Account:
        account = self._exchange.accounts.get(request.headers.get("APCA-API-KEY-ID", ""))
        secret = request.headers.get("APCA-API-SECRET-KEY", "")
        if account is None or not hmac.compare_digest(account.secret.encode(), secret.encode()):
            raise RefusalError(401, UNAUTHORIZED, "unauthorized.")
        return account

    def _count(self, account: Account) -> dict[str, str]:
        now = self._exchange.clock()
        if account.requests_used == 0 or now - account.window_start >= _WINDOW_S:
            account.window_start, account.requests_used = now, 0
        account.requests_used += 1
        return {
            "X-Ratelimit-Limit": str(self.rate_limit),
            "X-Ratelimit-Remaining": str(max(0, self.rate_limit - account.requests_used)),
            "X-Ratelimit-Reset": str(int(time.time() + _WINDOW_S - (now - account.window_start)) + 1),
        }

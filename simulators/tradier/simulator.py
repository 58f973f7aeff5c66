"""The simulated venue: Tradier's shares on the market, behind Tradier's wire."""

import itertools
import time
from collections.abc import Callable
from decimal import Decimal

from simulators.market.desk import Desk
from simulators.market.exchange import Duplicates, Exchange
from simulators.market.instruments import Instrument
from simulators.market.server import Simulator
from simulators.tradier.oauth import OAuthRoutes
from simulators.tradier.wire import TradierWire

RATE_LIMIT = 60
CLIENT_ID, CLIENT_SECRET = "simulated-application", "simulated-secret"
_FIRST_ID = 1_000_001
_PRICES = {"AAPL": "185.25", "MSFT": "410.10", "NVDA": "121.40", "SPY": "512.75", "TSLA": "242.00"}


class TradierSimulator(Simulator):
    """An account's key id is its number, its secret the access token. A tag that comes twice is booked twice, as the
    vendor promises nothing else. `clock` (monotonic seconds) drives fills, sessions and the windows of budgets.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        rate_limit: int = RATE_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        heartbeat_s: float = 60,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        max_orders: int = 100_000,
    ) -> None:
        numbers = itertools.count(_FIRST_ID)
        exchange = Exchange(
            clock,
            [_share(symbol, Decimal(price)) for symbol, price in _PRICES.items()],
            duplicates=Duplicates.BOOK,
            new_id=lambda: str(next(numbers)),
            max_orders=max_orders,
        )
        self._oauth = OAuthRoutes(exchange, client_id, client_secret)

        def wire(exchange: Exchange, desk: Desk) -> TradierWire:
            return TradierWire(exchange, desk, self._oauth, rate_limit=rate_limit, heartbeat_s=heartbeat_s)

        super().__init__(port, exchange, wire, template=_share("", Decimal(1)))

    def grant_refresh(self, account: str, refresh_token: str) -> None:
        """The token may be exchanged once for new credentials of the account. Raises ValueError."""
        self._oauth.grant(account, refresh_token)

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws", 1)


def _share(symbol: str, price: Decimal) -> Instrument:
    return Instrument(symbol, price, qty_step=Decimal(1), min_qty=Decimal(1))

"""The simulated venue: Alpaca's instruments on the market, behind Alpaca's wire."""

import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from simulators.alpaca.wire import AlpacaWire
from simulators.market.exchange import Duplicates, Exchange
from simulators.market.instruments import Instrument
from simulators.market.server import Simulator

RATE_LIMIT = 200
_PRICES = {"AAPL": "185.25", "MSFT": "410.10", "NVDA": "121.40", "SPY": "512.75", "TSLA": "242.00"}
_FINE, _WHOLE = Decimal("0.000000001"), Decimal(1)


class AlpacaSimulator(Simulator):
    """`rate_limit` is requests per minute and account; `clock` (monotonic seconds) drives fills and the rate limit's
    window; `dedupes=False` lets a second order through under the same client order id.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        rate_limit: int = RATE_LIMIT,
        dedupes: bool = True,
        clock: Callable[[], float] = time.monotonic,
        max_orders: int = 100_000,
    ) -> None:
        exchange = Exchange(
            clock,
            [Instrument(symbol, Decimal(price), qty_step=_FINE) for symbol, price in _PRICES.items()],
            duplicates=Duplicates.REFUSE if dedupes else Duplicates.BOOK,
            max_orders=max_orders,
        )
        template = Instrument("", Decimal(1), qty_step=_FINE)
        super().__init__(port, exchange, lambda e, desk: AlpacaWire(e, desk, rate_limit), template=template)

    def set_asset(
        self, symbol: str, price: Decimal, *, fractionable: bool = True, tradable: bool = True,
        traded_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """An instrument in the vendor's terms."""
        step = _FINE if fractionable else _WHOLE
        self.set_instrument(symbol, price, qty_step=step, tradable=tradable, traded_at=traded_at)

"""The simulated venue: Coinbase's products on the market, behind Coinbase's wire."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal

from simulators.coinbase.conversions import ConversionSpec
from simulators.coinbase.wire import CoinbaseWire
from simulators.market.desk import Desk
from simulators.market.exchange import Duplicates, Exchange
from simulators.market.instruments import Instrument
from simulators.market.server import Simulator

RATE_LIMIT = 30
_FINE, _CENT = Decimal("0.00000001"), Decimal("0.01")
_PRICES = {"BTC": "61000.00", "ETH": "3000.00", "SOL": "150.00"}


def _product(symbol: str, price: str = "1") -> Instrument:
    base, _, quote = symbol.partition("-")
    return Instrument(
        symbol,
        Decimal(price),
        base,
        quote,
        qty_step=_FINE,
        price_step=_CENT,
        min_qty=_FINE,
        min_notional=Decimal(1),
    )


class CoinbaseSimulator(Simulator):
    """`rate_limit` is requests per second and account; `clock` (monotonic seconds) drives fills and the rate limit's
    window. A second order under a client order id is booked: that the vendor refuses it is unproven, and so a test sees
    who sends twice.

    An account's secret is its private key in PEM, or the public one.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        rate_limit: int = RATE_LIMIT,
        duplicates: Duplicates = Duplicates.BOOK,
        fee_rate: Decimal = Decimal(0),
        clock: Callable[[], float] = time.monotonic,
        max_orders: int = 100_000,
    ) -> None:
        products = [_product(f"{base}-{quote}", price) for base, price in _PRICES.items() for quote in ("USD", "USDC")]
        exchange = Exchange(clock, products, duplicates=duplicates, fee_rate=fee_rate, max_orders=max_orders)
        self._made: CoinbaseWire | None = None

        def make(exchange: Exchange, desk: Desk) -> CoinbaseWire:
            self._made = CoinbaseWire(exchange, desk, rate_limit)
            return self._made

        super().__init__(port, exchange, make, template=_product("BTC-USD"))

    @property
    def stream_url(self) -> str:
        return self.url.replace("http://", "ws://") + "/"

    def set_product(self, symbol: str, price: Decimal, **changes: object) -> None:
        """`BTC-USD`: base and quote currency are read from the name. Raises ValueError."""
        base, _, quote = symbol.partition("-")
        self.set_instrument(symbol, price, **{"base": base, "quote_currency": quote, **changes})

    def set_conversions(
        self, *, usdc_price: Decimal = Decimal(1), fee_bps: Decimal = Decimal(0), lost_answers: int = 0
    ) -> None:
        """What one USDC is worth in USD, what of it a conversion costs, and how many of them lose their answer."""
        assert self._made is not None
        spec = ConversionSpec(usdc_price=usdc_price, fee_bps=fee_bps, lost_answers=lost_answers)
        self._made.conversions.terms = spec

    def conversions(self, account: str) -> Sequence[str]:
        """The ids of those that moved money of the account."""
        assert self._made is not None
        return tuple(self._made.conversions.commits.get(account, ()))

"""What can be traded at a simulated venue, and what it refuses to take of it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from simulators.market.orders import OrderRequest
from simulators.market.refusals import Reason, Refusal


@dataclass(frozen=True, slots=True)
class Instrument:
    """One price, unlimited liquidity. `base` is what is held after a buy; two symbols may share it.

    `price` is in quote currency and that of the last trade too, at `traded_at` (None: just now). Steps and minimums
    of None are not checked. The flags are the venue's: `halted` takes no orders, `cancel_only` only cancels.
    """

    symbol: str
    price: Decimal
    base: str = ""
    quote_currency: str = "USD"
    qty_step: Decimal | None = None
    price_step: Decimal | None = None
    min_qty: Decimal | None = None
    min_notional: Decimal | None = None
    tradable: bool = True
    halted: bool = False
    cancel_only: bool = False
    limit_only: bool = False
    post_only: bool = False
    traded_at: datetime | None = None

    @property
    def held_as(self) -> str:
        return self.base or self.symbol

    def check(self, request: OrderRequest) -> None:
        """Raises Refusal for an order that the instrument does not take now or never."""
        self._check_flags(request)
        self._check_size(request)

    def _check_flags(self, request: OrderRequest) -> None:
        if self.halted or not self.tradable:
            raise Refusal(Reason.HALTED, f"{self.symbol} is not tradable")
        if self.cancel_only:
            raise Refusal(Reason.CANCEL_ONLY, f"{self.symbol} is in cancel only mode")
        if request.limit_price is None and (self.limit_only or self.post_only):
            raise Refusal(Reason.LIMIT_ONLY, f"{self.symbol} takes limit orders only")
        if self.post_only and not request.post_only:
            raise Refusal(Reason.POST_ONLY, f"{self.symbol} takes post only orders")
        if request.post_only and request.is_marketable(self.price):
            raise Refusal(Reason.POST_ONLY, "a post only order must not take liquidity")

    def _check_size(self, request: OrderRequest) -> None:
        limit = request.limit_price
        if self.qty_step is not None and request.qty % self.qty_step:
            raise Refusal(Reason.QTY_STEP, f"the quantity is no multiple of {self.qty_step}")
        if self.price_step is not None and limit is not None and limit % self.price_step:
            raise Refusal(Reason.PRICE_STEP, f"the price is no multiple of {self.price_step}")
        if self.min_qty is not None and request.qty < self.min_qty:
            raise Refusal(Reason.BELOW_MIN_QTY, f"the quantity is below {self.min_qty}")
        if self.min_notional is not None and request.qty * (limit or self.price) < self.min_notional:
            raise Refusal(Reason.BELOW_MIN_NOTIONAL, f"the value is below {self.min_notional}")

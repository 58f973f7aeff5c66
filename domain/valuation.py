"""What a portfolio is worth: cash and positions at the last known prices, or why it cannot be told (SPEC section 5.3).

Money is in USD, quantities are signed units, prices are per unit. One function for admission, marks and preview.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext

# Wide enough that no product or sum of what venues send is rounded; the ambient context must not matter.
_CONTEXT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Holding:
    """A position with the last price known of its symbol, and the time which that price is of."""

    symbol: str
    qty: Decimal
    price: Decimal | None
    asof: datetime | None


@dataclass(frozen=True, slots=True)
class Valuation:
    """`nav_usd` is None where cash is not known or a held symbol is `missing` a price; `stale` ones count as they are.

    `price_asof` is the time of the oldest price in it; None where nothing is held.
    """

    nav_usd: Decimal | None
    price_asof: datetime | None
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether anything may be decided by it."""
        return self.nav_usd is not None and not self.stale


def value(cash: Decimal | None, holdings: Iterable[Holding], now: datetime, max_age: timedelta) -> Valuation:
    """Cash plus positions. A price is stale when it is older than `max_age` at `now`, both aware."""
    held = sorted((h for h in holdings if h.qty), key=lambda h: h.symbol)
    missing = tuple(h.symbol for h in held if h.price is None or h.asof is None)
    times = [h.asof for h in held if h.asof is not None]
    stale = tuple(h.symbol for h in held if h.asof is not None and now - h.asof > max_age)
    nav = None
    if cash is not None and not missing:
        with localcontext(_CONTEXT):
            nav = sum((h.qty * h.price for h in held if h.price is not None), cash)
    return Valuation(nav, min(times, default=None), missing, stale)


def moved_bps(before: Decimal, after: Decimal) -> Decimal | None:
    """By how much a NAV has moved, in basis points of what it was; None from a NAV that was not above zero."""
    if before <= 0:
        return None
    with localcontext(_CONTEXT):
        return abs(after - before) / before * 10_000

"""What a trading venue is and tells: its capabilities, instruments, quotes, fills and conversions."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.orders import Side


class Sessions(StrEnum):
    """When a venue trades."""

    EXCHANGE = "exchange"  # its instruments' exchange calendars
    CONTINUOUS = "continuous"  # at all times


class Flag(StrEnum):
    """What a venue says of an instrument that limits what may be sent; none of them: it trades as usual."""

    HALTED = "halted"  # no orders at all
    CANCEL_ONLY = "cancel_only"
    LIMIT_ONLY = "limit_only"
    POST_ONLY = "post_only"
    CLOSE_ONLY = "close_only"  # reductions only


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a venue can do; the orchestrator reads it instead of knowing vendors.

    `absence_proven_after_s`: a look-up that finds nothing proves that the venue has nothing only when the attempt ended
    at least so long ago. Zero where a second order under the same id is refused anyway, so that sending again is safe.
    `requests_per_min` is what the venue grants an account until its headers say otherwise.
    """

    venue: str
    rail: str
    fractional: bool
    notional: bool
    client_id_dedupes: bool  # the venue promises to refuse a second order under the same client id
    looks_up_by_client_id: bool  # one request finds the order under our id; else it is searched for
    absence_proven_after_s: int
    streams: bool
    cancels: bool
    replaces: bool
    crosses_zero: bool  # one order may turn a long position into a short one
    sessions: Sessions
    increments: str  # in words: where quantity and price steps come from
    converts: bool  # between USD and USDC
    requests_per_min: int
    itemises_fills: bool = True  # tells each execution; else only an order's sum and average, once it is over


@dataclass(frozen=True, slots=True)
class VenueInstrument:
    """A symbol at a venue. Steps and minimums are above zero, in units of the symbol or in quote currency; None: the
    venue sets none."""

    symbol: str
    quote_currency: str
    qty_step: Decimal
    price_step: Decimal | None = None
    min_qty: Decimal | None = None
    min_notional: Decimal | None = None
    shortable: bool = False
    flags: frozenset[Flag] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class VenueQuote:
    """The best prices at `asof` (aware, UTC), in the instrument's quote currency; None where nobody bids or asks."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    asof: datetime


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One execution. `fill_id` is the venue's; `client_order_id` is empty where the venue does not tell it.

    `qty` is this fill alone; `fee` is in quote currency.
    """

    fill_id: str
    ref: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    at: datetime
    fee: Decimal | None = None


class ConversionStatus(StrEnum):
    QUOTED = "quoted"
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Conversion:
    """Money changed from one currency of an account into another. `received` and `fee` are in the target's units."""

    ref: str
    source: str
    target: str
    amount: Decimal
    received: Decimal
    fee: Decimal
    status: ConversionStatus
    reason: str = ""


_DOLLARS = frozenset({"USD", "USDC"})


def dollar_coin(symbol: str) -> str | None:
    """The coin of a pair against dollars (`BTC` of `BTC-USD` and of `BTC-USDC`, which share a book); else None."""
    base, _, quote = symbol.rpartition("-")
    return base if base and quote in _DOLLARS else None

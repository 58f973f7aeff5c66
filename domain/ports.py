"""Protocols with more than one implementation, and the values that cross them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from domain.orders import OrderType, Side, TimeInForce
from domain.venues import Capabilities, Conversion, VenueFill, VenueInstrument, VenueQuote

# Asked immediately before something leaves: None, or in words why it may not (a kill that came after the claim).
Refused = Callable[[], str | None]
STOPPED = "stopped_before_send"


class OutcomeKind(StrEnum):
    """What one attempt to send an order proved."""

    ACK = "ack"  # the other side has it
    RETRYABLE = "retryable"  # the other side provably does not have it; try again
    FINAL = "final"  # the other side refused it for good
    AMBIGUOUS = "ambiguous"  # sent, no usable answer: it may or may not have it


class VenueStatus(StrEnum):
    """A broker order's state in our words; every adapter maps its vendor's states onto these."""

    WORKING = "working"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """What a venue says of one order. `filled_qty` is cumulative; `avg_price` is its average price."""

    ref: str
    client_order_id: str
    status: VenueStatus
    filled_qty: Decimal = Decimal(0)
    avg_price: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AccountOrder:
    """An order of an account, ours or the follower's own: what reconciliation explains a position by.

    `qty` is None where the order was given as an amount of money.
    """

    order: VenueOrder
    symbol: str
    side: Side
    qty: Decimal | None
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class VenuePosition:
    """What an account holds of a symbol. `qty` is signed; `price` is the venue's present one, in USD."""

    symbol: str
    qty: Decimal
    avg_price: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """An account's money in USD. `buying_power` is what new orders may cost, open ones already taken off."""

    equity: Decimal
    cash: Decimal
    buying_power: Decimal


@dataclass(frozen=True, slots=True)
class ReportedFill:
    """A fill that a webhook receiver reports in its answer. `qty` is this fill alone, not cumulative."""

    fill_id: str
    qty: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The result of one attempt. `detail` is at most 500 characters and never holds a secret.

    `retry_after_s` is what the other side asked for; `disable_endpoint` is set on 410 Gone.
    """

    kind: OutcomeKind
    code: str
    detail: str = ""
    http_status: int | None = None
    retry_after_s: int | None = None
    disable_endpoint: bool = False
    venue_order: VenueOrder | None = None
    fills: tuple[ReportedFill, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One signed POST. `headers` already carry the signatures; `delivery_id` is stable over attempts.

    `refused` is asked immediately before the first byte of the body.
    """

    url: str
    body: bytes
    headers: Mapping[str, str]
    delivery_id: str
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class BrokerCredentials:
    """Decrypted only where it is used. Secrets are kept out of repr.

    `refresh_token` and `expires_at` (aware, UTC) are those of an access token that does not last.
    """

    ref: str
    key_id: str
    secret: str = field(repr=False)
    environment: str = "paper"
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChildOrder:
    """An order as a broker should receive it. `client_order_id` is the `fo_id`.

    `closes`: it makes smaller what the account holds, and never turns it round; None: that is not known.
    """

    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    order_type: OrderType
    tif: TimeInForce
    limit_price: Decimal | None = None
    closes: bool | None = None


@dataclass(frozen=True, slots=True)
class PriceQuote:
    """What one unit of a symbol cost in USD at `asof` (aware, UTC), and who says so."""

    price: Decimal
    asof: datetime
    source: str


class WebhookSender(Protocol):
    async def send(self, request: WebhookRequest) -> SendOutcome:
        """POST once. Never raises for anything the network or the receiver does."""
        ...


class Broker(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        """Send once; never raises for what the venue or the network does. A duplicate id is AMBIGUOUS (look it up)."""
        ...

    async def look_up(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        """The venue's order under our id; None only where the venue provably has none.

        Raises VenueUnavailable or VenueRefused.
        """
        ...

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        """Ask for a cancel; a terminal order is no error. Raises VenueUnavailable or VenueRefused."""
        ...

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        """All that the account holds; what is not there is not held. Raises VenueUnavailable or VenueRefused."""
        ...

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        """Raises VenueUnavailable or VenueRefused."""
        ...

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        """Every order submitted after an aware time, whoever submitted it, oldest first.

        Raises VenueUnavailable (also where there are more than the adapter reads) or VenueRefused.
        """
        ...


class MarketBroker(Broker, Protocol):
    """What every adapter tells besides of its venue's instruments and prices, and of an account's fills and money."""

    async def instruments(
        self, credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        """Those of the symbols that the venue knows. Raises VenueUnavailable or VenueRefused."""
        ...

    async def quotes(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> Mapping[str, VenueQuote]:
        """Those of the symbols that the venue quotes. Raises VenueUnavailable or VenueRefused."""
        ...

    async def fills_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[VenueFill]:
        """Every execution after an aware time, oldest first.

        Raises VenueUnavailable (also where there are more than the adapter reads) or VenueRefused.
        """
        ...

    async def balances(self, credentials: BrokerCredentials) -> Mapping[str, Decimal]:
        """What may be spent by currency, open orders taken off. Raises VenueUnavailable or VenueRefused."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A venue that reports orders as they change. Never the only source: what a stream loses, a look-up finds."""

    def reports(self, credentials: BrokerCredentials) -> AsyncIterator[VenueOrder | None]:
        """One connection's reports until it breaks; the first is None: from now on nothing is missed.

        `filled_qty` is cumulative. Reports of orders that are not ours come too. Raises VenueUnavailable when the
        connection ends or is silent for too long, VenueRefused where the credentials are.
        """
        ...


@runtime_checkable
class Converting(Protocol):
    """A venue that changes one currency of an account into another."""

    async def quote_conversion(
        self, credentials: BrokerCredentials, source: str, target: str, amount: Decimal
    ) -> Conversion:
        """What `amount` of `source` would bring, and the reference to commit it by; moves nothing.

        Raises VenueUnavailable or VenueRefused.
        """
        ...

    async def commit_conversion(self, credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        """Carry out a quoted conversion; a second commit of the same reference moves nothing more.

        Raises VenueUnavailable (then look it up) or VenueRefused.
        """
        ...

    async def look_up_conversion(self, credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        """Where it stands. Raises VenueUnavailable or VenueRefused."""
        ...


@runtime_checkable
class Refreshing(Protocol):
    """A venue whose access tokens expire and are exchanged for new ones without the account's owner."""

    async def refresh(self, credentials: BrokerCredentials) -> BrokerCredentials:
        """New credentials of the same account; `refresh_token` is the old one where the venue gives no other.

        Asks once, as a refresh token may be good for one exchange only. Raises VenueUnavailable, VenueRefused.
        """
        ...


@runtime_checkable
class MoneyBroker(MarketBroker, Converting, Protocol):
    """A venue whose accounts hold money of several currencies."""


class PriceSource(Protocol):
    async def latest(self, symbols: Sequence[str]) -> Mapping[str, PriceQuote]:
        """The last known prices of those symbols that the source knows.

        Raises VenueUnavailable, VenueRefused or InvalidInput; then nothing of this reading may be used.
        """
        ...

"""What the server keeps: invoices, payments on the chain, pull payments. Bitcoin and money as `Decimal`, times UTC."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Any

METHOD = "BTC-CHAIN"
_SATOSHI, _CENT = Decimal("0.00000001"), Decimal("0.01")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_ID_LENGTH, _ADDRESS_LENGTH = 22, 38


class Status(StrEnum):
    NEW = "New"
    PROCESSING = "Processing"
    SETTLED = "Settled"
    EXPIRED = "Expired"
    INVALID = "Invalid"


class Why(StrEnum):
    """The vendor's `additionalStatus`."""

    NONE = "None"
    PAID_PARTIAL = "PaidPartial"
    PAID_OVER = "PaidOver"
    PAID_LATE = "PaidLate"
    MARKED = "Marked"
    INVALID = "Invalid"


class PaymentStatus(StrEnum):
    PROCESSING = "Processing"
    SETTLED = "Settled"
    INVALID = "Invalid"


class Speed(StrEnum):
    HIGH = "HighSpeed"
    MEDIUM = "MediumSpeed"
    LOW_MEDIUM = "LowMediumSpeed"
    LOW = "LowSpeed"

    def confirmations(self, *, rbf: bool) -> int:
        """How many blocks a payment must be in; one that says it may be replaced is never taken without one."""
        return {Speed.HIGH: int(rbf), Speed.MEDIUM: 1, Speed.LOW_MEDIUM: 2, Speed.LOW: 6}[self]


class Clock:
    """`start`: it stands there until it is moved; none: real time, and what it was moved by on top."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start
        self._ahead = timedelta()

    def now(self) -> datetime:
        return (self._start or datetime.now(UTC)) + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by


@dataclass(slots=True)
class Payment:
    """`block`: the height at which it was mined. `gone`: replaced, or spent elsewhere after a reorganisation."""

    id: str
    value: Decimal
    received_at: datetime
    destination: str
    rbf: bool = False
    block: int | None = None
    gone: bool = False
    told_settled: bool = False

    def status(self, height: int, speed: Speed) -> PaymentStatus:
        if self.gone:
            return PaymentStatus.INVALID
        confirmations = 0 if self.block is None else height - self.block + 1
        enough = confirmations >= speed.confirmations(rbf=self.rbf)
        return PaymentStatus.SETTLED if enough else PaymentStatus.PROCESSING


@dataclass(slots=True)
class Invoice:
    """`rate`: the currency's units for one bitcoin, locked. `tolerance`: per cent that may be missing."""

    id: str
    store_id: str
    amount: Decimal
    currency: str
    rate: Decimal
    speed: Speed
    destination: str
    created_at: datetime
    expires_at: datetime
    watched_until: datetime
    tolerance: Decimal = Decimal(0)
    metadata: dict[str, Any] = field(default_factory=dict)
    checkout: dict[str, Any] = field(default_factory=dict)
    status: Status = Status.NEW
    why: Why = Why.NONE
    archived: bool = False
    payments: list[Payment] = field(default_factory=list)

    @property
    def order_id(self) -> str | None:
        found = self.metadata.get("orderId")
        return None if found is None else str(found)

    @property
    def due(self) -> Decimal:
        """The whole amount in bitcoin."""
        return (self.amount / self.rate).quantize(_SATOSHI, rounding=ROUND_UP)

    def part(self, share: Decimal) -> Decimal:
        """Of the whole, in bitcoin; upwards, so that two halves are all of it."""
        return (self.due * share).quantize(_SATOSHI, rounding=ROUND_UP)

    @property
    def paid(self) -> Decimal:
        """In bitcoin, whatever its confirmations."""
        return sum((p.value for p in self.payments if not p.gone), Decimal(0))

    @property
    def paid_amount(self) -> Decimal:
        """In the invoice's currency."""
        return (self.paid * self.rate).quantize(_CENT)

    def settled(self, height: int) -> Decimal:
        wanted = PaymentStatus.SETTLED
        return sum((p.value for p in self.payments if p.status(height, self.speed) is wanted), Decimal(0))

    def is_met_by(self, bitcoin: Decimal) -> bool:
        return bitcoin > 0 and bitcoin >= self.due * (100 - self.tolerance) / 100


@dataclass(slots=True)
class PullPayment:
    """What a customer may claim to an address of his own; `claimed_at`: when he did, and was paid."""

    id: str
    name: str
    description: str
    amount: Decimal
    currency: str
    invoice_id: str
    created_at: datetime
    archived: bool = False
    claimed_at: datetime | None = None
    claimed_to: str | None = None


@dataclass(slots=True)
class Book:
    """`height` of the chain. Kept whole between two lives of the process where there is a folder for it."""

    height: int = 800_000
    invoices: dict[str, Invoice] = field(default_factory=dict)
    pulls: dict[str, PullPayment] = field(default_factory=dict)


def new_id() -> str:
    return "".join(secrets.choice(_BASE58) for _ in range(_ID_LENGTH))


def new_address() -> str:
    return "bcrt1q" + "".join(secrets.choice(_BECH32) for _ in range(_ADDRESS_LENGTH))


def new_payment_id() -> str:
    return f"{secrets.token_hex(32)}-0"

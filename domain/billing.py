"""Subscriptions, invoices and money as the product knows them, and the port to the payment systems.

Money is in integer minor units (US cents). Nothing here names a secret: a customer, a subscription, an invoice at a
payment system goes by its id there, as `..._ref`.

What a payment system says is read and never believed from an event: a `Biller` reads what is true now and gives an
`Outcome`, which the store writes whole, with its audit events, in one transaction. So late, repeated and reordered
events change nothing but the moment of the reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from domain.errors import VantaError
from domain.plans import Plan


class Provider(StrEnum):
    STRIPE = "stripe"
    BTCPAY = "btcpay"


class SubscriptionState(StrEnum):
    """SPEC 9. What leads from one to another is the table of `domain.subscriptions`."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELED = "canceled"


# Over for good: a new subscription gets an id of its own.
OVER = frozenset({SubscriptionState.CANCELED, SubscriptionState.INCOMPLETE_EXPIRED})


@dataclass(frozen=True, slots=True)
class Subscription:
    """`anchor_at`: periods are counted from it, so that a month that is short does not move the day for ever.

    `renewal_at`: end of the present period or trial; `paid_through`: end of what is paid for, later than that where the
    next period is paid already. `close_only`: past its grace, its followers may reduce and not open; a fact that is
    stored, so that it ends and begins for everybody at once. `scheduled_*`: the plan from `renewal_at` on. `version`
    counts changes; a writer that saw an older one is refused.
    """

    subscription_id: str
    tenant_id: str
    plan_id: str
    plan_version: int
    provider: Provider
    status: SubscriptionState = SubscriptionState.INCOMPLETE
    customer_ref: str | None = None
    provider_ref: str | None = None
    anchor_at: datetime | None = None
    period_start: datetime | None = None
    renewal_at: datetime | None = None
    paid_through: datetime | None = None
    trial_end: datetime | None = None
    past_due_since: datetime | None = None
    grace_until: datetime | None = None
    close_only: bool = False
    cancel_at: datetime | None = None
    ended_at: datetime | None = None
    paused_at: datetime | None = None
    resume_at: datetime | None = None
    scheduled_plan_id: str | None = None
    scheduled_plan_version: int | None = None
    reminded: tuple[str, ...] = ()
    coupon: str | None = None
    created_at: datetime | None = None
    version: int = 0

    @property
    def over(self) -> bool:
        return self.status in OVER


class InvoiceKind(StrEnum):
    PERIOD = "period"
    UPGRADE = "upgrade"
    OTHER = "other"  # what somebody made by hand at the payment system


class InvoiceStatus(StrEnum):
    """`PROCESSING`: paid, and not yet to the policy that counts (bitcoin). `INVALID`: what was paid is gone again."""

    DRAFT = "draft"
    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    EXPIRED = "expired"
    INVALID = "invalid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


@dataclass(frozen=True, slots=True)
class Invoice:
    """`paid_minor` is what has been received for it to the policy that counts, refunds not taken off.

    `detail`: the payment system's own further word (bitcoin: PaidPartial, PaidOver, PaidLate, Marked, Invalid).
    `number` tells the invoices of one period and kind apart: the second takes the place of one that expired.
    """

    invoice_id: str
    subscription_id: str
    provider: Provider
    kind: InvoiceKind
    status: InvoiceStatus
    amount_minor: int
    provider_ref: str | None = None
    plan_id: str | None = None
    plan_version: int | None = None
    currency: str = "usd"
    paid_minor: int = 0
    refunded_minor: int = 0
    period_start: datetime | None = None
    period_end: datetime | None = None
    number: int = 1
    detail: str | None = None
    url: str | None = None
    pdf_url: str | None = None
    due_at: datetime | None = None
    created_at: datetime | None = None
    paid_at: datetime | None = None


class EntryKind(StrEnum):
    """`PAYMENT` and `CREDIT` add to the balance; `APPLIED`, `REFUND` and `REVERSAL` take from it."""

    PAYMENT = "payment"
    CREDIT = "credit"
    APPLIED = "applied"
    REFUND = "refund"
    REVERSAL = "reversal"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a subscription's account, never changed. `entry_id` is its business key: the same twice is one.

    `amount_minor` is signed: positive in the customer's favour.
    """

    entry_id: str
    kind: EntryKind
    amount_minor: int
    at: datetime
    invoice_id: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class RefundStatus(StrEnum):
    """`CLAIMABLE`: the customer says where to at `claim_url` (bitcoin)."""

    PENDING = "pending"
    CLAIMABLE = "claimable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refund:
    refund_id: str
    invoice_id: str
    amount_minor: int
    status: RefundStatus
    reason: str
    actor: str
    provider_ref: str | None = None
    claim_url: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """All that is known of a subscription: what a biller starts from."""

    subscription: Subscription
    plan: Plan
    scheduled: Plan | None = None
    invoices: tuple[Invoice, ...] = ()
    entries: tuple[Entry, ...] = ()
    refunds: tuple[Refund, ...] = ()

    @property
    def balance_minor(self) -> int:
        """What the customer has in hand; negative: what is owed."""
        return sum(entry.amount_minor for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is true now: the subscription as it is to stand, invoices and refunds new or changed, new account lines.

    `notes` are for people, and go into the audit event.
    """

    subscription: Subscription
    invoices: tuple[Invoice, ...] = ()
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    refunds: tuple[Refund, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """`email` is the payer's, for receipts. `coupon`: its id at the payment system."""

    plan: Plan
    email: str
    success_url: str
    cancel_url: str
    coupon: str | None = None
    trial: bool = True


@dataclass(frozen=True, slots=True)
class CheckoutPage:
    """Where the customer pays; `ref` is the page's id at the payment system."""

    url: str
    ref: str
    expires_at: datetime | None = None


class Biller(Protocol):
    """One payment system. Every method may be repeated: what has an effect carries a key that says what it is for.

    All raise BillingUnavailable (try again) and BillingRefused (`code`). `key` is unique per wish of a person.
    """

    provider: ClassVar[Provider]

    async def checkout(self, account: Account, order: CheckoutOrder, now: datetime) -> tuple[Outcome, CheckoutPage]: ...

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        """Read what is true there, and do what is due there, such as the next period's invoice."""

    async def change(self, account: Account, plan: Plan, now: datetime, key: str) -> Outcome:
        """An upgrade is made and prorated now, a downgrade is scheduled for the renewal."""

    async def cancel(self, account: Account, now: datetime, key: str, *, at_period_end: bool) -> Outcome: ...

    async def keep(self, account: Account, now: datetime, key: str) -> Outcome:
        """Take back a cancellation or a downgrade that has not come about yet."""

    async def pause(self, account: Account, now: datetime, key: str, *, until: datetime | None) -> Outcome: ...

    async def resume(self, account: Account, now: datetime, key: str) -> Outcome: ...

    async def invoices(self, account: Account, since: datetime) -> Sequence[Invoice]:
        """As the payment system has them, for comparing; nothing is written."""

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        """Give back `refund.amount_minor` of it under `refund.refund_id`; the refund as it stands there."""

    async def portal(self, account: Account, return_url: str) -> str:
        """Where the customer changes cards and sees receipts. BillingRefused `not_offered` where there is none."""


class BillingError(VantaError):
    """A payment system could not do what it was asked."""


class BillingUnavailable(BillingError):
    """Time-out, connection failure, 429 or 5xx: asking again is right."""

    retryable = True
    code = "billing-unavailable"


class BillingRefused(BillingError):
    """It says no, and would again. `code` is stable, the message is for people and bounded."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:500])
        self.code = code

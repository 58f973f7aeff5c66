"""What payment systems send us: which events concern us, whose they are, and how long somebody is looked for.

An event is believed in one thing only: that something has happened to the objects that it names. What has happened is
read afterwards, at the payment system.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.billing import Provider
from domain.errors import VantaError

# A checkout's first events may come before its row knows what it is called there.
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5, 15, 60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600))
_GIVE_UP = timedelta(hours=24)
_REF = re.compile(r"[\x21-\x7e]{1,255}")
_OURS = re.compile(r"(?:SUB|IN)-[A-Z2-7]{26}")

# Of Stripe's types, those after which a subscription, an invoice or a refund of ours may stand otherwise.
STRIPE_TYPES = frozenset(
    {
        "charge.dispute.closed", "charge.dispute.created", "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn", "charge.refund.updated", "charge.refunded",
        "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded",
        "checkout.session.completed", "checkout.session.expired", "customer.deleted", "customer.subscription.created",
        "customer.subscription.deleted", "customer.subscription.paused", "customer.subscription.pending_update_applied",
        "customer.subscription.pending_update_expired", "customer.subscription.resumed",
        "customer.subscription.trial_will_end", "customer.subscription.updated", "invoice.created", "invoice.deleted",
        "invoice.finalized", "invoice.finalization_failed", "invoice.marked_uncollectible", "invoice.overdue",
        "invoice.paid", "invoice.payment_action_required", "invoice.payment_failed", "invoice.payment_succeeded",
        "invoice.updated", "invoice.voided", "refund.created", "refund.failed", "refund.updated",
    }
)  # fmt: skip
BTCPAY_TYPES = frozenset(
    {
        "InvoiceCreated", "InvoiceReceivedPayment", "InvoiceProcessing", "InvoiceExpired", "InvoiceSettled",
        "InvoiceInvalid", "InvoicePaymentSettled",
    }
)  # fmt: skip
_TYPES: Mapping[Provider, Collection[str]] = {Provider.STRIPE: STRIPE_TYPES, Provider.BTCPAY: BTCPAY_TYPES}


class Fault(StrEnum):
    """Why a request to a hook is not taken."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    STALE = "stale"
    MALFORMED = "malformed"


class HookRefused(VantaError):
    """Not an event of the payment system, or not one of now. The message tells nothing that the sender did not send."""

    code = "hook-refused"

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class HookNotSetUp(VantaError):
    """The payment system's secret is missing in the settings, so that nothing could be told from a forgery."""

    code = "hook-not-set-up"


class EventState(StrEnum):
    """`PENDING` until somebody has been told of it; `IGNORED`: none of our business; `ORPHANED`: nobody's, for good."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """`event_id` is the same for every delivery of it. `object_ref` is what it is about, as it is called there.

    `subject_ref`: the best that the event says of whose that is: our own id, else the subscription's or customer's
    there. Refs are bounded, and hold nothing of what the event says.
    """

    provider: Provider
    event_id: str
    type: str
    object_ref: str | None
    subject_ref: str | None
    said_at: datetime

    @property
    def concerns_us(self) -> bool:
        return self.type in _TYPES[self.provider] and (self.object_ref or self.subject_ref) is not None


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """`subscriptions`: tenant and id of each that it concerns. `tries` counts the looks, this one included."""

    provider: Provider
    event_id: str
    type: str
    tries: int
    received_at: datetime
    subscriptions: tuple[tuple[str, str], ...]


def next_try(received_at: datetime, tries: int, now: datetime) -> datetime | None:
    """When to look again for whose an event is, after `tries` looks (from 1); None: it is nobody's."""
    if now - received_at >= _GIVE_UP:
        return None
    return min(now + _WAITS[min(tries, len(_WAITS)) - 1], received_at + _GIVE_UP)


def ref(value: Any) -> str | None:
    """An id at a payment system, which may stand there as the object itself; None for anything else."""
    given = value.get("id") if isinstance(value, Mapping) else value
    return given if isinstance(given, str) and _REF.fullmatch(given) else None


def our_id(*values: Any) -> str | None:
    """The first that is an id of ours: others may use the same names at the same payment system for theirs."""
    return next((value for value in values if isinstance(value, str) and _OURS.fullmatch(value)), None)


def at(path: str, value: Any) -> Any:
    """What stands at a dotted path of objects; None where there is no such thing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value

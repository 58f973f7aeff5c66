"""Stripe's subscriptions and invoices as domain values. Pure; reads what the pinned API version sends."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from domain.billing import (
    Account,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
    Subscription,
    SubscriptionState,
)
from domain.ids import invoice_id
from domain.plans import Catalogue, Plan

Json = Mapping[str, Any]
# On the subscription at Stripe: when a pause is to end, which is ours to end (`stripe_biller`).
RESUME_AT = "resume_at"
_STATES = {
    "trialing": SubscriptionState.TRIALING,
    "active": SubscriptionState.ACTIVE,
    "past_due": SubscriptionState.PAST_DUE,
    "unpaid": SubscriptionState.UNPAID,
    "paused": SubscriptionState.PAUSED,
    "canceled": SubscriptionState.CANCELED,
    "incomplete": SubscriptionState.INCOMPLETE,
    "incomplete_expired": SubscriptionState.INCOMPLETE_EXPIRED,
}
_INVOICES = {
    "draft": InvoiceStatus.DRAFT,
    "open": InvoiceStatus.OPEN,
    "paid": InvoiceStatus.PAID,
    "void": InvoiceStatus.VOID,
    "uncollectible": InvoiceStatus.UNCOLLECTIBLE,
}
_OWED = (InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE)
_RUNNING = (SubscriptionState.ACTIVE, SubscriptionState.TRIALING)


def moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def ref(value: Any) -> str | None:
    """The id of what may be expanded or not."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return str(found) if found else None


def item_of(told: Json) -> Json:
    """A subscription of ours has one item."""
    item: Json = told["items"]["data"][0]
    return item


def plan_ref(told: Json) -> str | None:
    return ref(item_of(told).get("price"))


def read_outcome(
    account: Account, catalogue: Catalogue, told: Json, invoices: Sequence[Invoice], now: datetime
) -> Outcome:
    """What is true at Stripe, where `invoices` are the subscription's latest. Scheduled plans wait for the renewal."""
    held = account.subscription
    start, end = (moment(item_of(told).get(f"current_period_{name}")) for name in ("start", "end"))
    status = read_status(told)
    paused = status is SubscriptionState.PAUSED
    owed = [i for i in invoices if i.kind is InvoiceKind.PERIOD and i.status in _OWED]
    unpaid_from = min((i.period_start for i in owed if i.period_start), default=None)
    past_due = status in (SubscriptionState.PAST_DUE, SubscriptionState.UNPAID)
    read = replace(
        held,
        status=status,
        customer_ref=ref(told.get("customer")) or held.customer_ref,
        provider_ref=told["id"],
        anchor_at=moment(told.get("billing_cycle_anchor")),
        period_start=start,
        renewal_at=end,
        trial_end=moment(told.get("trial_end")),
        paid_through=unpaid_from if owed else paid_until(invoices) or held.paid_through,
        past_due_since=_since(owed) or held.past_due_since or now if past_due else None,
        cancel_at=moment(told.get("cancel_at")) or (end if told.get("cancel_at_period_end") else None),
        ended_at=moment(told.get("ended_at")),
        paused_at=held.paused_at or now if paused else None,
        resume_at=moment((told.get("metadata") or {}).get(RESUME_AT)) if paused else None,
        coupon=_coupon(told) or held.coupon,
    )
    read, notes = _with_plan(read, account, catalogue, told, invoices)
    return Outcome(read, tuple(invoices), (), notes)


def read_status(told: Json) -> SubscriptionState:
    """A subscription whose payments are paused is active at Stripe, and free: to us it is paused."""
    state = _STATES.get(str(told.get("status")), SubscriptionState.INCOMPLETE)
    live = state in (*_RUNNING, SubscriptionState.PAST_DUE)
    return SubscriptionState.PAUSED if told.get("pause_collection") and live else state


def paid_until(invoices: Sequence[Invoice]) -> datetime | None:
    """The end of the latest period that is paid; a period that costs nothing is."""
    paid = [i.period_end for i in invoices if i.status is InvoiceStatus.PAID and i.period_end]
    return max(paid, default=None)


def _since(owed: Sequence[Invoice]) -> datetime | None:
    return min((i.created_at for i in owed if i.created_at), default=None)


def _coupon(told: Json) -> str | None:
    for discount in told.get("discounts") or ():
        if isinstance(discount, Mapping):
            return ref((discount.get("source") or {}).get("coupon"))
    return None


def _with_plan(
    read: Subscription, account: Account, catalogue: Catalogue, told: Json, invoices: Sequence[Invoice]
) -> tuple[Subscription, tuple[str, ...]]:
    """Which plan counts. At Stripe a downgrade's price is set at once, so that the renewal costs it; here the plan that
    is paid for stays until then. That is known by its being cheaper, so that a schedule that was never written down
    is found again. At the first reading, no period before is known: then the present one's invoice tells its plan.
    """
    there, held = plan_ref(told), account.subscription
    plan = catalogue.by_ref(there or "")
    unscheduled = replace(read, scheduled_plan_id=None, scheduled_plan_version=None)
    if plan is None:
        return read, (f"Stripe charges {there!r}, which is no plan of the catalogue; the plan is left as it was",)
    if _same(plan, account.plan):
        return unscheduled, ()
    if held.renewal_at is None:
        renewed = _invoiced(read, plan, invoices)
    else:
        renewed = read.period_start is not None and read.period_start >= held.renewal_at
    cheaper = plan.yearly_minor < account.plan.yearly_minor
    if cheaper and not renewed and read.status not in (SubscriptionState.INCOMPLETE, *_OVER):
        return replace(read, scheduled_plan_id=plan.plan_id, scheduled_plan_version=plan.version), ()
    return replace(unscheduled, plan_id=plan.plan_id, plan_version=plan.version), ()


def _invoiced(read: Subscription, plan: Plan, invoices: Sequence[Invoice]) -> bool:
    """Whether the present period's own invoice is for `plan`."""
    wanted = (InvoiceKind.PERIOD, read.period_start, plan.plan_id, plan.version)
    return any((i.kind, i.period_start, i.plan_id, i.plan_version) == wanted for i in invoices)


_OVER = (SubscriptionState.CANCELED, SubscriptionState.INCOMPLETE_EXPIRED)


def _same(one: Plan, other: Plan) -> bool:
    return (one.plan_id, one.version) == (other.plan_id, other.version)


def read_invoice(subscription: str, catalogue: Catalogue, told: Json, refunded: Mapping[str, int]) -> Invoice:
    """`refunded` in minor units by payment intent. What an invoice is for is in its lines: its own period is the one
    before.
    """
    lines = (told.get("lines") or {}).get("data") or []
    whole = [line for line in lines if not _proration(line)]
    line: Json = next(iter(whole or lines[-1:]), {})
    period = line.get("period") or {}
    priced = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    plan = catalogue.by_ref(ref(priced) or "")
    moments = told.get("status_transitions") or {}
    paid = int(told.get("amount_paid") or 0)
    back = sum(refunded.get(intent, 0) for intent in intents(told))
    return Invoice(
        invoice_id=invoice_id(subscription, told["id"]),
        subscription_id=subscription,
        provider=Provider.STRIPE,
        kind=_kind(told, whole=bool(whole)),
        status=_INVOICES.get(str(told.get("status")), InvoiceStatus.DRAFT),
        amount_minor=int(told.get("amount_due") or 0),
        provider_ref=told["id"],
        plan_id=plan.plan_id if plan else None,
        plan_version=plan.version if plan else None,
        currency=str(told.get("currency") or "usd"),
        paid_minor=paid,
        refunded_minor=min(paid, back),
        period_start=moment(period.get("start")),
        period_end=moment(period.get("end")),
        url=told.get("hosted_invoice_url"),
        pdf_url=told.get("invoice_pdf"),
        due_at=moment(told.get("due_date")),
        created_at=moment(told.get("created")),
        paid_at=moment(moments.get("paid_at")),
    )


def intents(told: Json) -> list[str]:
    """The payment intents by which an invoice was paid, which it tells when asked for `payments`."""
    payments = (told.get("payments") or {}).get("data") or []
    found = [
        ref((each.get("payment") or {}).get("payment_intent")) for each in payments if each.get("status") == "paid"
    ]
    return [intent for intent in found if intent]


def _kind(told: Json, *, whole: bool) -> InvoiceKind:
    reason = told.get("billing_reason")
    if reason in ("subscription_create", "subscription_cycle") or (reason == "subscription_update" and whole):
        return InvoiceKind.PERIOD
    return InvoiceKind.UPGRADE if reason == "subscription_update" else InvoiceKind.OTHER


def _proration(line: Json) -> bool:
    parent = line.get("parent") or {}
    detail = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(detail.get("proration"))

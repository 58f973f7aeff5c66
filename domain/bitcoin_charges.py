"""Charges to an account that is paid in bitcoin: what its balance has paid, and how that is undone. Pure.

A charge is a line of the account, and what was given back is another one; none is ever changed.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.billing import Account, Entry, EntryKind, Invoice, InvoiceKind, SubscriptionState
from domain.periods import prorate
from domain.plans import Catalogue, Plan


@dataclass(frozen=True, slots=True)
class Rules:
    """`lead`: a period may be paid, and is invoiced, this long before it. `monitoring`: after an invoice expired."""

    catalogue: Catalogue
    lead: timedelta
    monitoring: timedelta


@dataclass(frozen=True, slots=True)
class Due:
    """A period to pay. `anew`: it begins with the payment; `start` and `end` are what they would be now."""

    start: datetime
    end: datetime
    plan: Plan
    anew: bool


def charges(account: Account) -> list[Entry]:
    """What the balance has paid and was not given back, in the order of what it is for."""
    back = {entry.detail.get("gives_back") for entry in account.entries}
    paid = [e for e in account.entries if e.kind is EntryKind.APPLIED and e.entry_id not in back]
    return sorted(paid, key=lambda e: (str(e.detail.get("end")), e.at, e.detail.get("for") == InvoiceKind.UPGRADE))


def prepaid(account: Account) -> Entry | None:
    """The charge of the period after the present one, where it is paid already."""
    held, paid = account.subscription, charges(account)
    ahead = held.paid_through and held.renewal_at and held.paid_through > held.renewal_at
    return paid[-1] if ahead and paid else None


def give_back(account: Account, charge: Entry, now: datetime, rules: Rules) -> Account:
    """Undo a charge, and what it paid: the period is open again, the plan is the one before the upgrade."""
    detail = {"gives_back": charge.entry_id}
    entry_id = f"back/{charge.entry_id}"
    line = Entry(entry_id, EntryKind.CREDIT, -charge.amount_minor, now, charge.invoice_id, detail)
    held = account.subscription
    plan = account.plan
    if charge.detail.get("for") == InvoiceKind.UPGRADE:
        plan = _plan(rules, charge.detail.get("from")) or plan
        held = replace(held, plan_id=plan.plan_id, plan_version=plan.version)
    elif held.renewal_at is not None and held.paid_through is not None and held.paid_through > held.renewal_at:
        held = replace(held, paid_through=held.renewal_at)
    else:
        held = replace(held, paid_through=held.period_start)
        if held.status is SubscriptionState.ACTIVE:
            held = replace(held, status=SubscriptionState.PAST_DUE, past_due_since=now)
    return replace(account, subscription=held, plan=plan, entries=(*account.entries, line))


def upgrade_price(account: Account, plan: Plan, invoice: Invoice | None, now: datetime) -> int:
    """The difference of the two plans for the rest of the period, as of when the upgrade was asked for."""
    held = account.subscription
    start, end = held.period_start, held.renewal_at
    if start is None or end is None:
        raise ValueError("only within a period is there a plan to leave")
    asked = (invoice.created_at if invoice is not None else None) or now
    at = min(max(asked, start), end)
    return prorate(account.plan.price_minor, plan.price_minor, start, end, at).due_minor


def pay_upgrade(account: Account, plan: Plan, price: int, invoice_id: str | None, now: datetime) -> Account:
    held = account.subscription
    detail = {
        "for": InvoiceKind.UPGRADE.value, "plan": plan.ref, "from": account.plan.ref,
        "end": held.renewal_at.isoformat() if held.renewal_at else "",
    }  # fmt: skip
    start = held.period_start or now
    line = _charge(account, f"applied/upgrade/{start.isoformat()}", price, now, invoice_id, detail)
    held = replace(
        held, plan_id=plan.plan_id, plan_version=plan.version, scheduled_plan_id=None, scheduled_plan_version=None
    )
    return replace(account, subscription=held, plan=plan, scheduled=None, entries=(*account.entries, line))


def pay_period(account: Account, due: Due, now: datetime) -> Account:
    detail = {"for": InvoiceKind.PERIOD.value, "plan": due.plan.ref, "end": due.end.isoformat()}
    base = f"applied/period/{due.start.isoformat()}"
    paid = invoice_for(account, account.subscription.paid_through)
    line = _charge(account, base, due.plan.price_minor, now, paid.invoice_id if paid else None, detail)
    held = replace(account.subscription, paid_through=due.end)
    account = replace(account, entries=(*account.entries, line))
    if due.start > now:  # paid before its time: nothing else changes yet
        return replace(account, subscription=held)
    held = replace(
        held,
        status=SubscriptionState.ACTIVE,
        anchor_at=due.start if due.anew else held.anchor_at,
        period_start=due.start,
        renewal_at=due.end,
        past_due_since=None,
        grace_until=None,
        close_only=False,
        plan_id=due.plan.plan_id,
        plan_version=due.plan.version,
    )
    if account.scheduled == due.plan:
        held = replace(held, scheduled_plan_id=None, scheduled_plan_version=None)
        account = replace(account, scheduled=None)
    return replace(account, subscription=held, plan=due.plan)


def invoice_for(account: Account, start: datetime | None) -> Invoice | None:
    """The newest invoice of the period that follows what is paid up to `start` (None: of the very first)."""
    found = [i for i in account.invoices if i.kind is InvoiceKind.PERIOD and i.period_start == start]
    return max(found, key=lambda invoice: invoice.number, default=None)


def _charge(
    account: Account, base: str, amount: int, now: datetime, invoice_id: str | None, detail: dict[str, str]
) -> Entry:
    """What was given back may be paid again: the id then has the number of the time."""
    times = sum(e.entry_id == base or e.entry_id.startswith(f"{base}/") for e in account.entries)
    entry_id = base if times == 0 else f"{base}/{times + 1}"
    return Entry(entry_id, EntryKind.APPLIED, -amount, now, invoice_id, detail)


def _plan(rules: Rules, ref: object) -> Plan | None:
    return rules.catalogue.by_ref(str(ref))

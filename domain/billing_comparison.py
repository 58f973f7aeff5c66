"""Our invoices beside those of the payment system: where they differ, and how a round of comparing is summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.billing import Invoice, InvoiceStatus


class DifferenceKind(StrEnum):
    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    AMOUNT = "amount"
    STATUS = "status"
    PAID = "paid"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Difference:
    """`ref` is the invoice's id at the payment system. `ours` and `theirs` are what is compared; money in minor units.

    Empty where there is no such invoice.
    """

    kind: DifferenceKind
    ref: str
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """Of one subscription's differences: how many there are now, which are new, and how many have gone."""

    open: int = 0
    new: int = 0
    gone: int = 0


@dataclass(slots=True)
class ComparisonTotals:
    """`unread`: subscriptions whose payment system could not be read, by payment system. `started`: owners."""

    compared: int = 0
    open: int = 0
    new: int = 0
    gone: int = 0
    started: int = 0
    unread: dict[str, int] = field(default_factory=dict)

    def add(self, other: "ComparisonTotals") -> None:
        for name in ("compared", "open", "new", "gone", "started"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for provider, number in other.unread.items():
            self.unread[provider] = self.unread.get(provider, 0) + number

    def put(self, before: "ComparisonTotals", now: "ComparisonTotals") -> None:
        """`now` in the place of what was last seen of the same subscriptions; what was new or has gone stays told."""
        self.add(now)
        self.compared -= before.compared
        self.open -= before.open
        for provider, number in before.unread.items():
            self.unread[provider] -= number
        self.unread = {provider: number for provider, number in self.unread.items() if number}


@dataclass(frozen=True, slots=True)
class ComparisonInput:
    """`lookback_days`: how old an invoice is compared. `waits_s`: before each further look at what was left.

    The rest is set by a run that continues an earlier one: `after` the page it has come to, `left` what was last seen
    of the pages to look at again, by what they are after, and `looks` how many of these looks there were; None: the
    first round goes on.
    """

    lookback_days: int
    after: str = ""
    totals: ComparisonTotals | None = None
    waits_s: tuple[int, ...] = (300, 600, 600)
    left: dict[str, ComparisonTotals] = field(default_factory=dict)
    looks: int | None = None


_KIND_OF = {
    "amount_minor": DifferenceKind.AMOUNT,
    "status": DifferenceKind.STATUS,
    "paid_minor": DifferenceKind.PAID,
    "refunded_minor": DifferenceKind.REFUNDED,
}
# What nobody owes or has paid: one of them need not be known here.
_OF_NO_WEIGHT = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.VOID, InvoiceStatus.EXPIRED})


def compare(ours: Sequence[Invoice], theirs: Sequence[Invoice], since: datetime) -> list[Difference]:
    """`theirs` are those that were made from `since` on. What never was at the payment system is not compared."""
    mine = {invoice.provider_ref: invoice for invoice in ours if invoice.provider_ref is not None}
    there = {invoice.provider_ref: invoice for invoice in theirs if invoice.provider_ref is not None}
    found: list[Difference] = []
    for ref, invoice in there.items():
        known = mine.get(ref)
        if known is not None:
            found += _differing(ref, known, invoice)
        elif invoice.status not in _OF_NO_WEIGHT or invoice.paid_minor:
            found.append(Difference(DifferenceKind.MISSING_HERE, ref, {}, _told(invoice)))
    for ref, invoice in mine.items():
        recent = invoice.created_at is not None and invoice.created_at >= since
        if recent and ref not in there:
            found.append(Difference(DifferenceKind.MISSING_THERE, ref, _told(invoice), {}))
    return found


def _differing(ref: str, ours: Invoice, theirs: Invoice) -> list[Difference]:
    mine, there = _told(ours), _told(theirs)
    return [
        Difference(kind, ref, {name: mine[name]}, {name: there[name]})
        for name, kind in _KIND_OF.items()
        if mine[name] != there[name]
    ]


def _told(invoice: Invoice) -> dict[str, Any]:
    return {
        name: str(value) if name == "status" else value
        for name in _KIND_OF
        if (value := getattr(invoice, name)) is not None
    }

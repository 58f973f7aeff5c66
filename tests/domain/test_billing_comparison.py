"""Where two lists of invoices differ."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.billing import Invoice, InvoiceKind, InvoiceStatus, Provider
from domain.billing_comparison import ComparisonTotals, compare

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Invoice(
    "IN-1", "SUB-1", Provider.STRIPE, InvoiceKind.PERIOD, InvoiceStatus.PAID, 4_900, "in_1", paid_minor=4_900,
    created_at=SINCE + timedelta(days=3),
)  # fmt: skip


def kinds(ours: list[Invoice], theirs: list[Invoice]) -> list[tuple[str, str]]:
    return [(difference.kind.value, difference.ref) for difference in compare(ours, theirs, SINCE)]


def test_what_is_the_same_differs_in_nothing():
    assert kinds([ONE], [replace(ONE, invoice_id="IN-other", url="https://x.example", detail="x")]) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"amount_minor": 5_000}, "amount"),
        ({"status": InvoiceStatus.OPEN}, "status"),
        ({"paid_minor": 1}, "paid"),
        ({"refunded_minor": 1}, "refunded"),
    ],
)
def test_each_figure_that_differs_is_told_with_both_values(change: dict[str, Any], kind: str):
    [found] = compare([ONE], [replace(ONE, **change)], SINCE)
    [name] = change
    assert found.kind == kind
    assert found.ours == {name: getattr(ONE, name)}
    assert found.theirs == {name: str(change[name]) if name == "status" else change[name]}


def test_what_only_one_side_has_is_missing_at_the_other():
    assert kinds([], [ONE]) == [("missing_here", "in_1")]
    assert kinds([ONE], []) == [("missing_there", "in_1")]


@pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.VOID, InvoiceStatus.EXPIRED])
def test_what_nobody_owes_need_not_be_known_here(status: InvoiceStatus):
    assert kinds([], [replace(ONE, status=status, paid_minor=0)]) == []
    assert kinds([], [replace(ONE, status=status)]) == [("missing_here", "in_1")]


def test_what_is_old_or_never_was_there_is_not_missed():
    assert kinds([replace(ONE, created_at=SINCE - timedelta(seconds=1))], []) == []
    assert kinds([replace(ONE, provider_ref=None)], []) == []


def test_totals_add_up():
    totals = ComparisonTotals(1, 2, 3, 4, 5, {"stripe": 1})
    totals.add(ComparisonTotals(1, 1, 1, 1, 1, {"stripe": 1, "btcpay": 2}))
    assert totals == ComparisonTotals(2, 3, 4, 5, 6, {"stripe": 2, "btcpay": 2})

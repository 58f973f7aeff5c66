"""Invoices and refunds as an API."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.invoices import Invoice as ShownInvoice
from domain.amounts import minor_of, shown
from domain.billing import BillingUnavailable, Invoice, InvoiceKind, InvoiceStatus, Outcome, Provider
from domain.errors import InvalidInput
from tests.api.billing import Till
from tests.api.conftest import Caller, problem


@pytest.fixture
async def paid(caller: Caller, till: Till) -> Invoice:
    """49 dollars of the caller's tenant."""
    caller.http.headers.update(caller.only("billing:read", "billing:manage"))
    return await till.subscribe(caller.tenant_id, "core")


async def refund(caller: Caller, invoice: Invoice, key: str | None = None, **body: Any) -> Any:
    return await caller.post(f"/v1/invoices/{invoice.invoice_id}/refund", {"reason": "paid twice"} | body, key=key)


async def test_an_invoice_gives_money_as_text_and_in_minor_units(caller: Caller, paid: Invoice) -> None:
    found = (await caller.get(f"/v1/invoices/{paid.invoice_id}")).json()
    money = {name: (found[name], found[f"{name}_minor"]) for name in ("amount", "paid", "refunded", "refundable")}
    assert money == {
        "amount": ("49.00", 4_900), "paid": ("49.00", 4_900), "refunded": ("0.00", 0), "refundable": ("49.00", 4_900)
    }  # fmt: skip
    assert (found["status"], found["pdf_url"], found["refunds"]) == ("paid", "https://pay.example/invoice.pdf", [])


async def test_invoices_are_listed_newest_first_a_page_at_a_time(caller: Caller, paid: Invoice, till: Till) -> None:
    account = await till.store.account(caller.tenant_id, paid.subscription_id)
    more = tuple(
        Invoice(
            f"IN-{uuid.uuid4().hex}", paid.subscription_id, Provider.STRIPE, InvoiceKind.OTHER, InvoiceStatus.OPEN, 100,
            created_at=datetime(2026, 1, day, tzinfo=UTC),
        )
        for day in (1, 2, 3)
    )  # fmt: skip
    await till.store.write(account, Outcome(account.subscription, more), (), datetime.now(UTC), actor="system:billing")
    wanted = [paid.invoice_id, *(each.invoice_id for each in reversed(more))]
    met, cursor = [], None
    for _ in range(2):
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await caller.get("/v1/invoices", **query)).json()
        met += [each["invoice_id"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert (met, cursor) == (wanted, None)
    since = (await caller.get("/v1/invoices", since="2026-01-02T00:00:00Z")).json()["items"]
    assert [each["invoice_id"] for each in since] == wanted[:3]
    shown_to_pay = (await caller.get("/v1/subscription")).json()["to_pay"]
    assert {each["invoice_id"] for each in shown_to_pay} == {each.invoice_id for each in more}


async def test_money_is_given_back_in_parts_and_never_more_than_was_paid(
    caller: Caller, paid: Invoice, till: Till
) -> None:
    part = await refund(caller, paid, amount="20.50")
    assert part.status_code == 201, part.text
    assert (part.json()["amount"], part.json()["status"]) == ("20.50", "claimable")
    assert part.json()["claim_url"].startswith("https://pay.example/RF-")
    too_much = await refund(caller, paid, amount="28.51")
    problem(too_much, 422, "invalid-input", "amount")
    rest = await refund(caller, paid)
    assert rest.json()["amount_minor"] == 2_850
    problem(await refund(caller, paid), 422, "invalid-input", "amount")
    found = (await caller.get(f"/v1/invoices/{paid.invoice_id}")).json()
    assert (found["refunded"], found["refundable"]) == ("49.00", "0.00")
    assert [each["amount"] for each in found["refunds"]] == ["20.50", "28.50"]
    assert len([what for what, _ in till.cards.asked if what == "refund"]) == 2


async def test_a_repeat_gives_back_once_also_days_later(caller: Caller, paid: Invoice, till: Till) -> None:
    first = await refund(caller, paid, "k-1", amount="10")
    assert (await refund(caller, paid, "k-1", amount="10")).json() == first.json()
    await caller.forget()
    assert (await refund(caller, paid, "k-1", amount="10")).json() == first.json()
    await caller.forget()
    problem(await refund(caller, paid, "k-1", amount="11"), 422, "idempotency-key-reused")
    assert len([what for what, _ in till.cards.asked if what == "refund"]) == 1


async def test_one_that_was_written_down_and_not_made_is_made_by_its_repeat(
    caller: Caller, paid: Invoice, till: Till
) -> None:
    till.cards.error = BillingUnavailable("HTTP 503")
    problem(await refund(caller, paid, "k-1", amount="10"), 503, "billing-unavailable")
    till.cards.error = None
    made = await refund(caller, paid, "k-1", amount="10")
    assert (made.status_code, made.json()["status"]) == (201, "claimable")
    assert [each.refund_id for what, each in till.cards.asked if what == "refund"] == [made.json()["refund_id"]] * 2


@pytest.mark.parametrize("amount", ["0", "-1", "1.001", "NaN", "1e400", "49,00", "", True])
async def test_an_amount_that_is_none_gives_nothing_back(
    caller: Caller, paid: Invoice, till: Till, amount: Any
) -> None:
    problem(await refund(caller, paid, amount=amount), 422, "invalid-input", "amount")
    assert till.engine.asked == []


async def test_a_refund_says_why(caller: Caller, paid: Invoice) -> None:
    problem(await refund(caller, paid, reason=" "), 422, "invalid-input", "reason")


async def test_another_tenants_invoice_is_unknown(caller: Caller, paid: Invoice, stranger: Caller) -> None:
    stranger.http.headers.update(stranger.only("billing:read", "billing:manage"))
    problem(await stranger.get(f"/v1/invoices/{paid.invoice_id}"), 404, "not-found", "invoice_id")
    problem(await refund(stranger, paid), 404, "not-found", "invoice_id")
    assert (await stranger.get("/v1/invoices")).json()["items"] == []
    assert (await stranger.get("/v1/subscription")).json()["status"] == "none"


@given(st.integers(-(10**12), 10**12))
def test_minor_units_read_back_from_what_is_shown(minor: int) -> None:
    assert Decimal(shown(minor)) * 100 == minor
    if minor > 0:
        assert minor_of("amount", Decimal(shown(minor))) == minor


@pytest.mark.parametrize("amount", ["0", "-0.01", "0.001", "Infinity"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(InvalidInput):
        minor_of("amount", Decimal(amount))


def test_every_field_of_an_invoice_on_the_wire_is_one_of_ours() -> None:
    money = {"amount", "paid", "refunded"}
    assert ShownInvoice.model_fields.keys() - money <= set(Invoice.__dataclass_fields__)

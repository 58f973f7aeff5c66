"""Every kind of payment at every speed policy, step by step, against the table of docs/billing.md."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.billing import Invoice, SubscriptionState
from tests.adapters.payments.payer import CORE, Payer, paying

DOCS = Path(__file__).parents[3] / "docs" / "billing.md"
POLICIES = ("HighSpeed", "MediumSpeed", "LowMediumSpeed", "LowSpeed")
ENDS = ("invoice in the end", "subscription in the end", "balance in the end")
LOOKS = (0, 1, 2, 5, 6, 7)  # confirmations: as many as some policy asks for, and one fewer, and one more
MOST = LOOKS[-1]
EXPIRED = timedelta(minutes=61)


def table() -> dict[str, dict[str, str]]:
    """The documented cells by payment and column."""
    lines = DOCS.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| payment |"))
    names, found = _cells(lines[start]), {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found[_cells(line)[0]] = dict(zip(names, _cells(line), strict=True))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


async def under(payer: Payer) -> str:
    return payer.pay("0.5")


async def exact(payer: Payer) -> str:
    return payer.pay()


async def replaceable(payer: Payer) -> str:
    return payer.pay(rbf=True)


async def over(payer: Payer) -> str:
    return payer.pay("1.5")


async def late(payer: Payer) -> str:
    first = payer.newest
    await payer.pass_time(EXPIRED)
    assert payer.newest.number == 2  # another has taken its place, and the first is paid nevertheless
    return payer.pay(invoice=first)


async def partial_then_late(payer: Payer) -> str:
    first = payer.newest
    payer.pay("0.5")
    payer.server.mine(MOST)
    await payer.look()
    await payer.pass_time(EXPIRED)
    assert payer.newest.amount_minor == CORE.price_minor - payer.account.balance_minor  # what has come pays first
    return payer.pay("0.5", first)


async def replaced(payer: Payer) -> str:
    gone = payer.pay(rbf=True)
    await payer.look()
    made = payer.server.replace(gone, payer.server.invoice(payer.newest.provider_ref or "").due)
    assert made is not None
    return made


async def covered(payer: Payer) -> str:
    paid = payer.pay("0.5")
    payer.pay("1.5")
    return paid


async def lose(payer: Payer, payment: str) -> None:
    payer.server.reorganise(payment)
    await payer.look()


Pay = Callable[[Payer], Coroutine[Any, Any, str]]
PAYMENTS: dict[str, Pay] = {
    "under": under,
    "exact": exact,
    "exact, replaceable": replaceable,
    "over": over,
    "late": late,
    "partial then late": partial_then_late,
    "replaced": replaced,
    "re-organised": exact,
    "re-organised, covered": covered,
}


async def confirmations(payer: Payer, pay: Pay) -> tuple[str, str]:
    """With how many the period is granted, and the payment."""
    granted = "never"
    payment = await pay(payer)
    for count, before in zip(LOOKS, (0, *LOOKS), strict=False):
        if count:
            payer.server.mine(count - before)
        await payer.look()
        if payer.held.status is SubscriptionState.ACTIVE and granted == "never":
            granted = str(count)
    return granted, payment


def told(invoice: Invoice) -> str:
    return invoice.status.value + (f", {invoice.detail}" if invoice.detail else "")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", PAYMENTS)
async def test_a_payment_does_what_the_table_says(kind: str, policy: str):
    async with paying(policy) as payer:
        page = await payer.checkout()
        first = payer.newest
        assert (page.url, page.ref) == (first.url, first.provider_ref)
        granted, payment = await confirmations(payer, PAYMENTS[kind])
        if kind.startswith("re-organised"):
            await lose(payer, payment)
        if kind == "under":
            await payer.pass_time(EXPIRED)
        before = payer.account
        await payer.look()
        assert payer.account == before  # what is read again changes nothing
        end = next(each for each in payer.account.invoices if each.invoice_id == first.invoice_id)
        balance = f"{round(payer.account.balance_minor * 100 / CORE.price_minor)} %"
        seen = {"payment": kind, policy: granted} | dict(
            zip(ENDS, (told(end), payer.held.status.value, balance), strict=True)
        )
        documented = table()[kind]
        assert seen == {name: documented[name] for name in seen}
        if payer.held.status is SubscriptionState.ACTIVE:
            assert payer.open == []  # nothing is asked for that is paid


def test_the_table_has_every_kind_and_every_policy():
    assert set(table()) == set(PAYMENTS)
    assert all(set(POLICIES) | set(ENDS) < set(row) for row in table().values())

from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.billing import Account, EntryKind, Invoice, InvoiceKind, InvoiceStatus, Provider, Subscription
from domain.billing import SubscriptionState as State
from domain.bitcoin import SATOSHI, Payment, PaymentStatus, Reading, credit_minor
from domain.bitcoin_account import settle
from domain.bitcoin_charges import Rules
from domain.bitcoin_invoicing import wanted
from domain.entitlements import NOTHING
from domain.plans import Catalogue, Interval, Plan

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
RATE = Decimal("64392.23")
CORE = Plan("core", 1, "Core", 4_900, Interval.MONTH, 0, NOTHING)
PRO = Plan("pro", 1, "Pro", 19_900, Interval.MONTH, 0, NOTHING)
RULES = Rules(Catalogue(1, (CORE, PRO)), timedelta(days=7), timedelta(days=1))
P, S, GONE = PaymentStatus.PROCESSING, PaymentStatus.SETTLED, PaymentStatus.INVALID


def asked(amount_minor: int, rate: Decimal) -> Decimal:
    """What the server asks for, rounded up to the satoshi."""
    return (Decimal(amount_minor) / 100 / rate).quantize(SATOSHI, ROUND_CEILING)


def invoice(number: int = 1, amount: int = 4_900) -> Invoice:
    return Invoice(
        f"IN-{number}", "SUB-1", Provider.BTCPAY, InvoiceKind.PERIOD, InvoiceStatus.OPEN, amount, f"ref{number}",
        "core", 1, number=number, created_at=NOW,
    )  # fmt: skip


def account(*invoices: Invoice) -> Account:
    return Account(Subscription("SUB-1", "T", "core", 1, Provider.BTCPAY), CORE, invoices=invoices or (invoice(),))


def reading(*payments: tuple[str, Decimal, PaymentStatus], number: int = 1, amount: int = 4_900) -> Reading:
    paid = tuple(Payment(name, value, RATE, status, NOW) for name, value, status in payments)
    hour = timedelta(hours=1)
    return Reading(f"ref{number}", f"IN-{number}", "New", "None", amount, NOW, NOW + hour, NOW + 25 * hour, None, paid)


amounts = st.integers(1, 10_000_000)
rates = st.decimals(Decimal("0.01"), Decimal(10_000_000), places=2)


@given(amounts, rates)
def test_exactly_what_is_asked_in_bitcoin_is_exactly_the_invoices_amount(amount: int, rate: Decimal):
    assert credit_minor(asked(amount, rate), rate, amount) == amount


@given(amounts, rates, st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
def test_who_pays_in_parts_is_never_short_and_gains_less_than_a_cent_by_each(
    amount: int, rate: Decimal, weights: list[int]
):
    whole = int(asked(amount, rate) / SATOSHI)
    cuts = [whole * weight // sum(weights) for weight in weights[1:]]
    parts = [whole - sum(cuts), *cuts]
    credited = sum(credit_minor(part * SATOSHI, rate, amount) for part in parts)
    assert amount <= credited <= amount + len(parts)


@given(amounts, rates, st.integers(0, 10**10))
def test_what_is_over_counts_at_the_locked_rate_rounded_down(amount: int, rate: Decimal, satoshis: int):
    over = satoshis * SATOSHI
    credited = credit_minor(asked(amount, rate) + over, rate, amount) - amount
    assert over * rate * 100 - 1 < credited <= over * rate * 100


shares = st.sampled_from([Decimal("0.25"), Decimal("0.5"), Decimal(1), Decimal("1.5"), Decimal("2.75")])
lives = st.sampled_from([(P,), (P, S), (S,), (P, S, GONE), (S, GONE), (P, GONE)])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Reading], list[Reading]]:
    """Readings of two invoices in any order and number, and what is true in the end."""
    told: list[Reading] = []
    truth: list[Reading] = []
    for number in (1, 2):
        payments = draw(st.lists(st.tuples(shares, lives), max_size=3))
        values = [(f"tx{n}-0", share * asked(4_900, RATE)) for n, (share, _) in enumerate(payments)]
        for _ in range(draw(st.integers(0, 4))):
            statuses = [draw(st.sampled_from(life)) for _, life in payments]
            told.append(reading(*((n, v, s) for (n, v), s in zip(values, statuses, strict=True)), number=number))
        last = [life[-1] for _, life in payments]
        truth.append(reading(*((n, v, s) for (n, v), s in zip(values, last, strict=True)), number=number))
    return draw(st.permutations(told)), truth


@given(histories())
def test_only_what_is_true_in_the_end_counts_however_often_and_in_whatever_order_it_was_read(
    history: tuple[list[Reading], list[Reading]],
):
    told, truth = history
    start = account(invoice(1), invoice(2))
    wandered = start
    for each in told:
        wandered = settle(wandered, [each], NOW, RULES)
    wandered = settle(wandered, truth, NOW, RULES)
    straight = settle(start, truth, NOW, RULES)
    assert wandered.balance_minor == straight.balance_minor
    paid = straight.subscription.status is State.ACTIVE
    assert (wandered.subscription.status is State.ACTIVE) == paid
    assert [i.status for i in wandered.invoices] == [i.status for i in straight.invoices]
    again = settle(wandered, truth, NOW, RULES)
    assert again == wandered


@given(histories())
def test_nothing_is_granted_that_settled_money_does_not_cover_and_the_lines_add_up(
    history: tuple[list[Reading], list[Reading]],
):
    told, truth = history
    now = account(invoice(1), invoice(2))
    counting: dict[str, int] = {}
    for each in [*told, *truth]:
        now = settle(now, [each], NOW, RULES)
        for payment in each.payments:
            key = f"{each.ref}/{payment.payment_id}"
            if payment.status is S:
                counting[key] = credit_minor(payment.value, payment.rate, each.amount_minor)
            elif payment.status is GONE:
                counting.pop(key, None)
        by_kind = {kind: sum(e.amount_minor for e in now.entries if e.kind is kind) for kind in EntryKind}
        used = -by_kind[EntryKind.APPLIED] - by_kind[EntryKind.CREDIT]
        assert by_kind[EntryKind.PAYMENT] + by_kind[EntryKind.REVERSAL] == sum(counting.values())
        assert now.balance_minor == sum(counting.values()) - used
        assert now.balance_minor >= 0
        assert used == (4_900 if now.subscription.status is State.ACTIVE else 0)
        assert len({entry.entry_id for entry in now.entries}) == len(now.entries)


def test_an_unconfirmed_payment_grants_nothing_and_a_settled_one_the_period():
    due = asked(4_900, RATE)
    seen = settle(account(), [reading(("tx-0", due, P))], NOW, RULES)
    assert seen.subscription.status is State.INCOMPLETE
    assert (seen.invoices[0].status, seen.entries) == (InvoiceStatus.PROCESSING, ())
    paid = settle(seen, [reading(("tx-0", due, S))], NOW, RULES)
    held = paid.subscription
    assert (held.status, held.period_start, held.paid_through) == (
        State.ACTIVE,
        NOW,
        datetime(2026, 2, 28, 12, tzinfo=UTC),
    )
    assert [entry.entry_id for entry in paid.entries] == ["payment/ref1/tx-0", f"applied/period/{NOW.isoformat()}"]


def test_what_is_short_is_credit_that_pays_first_next_time():
    half = settle(account(), [reading(("tx-0", asked(4_900, RATE) / 2, S))], NOW, RULES)
    assert (half.subscription.status, half.balance_minor) == (State.INCOMPLETE, 2_450)
    lacking = wanted(half, NOW, RULES)
    assert lacking is None  # the first invoice is still open for the rest
    expired = Account(half.subscription, CORE, invoices=(invoice_expired(half.invoices[0]),), entries=half.entries)
    lacking = wanted(expired, NOW + timedelta(hours=1), RULES)
    assert lacking is not None
    assert (lacking.amount_minor, lacking.number) == (2_450, 2)


def invoice_expired(each: Invoice) -> Invoice:
    return Invoice(**{name: getattr(each, name) for name in each.__slots__} | {"status": InvoiceStatus.EXPIRED})


def test_a_payment_that_comes_back_after_it_was_gone_counts_again():
    due = asked(4_900, RATE)
    now = account()
    for status in (S, GONE, S, GONE, S):
        now = settle(now, [reading(("tx-0", due, status))], NOW, RULES)
    assert (now.subscription.status, now.balance_minor) == (State.ACTIVE, 0)
    assert [e.entry_id for e in now.entries if e.kind is EntryKind.PAYMENT] == [
        "payment/ref1/tx-0", "payment/ref1/tx-0/2", "payment/ref1/tx-0/3",
    ]  # fmt: skip


def test_a_period_that_is_not_paid_any_more_is_past_due_and_open_again():
    due = asked(4_900, RATE)
    paid = settle(account(), [reading(("tx-0", due, S))], NOW, RULES)
    later = NOW + timedelta(days=2)
    gone = settle(paid, [reading(("tx-0", due, GONE))], later, RULES)
    held = gone.subscription
    assert (held.status, held.past_due_since, held.paid_through) == (State.PAST_DUE, later, NOW)
    assert (gone.balance_minor, gone.invoices[0].status) == (0, InvoiceStatus.OPEN)
    back = settle(gone, [reading(("tx-0", due, GONE), ("tx-1", due, S))], later, RULES)
    assert back.subscription.status is State.ACTIVE
    assert back.subscription.paid_through == paid.subscription.paid_through


def test_a_payment_that_is_gone_takes_nothing_that_the_balance_still_covers():
    due = asked(4_900, RATE)
    paid = settle(account(), [reading(("tx-0", due, S), ("tx-1", due, S))], NOW, RULES)
    assert paid.balance_minor == 4_900
    gone = settle(paid, [reading(("tx-0", due, GONE), ("tx-1", due, S))], NOW, RULES)
    assert (gone.subscription.status, gone.balance_minor) == (State.ACTIVE, 0)


def test_what_was_used_up_long_ago_is_owed_and_not_undone():
    due = asked(4_900, RATE)
    paid = settle(account(), [reading(("tx-0", due, S))], NOW, RULES)
    late = NOW + timedelta(days=40)
    gone = settle(paid, [reading(("tx-0", due, GONE))], late, RULES)
    assert gone.balance_minor == -4_900

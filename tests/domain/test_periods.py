"""Periods and prorations against oracles that go another way: days are walked, shares are exact fractions.

What is known of Stripe, whose figures ours are compared with: it documents that it prorates to the second, from the
period's start and the moment of the change (docs.stripe.com/billing/scripts/prorations), as two lines: the unused time
of the old plan and the remaining time of the new one (docs.stripe.com/billing/subscriptions/prorations). How it rounds
them it documents nowhere that we found; "to the nearest unit, a half up" is its word on its own fees only. So half up
is our choice, and at Stripe what counts is what its invoice says. The one line of Stripe's that we found published
with its figures (tried below) is rounded to the nearest; it is no half, and tells nothing about halves.
"""

import ast
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.periods import next_end, period_end, prorate
from domain.plans import Interval

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)
START = datetime(1999, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 103 * 366 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds))
INTERVALS = st.sampled_from(list(Interval))
PRICES = st.integers(0, 100_000_000)


def _month_later(first: date) -> date:
    """The first of the next month, by walking."""
    day = first + DAY
    while day.day != 1:
        day += DAY
    return day


def _walked(anchor: date, interval: Interval, count: int) -> date:
    """Walk whole months from the first of the anchor's; then on to its day, as far as the month goes."""
    first = anchor
    while first.day != 1:
        first -= DAY
    for _ in range(count * (12 if interval is Interval.YEAR else 1)):
        first = _month_later(first)
    end, beyond = first, _month_later(first)
    while end.day < anchor.day and end + DAY < beyond:
        end += DAY
    return end


@given(anchor=MOMENTS, interval=INTERVALS, count=st.integers(0, 26))
def test_a_period_ends_where_walking_the_days_comes_to(anchor: datetime, interval: Interval, count: int) -> None:
    count = count % 4 if interval is Interval.YEAR else count
    end = period_end(anchor, interval, count)
    assert end.date() == _walked(anchor.date(), interval, count)
    assert end.timetz() == anchor.timetz()


@pytest.mark.parametrize(
    ("anchor", "interval", "ends"),
    [
        ("2027-01-31", Interval.MONTH, ["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("2028-01-30", Interval.MONTH, ["2028-02-29", "2028-03-30", "2028-04-30"]),
        ("2026-11-30", Interval.MONTH, ["2026-12-30", "2027-01-30", "2027-02-28", "2027-03-30"]),
        ("2028-02-29", Interval.YEAR, ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("2096-02-29", Interval.YEAR, ["2097-02-28", "2098-02-28", "2099-02-28", "2100-02-28"]),
    ],
)
def test_a_short_month_does_not_move_the_day_for_ever(anchor: str, interval: Interval, ends: list[str]) -> None:
    at = datetime.fromisoformat(f"{anchor}T23:59:59+00:00")
    assert [period_end(at, interval, n + 1).date().isoformat() for n in range(len(ends))] == ends
    after, met = at, []
    for _ in ends:
        after = next_end(at, interval, after)
        met.append(after.date().isoformat())
    assert met == ends


@given(anchor=MOMENTS, interval=INTERVALS, wait=st.integers(-400 * 86_400, 1_200 * 86_400))
def test_the_next_end_is_the_first_of_all_ends_that_is_later(anchor: datetime, interval: Interval, wait: int) -> None:
    after = anchor + timedelta(seconds=wait)
    ends = [period_end(anchor, interval, n) for n in range(1, 5 if interval is Interval.YEAR else 42)]
    assert next_end(anchor, interval, after) == min(end for end in ends if end > after)


@given(anchor=MOMENTS, interval=INTERVALS, count=st.integers(1, 30))
def test_at_the_very_end_of_a_period_the_next_one_has_begun(anchor: datetime, interval: Interval, count: int) -> None:
    count = count % 4 + 1 if interval is Interval.YEAR else count
    end = period_end(anchor, interval, count)
    assert next_end(anchor, interval, end - timedelta(microseconds=1)) == end
    assert next_end(anchor, interval, end) == period_end(anchor, interval, count + 1)


@st.composite
def _changes(draw: st.DrawFn) -> tuple[datetime, datetime, datetime]:
    """A period, and a whole second of it."""
    start = period_end(draw(MOMENTS), draw(INTERVALS), draw(st.integers(0, 3)))
    end = next_end(start, draw(INTERVALS), start)
    seconds = round((end - start) / timedelta(seconds=1))
    return start, end, start + timedelta(seconds=draw(st.integers(0, seconds)))


def _nearest(exact: Fraction) -> int:
    """The whole number next to it, of two that are as near the upper, found by trying both."""
    below = exact.numerator // exact.denominator
    return min((below, below + 1), key=lambda whole: (abs(exact - whole), -whole))


def _used(start: datetime, end: datetime, at: datetime) -> Fraction:
    """The share of the period that is over, from whole days and the seconds of the day."""

    def seconds(moment: datetime) -> int:
        return moment.toordinal() * 86_400 + moment.hour * 3_600 + moment.minute * 60 + moment.second

    return Fraction(seconds(at) - seconds(start), seconds(end) - seconds(start))


@given(old=PRICES, new=PRICES, change=_changes())
def test_a_proration_is_the_exact_share_rounded_half_up(
    old: int, new: int, change: tuple[datetime, datetime, datetime]
) -> None:
    used = _used(*change)
    made = prorate(old, new, *change)
    # What has been used is taken off the whole; the code takes the share of what is left.
    assert made.credit_minor == _nearest(old - old * used)
    assert made.charge_minor == _nearest(new - new * used)
    assert abs(made.due_minor - (new - old) * (1 - used)) <= 1
    assert type(made.due_minor) is int


@given(old=PRICES, new=PRICES, change=_changes())
def test_there_and_back_at_one_moment_costs_nothing(
    old: int, new: int, change: tuple[datetime, datetime, datetime]
) -> None:
    there, back = prorate(old, new, *change), prorate(new, old, *change)
    assert there.due_minor + back.due_minor == 0  # each line is rounded by itself, so that not even a unit is lost
    assert prorate(old, old, *change).due_minor == 0


@given(old=PRICES, new=PRICES, change=_changes(), moves=st.lists(st.tuples(PRICES, st.integers(0, 99)), max_size=5))
def test_money_is_conserved_over_many_changes(
    old: int, new: int, change: tuple[datetime, datetime, datetime], moves: list[tuple[int, int]]
) -> None:
    """All that is paid in a period is what its plans cost for the time that each was in force, within rounding."""
    start, end, _ = change
    whole = round((end - start) / timedelta(seconds=1))
    price, paid, since = old, old, start
    exact = Fraction(0)
    for then, percent in sorted([*moves, (new, 50)], key=lambda move: move[1]):
        at = start + timedelta(seconds=whole * percent // 100)
        paid += prorate(price, then, start, end, at).due_minor
        exact += price * (_used(start, end, at) - _used(start, end, since))
        price, since = then, at
    exact += price * (1 - _used(start, end, since))
    assert abs(paid - exact) <= len(moves) + 1


@given(price=PRICES, change=_changes(), wait=st.integers(0, 40 * 86_400))
def test_who_changes_later_never_gets_more_back(
    price: int, change: tuple[datetime, datetime, datetime], wait: int
) -> None:
    start, end, at = change
    later = min(end, at + timedelta(seconds=wait))
    assert prorate(price, 0, start, end, later).credit_minor <= prorate(price, 0, start, end, at).credit_minor <= price
    assert prorate(price, price, start, end, start).credit_minor == price
    assert prorate(price, price, start, end, end).charge_minor == 0


def test_halves_go_up_and_what_is_less_goes_down() -> None:
    start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    middle = start + timedelta(days=14)
    assert prorate(4_901, 19_999, start, end, middle) == prorate(4_902, 20_000, start, end, middle)
    assert prorate(4_901, 19_999, start, end, middle).due_minor == 10_000 - 2_451
    assert prorate(4_901, 0, start, end, middle + timedelta(seconds=1)).credit_minor == 2_450


def test_a_line_that_stripe_has_published() -> None:
    """1000 a month, changed at 1488568488 of a period until 1489449600: "Unused time", -364 (a gist of 2017)."""
    end = datetime.fromtimestamp(1_489_449_600, UTC)
    at = datetime.fromtimestamp(1_488_568_488, UTC)
    assert prorate(1_000, 0, datetime(2017, 2, 14, tzinfo=UTC), end, at).credit_minor == 364


@pytest.mark.parametrize(("start", "end", "at"), [(0, 0, 0), (0, 60, 61), (0, 60, -1), (60, 0, 30)])
def test_a_change_outside_of_its_period_is_refused(start: int, end: int, at: int) -> None:
    base = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [base + timedelta(seconds=second) for second in (start, end, at)]
    with pytest.raises(ValueError, match="within its period"):
        prorate(1, 2, *moments)


def _billing_files() -> list[Path]:
    names = ("plans", "billing", "periods", "subscriptions", "subscription_life", "bitcoin", "amounts", "plan_changes")
    named = [ROOT / "domain" / f"{name}.py" for name in names]
    # What reads and writes money rows, and what shows it.
    patterns = (
        "domain/bitcoin_*.py", "domain/billing_*.py", "cli_subscription.py", "cli_plans.py",
        "adapters/payments/*.py", "adapters/store/subscription*.py", "adapters/store/billing*.py",
        "adapters/store/invoices*.py", "adapters/store/refunds*.py", "models/billing.py", "api/schemas/billing*.py",
        "api/schemas/invoices.py", "api/schemas/subscription*.py", "api/schemas/plans.py", "api/routes/invoices.py",
        "api/routes/plans.py", "api/routes/subscription*.py", "activities/*billing*.py", "activities/subscription*.py",
        "workflows/*billing*.py", "workflows/subscription*.py",
    )  # fmt: skip
    return named + sorted(f for p in patterns for f in ROOT.glob(p))


def _floats(tree: ast.AST) -> list[str]:
    """Where a float could come from: its literals, its name, and a division that is not whole.

    A number of seconds is none of money's: `..._s=`, `..._S =`, and what is called timeout, seconds or secs may be
    broken. Decimals may be divided where it is to be seen that they are some; a path's parts are joined.
    """
    fine = {id(below) for node in ast.walk(tree) if _is_time(node) or _is_rounded(node) for below in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if id(node) in fine:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append(f"line {node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append(f"line {node.lineno}: float")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div) and not _is_exact(node):
            found.append(f"line {node.lineno}: /")
    return found


def _is_exact(node: ast.BinOp | ast.AugAssign) -> bool:
    parts = list(ast.walk(node))
    decimal = any(isinstance(part, ast.Call) and getattr(part.func, "id", "") == "Decimal" for part in parts)
    return decimal or any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


def _is_rounded(node: ast.AST) -> bool:
    """What is rounded at once by a method that decimals have and floats have not."""
    match node:
        case ast.Call(func=ast.Attribute(attr="quantize" | "to_integral_value")):
            return not any(isinstance(part, ast.Constant) and isinstance(part.value, float) for part in ast.walk(node))
    return False


def _is_time(node: ast.AST) -> bool:
    match node:
        case ast.keyword(arg=str(name)) | ast.arg(arg=name) | ast.Assign(targets=[ast.Name(id=name)]):
            pass
        case ast.Assign(targets=[ast.Attribute(attr=name)]):
            pass
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Attribute(attr=name)):
            pass
        case _:
            return False
    return name.lower().endswith(("_s", "timeout", "seconds", "secs"))


def test_nothing_in_billing_knows_a_float() -> None:
    files = _billing_files()
    assert len(files) >= 6
    found = {str(f.relative_to(ROOT)): said for f in files if (said := _floats(ast.parse(f.read_text())))}
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "half = price / 2",
        "price /= 2",
        "price *= 0.5",
        "price = float(said)",
        "def f(price: float): ...",
        "(price * 0.5).quantize(1)",
    ],
)
def test_the_search_for_floats_finds_them(code: str) -> None:
    assert _floats(ast.parse(code))
    assert not _floats(ast.parse("wait(timeout_s=2.5)\nTIMEOUT_S = 0.5\ndef f(patience_s: float): return 7 // 2"))

"""NAV from cash, positions and prices."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.valuation import Holding, moved_bps, value

D = Decimal
NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)
AGE = timedelta(hours=1)


def held(symbol: str, qty: str, price: str | None = "10", age: timedelta = timedelta(0)) -> Holding:
    return Holding(symbol, D(qty), None if price is None else D(price), None if price is None else NOW - age)


def test_nav_is_cash_and_positions_at_their_prices():
    worth = value(D(100), [held("A", "3", "2.5"), held("B", "-2", "20", AGE)], NOW, AGE)
    assert (worth.nav_usd, worth.price_asof) == (D("67.5"), NOW - AGE)
    assert (worth.missing, worth.stale, worth.is_sound) == ((), (), True)


def test_cash_alone_is_a_nav_without_a_price():
    worth = value(D(100), [held("A", "0", None)], NOW, AGE)
    assert (worth.nav_usd, worth.price_asof, worth.is_sound) == (D(100), None, True)


def test_a_held_symbol_without_a_price_leaves_no_nav():
    worth = value(D(100), [held("B", "1", None), held("A", "1")], NOW, AGE)
    assert (worth.nav_usd, worth.missing, worth.is_sound) == (None, ("B",), False)


def test_an_old_price_is_told_and_nothing_may_be_decided_by_it():
    worth = value(D(100), [held("A", "1", "10", AGE + timedelta(seconds=1)), held("B", "1")], NOW, AGE)
    assert (worth.nav_usd, worth.stale, worth.is_sound) == (D(120), ("A",), False)


def test_without_cash_there_is_no_nav():
    assert value(None, [held("A", "1")], NOW, AGE).nav_usd is None


AMOUNTS = st.decimals(min_value=-(10**17), max_value=10**17, places=9)


@given(AMOUNTS, AMOUNTS, st.decimals(min_value="0.000000001", max_value=10**9, places=9))
def test_no_digit_is_lost(cash: Decimal, qty: Decimal, price: Decimal):
    nav = value(cash, [Holding("A", qty, price, NOW)], NOW, AGE).nav_usd
    assert nav is not None
    assert Fraction(nav) == Fraction(cash) + Fraction(qty) * Fraction(price)


def test_a_move_is_in_basis_points_of_what_was():
    assert moved_bps(D(1000), D(1001)) == 10
    assert moved_bps(D(1000), D(999)) == 10
    assert moved_bps(D(0), D(1)) is None
    assert moved_bps(D(-5), D(1)) is None

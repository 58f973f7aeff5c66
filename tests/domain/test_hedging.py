from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.hedging import hedge_leg
from domain.orders import Side
from domain.personas import Character
from domain.sizing import Effect, FollowerTerms, Hedge, Instrument, Mode, OrderTerms, SkipReason, size

D = Decimal
AAPL = Instrument("AAPL", D(1), D("0.001"), D(0))
SPY = Instrument("SPY", D(1), D("0.001"), D(0))
HEDGE = Hedge(SPY, D("0.5"), D(500))
OPEN = OrderTerms(Side.BUY, D(100), Effect.OPEN, D(0), D(200), hedge=HEDGE)
NEMESIS = FollowerTerms(Mode.PROPORTIONAL, D(1), D(0), character=Character("nemesis"))


def leg(order: OrderTerms, follower: FollowerTerms):
    return hedge_leg(order, follower, size(order, follower, AAPL))


def test_an_open_of_a_hedged_persona_sells_a_part_of_its_value_in_the_hedge():
    made = leg(OPEN, NEMESIS)  # 80 × 200 USD × 0.5 / 500
    assert made is not None
    assert (made.side, made.qty, made.carry) == (Side.SELL, 16, 0)
    assert [step.rule for step in made.trace] == ["hedged", "hedge_ratio", "step"]


@pytest.mark.parametrize("persona", [None, "athena", "apollo", "ares"])
def test_other_personas_do_not_hedge(persona: str | None):
    assert leg(OPEN, replace(NEMESIS, character=Character(persona))) is None


def test_a_vault_that_names_no_hedge_has_none():
    assert leg(replace(OPEN, hedge=None), NEMESIS) is None


@pytest.mark.parametrize(
    ("order", "follower", "reason"),
    [
        (replace(OPEN, hedge=replace(HEDGE, price=None)), NEMESIS, SkipReason.MISSING_PRICE),
        (OPEN, replace(NEMESIS, allow_short=False), SkipReason.SHORT_NOT_ALLOWED),
        (OPEN, replace(NEMESIS, scale=D("0.02")), SkipReason.BELOW_MINIMUM),
    ],
)
def test_a_hedge_that_cannot_be_sized_is_a_skip(order: OrderTerms, follower: FollowerTerms, reason: SkipReason):
    made = leg(order, follower)
    assert made is not None
    assert (made.skip, made.qty, made.carry) == (reason, 0, 0)


def test_a_hedge_does_not_cross_zero():
    made = leg(OPEN, replace(NEMESIS, hedge_holding=D(3)))
    assert made is not None
    assert (made.side, made.qty) == (Side.SELL, 3)


def test_a_full_exit_unwinds_the_whole_hedge_whatever_the_persona_is_by_then():
    exit_ = replace(OPEN, side=Side.SELL, effect=Effect.REDUCE, vault_qty=D(100))
    follower = FollowerTerms(Mode.PROPORTIONAL, D(1), D(80), hedge_qty=D(-16), hedge_holding=D(-20))
    made = leg(exit_, follower)
    assert made is not None
    assert (made.side, made.qty) == (Side.BUY, 16)


@given(st.integers(1, 99), st.integers(0, 30), st.integers(0, 40))
def test_unwinding_never_buys_back_more_than_is_held_against_the_position(part: int, hedged: int, held: int):
    order = replace(OPEN, side=Side.SELL, qty=D(part), effect=Effect.REDUCE, vault_qty=D(100))
    follower = FollowerTerms(Mode.PROPORTIONAL, D(1), D(80), hedge_qty=D(-hedged), hedge_holding=D(-held))
    made = leg(order, follower)
    if made is not None:
        assert 0 <= made.qty <= min(hedged, held)

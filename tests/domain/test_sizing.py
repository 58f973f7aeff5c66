from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.orders import Side
from domain.personas import PERSONAS, Character, Flip
from domain.sizing import (
    Effect,
    FollowerTerms,
    Instrument,
    Mode,
    OrderTerms,
    SkipReason,
    floor_to,
    plain,
    size,
)

D = Decimal
AAPL = Instrument("AAPL", qty_step=D(1), fine_step=D("0.000001"), min_qty=D(0))
OPEN = OrderTerms(Side.BUY, D(10), Effect.OPEN, vault_qty=D(0), price=D(200))
EXIT = OrderTerms(Side.SELL, D(10), Effect.REDUCE, vault_qty=D(10), price=D(200))
PLAIN = FollowerTerms(Mode.PROPORTIONAL, scale=D(1), holding=D(0))
CAPPED = replace(PLAIN, mode=Mode.CAPPED)

quantities = st.decimals(min_value="0.000001", max_value="1000000", places=6)
prices = st.decimals(min_value="0.0001", max_value="1000000", places=4)
holdings = st.decimals(min_value="-1000000", max_value="1000000", places=6)
scales = st.decimals(min_value="0", max_value="1000", places=6)
instruments = st.builds(
    Instrument,
    symbol=st.just("X"),
    qty_step=st.sampled_from([D(1), D("0.1"), D(100), D("0.25"), D("0.00000001")]),
    fine_step=st.sampled_from([D("0.000001"), D("0.000000001"), D(1)]),
    min_qty=st.sampled_from([D(0), D(1), D("0.5")]),
    min_notional=st.sampled_from([D(0), D(1), D(10)]),
)
characters = st.builds(
    Character,
    persona=st.sampled_from([None, *PERSONAS]),
    boost=st.sampled_from([D(0), D("0.5"), D(-2)]),
    flip=st.none()
    | st.builds(
        Flip, st.just("O_1"), st.sampled_from([None, *PERSONAS]), st.sampled_from([D(0), D("0.35"), D("-0.9"), D(5)])
    ),
)
followers = st.builds(
    FollowerTerms,
    mode=st.sampled_from(Mode),
    scale=scales,
    holding=holdings,
    max_pos_usd=st.none() | st.decimals(min_value="0.01", max_value="10000000", places=2),
    character=characters,
    fractional=st.booleans(),
    kill_switch=st.sampled_from([False, False, False, True]),
    residue=st.just(D(0)) | st.decimals(min_value="-1", max_value="1", places=6),
    buying=st.just(D(0)) | quantities,
    selling=st.just(D(0)) | quantities,
    allow_short=st.booleans(),
    funds_usd=st.none() | st.decimals(min_value="-1000", max_value="10000000", places=2),
)
opens = st.builds(
    OrderTerms, side=st.sampled_from(Side), qty=quantities, effect=st.just(Effect.OPEN), vault_qty=holdings,
    price=st.none() | prices, score=st.none() | st.decimals(min_value=0, max_value=1, places=2),
    overrides=st.sampled_from([(), (("growth", D("0.5")),), (("contrarian", D(-1)), ("risk_averse", D("0.25")))]),
)  # fmt: skip


@st.composite
def _reductions(draw: st.DrawFn) -> OrderTerms:
    held, side = draw(quantities), draw(st.sampled_from(Side))
    qty = draw(st.just(held) | quantities.map(lambda q: min(q, held)))
    return OrderTerms(side, qty, Effect.REDUCE, -held * side.sign, draw(st.none() | prices))


reductions = _reductions()


@given(opens, followers, instruments)
def test_an_open_never_takes_the_projected_position_over_its_cap(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument
):
    result = size(order, follower, instrument)
    if result.qty and follower.max_pos_usd is not None:
        assert order.price is not None
        projected = follower.holding * result.side.sign + follower.ahead(result.side) + result.qty
        assert projected * order.price <= follower.max_pos_usd


@given(opens, followers, instruments)
def test_an_open_never_crosses_zero_and_never_opens_a_short_that_is_not_wanted(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument
):
    result = size(order, follower, instrument)
    after = follower.holding + result.qty * result.side.sign
    assert follower.holding * after >= 0
    if not follower.allow_short:
        assert after >= min(follower.holding, D(0))


@given(opens, followers, instruments)
def test_an_open_never_costs_more_than_the_free_money(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument
):
    result = size(order, follower, instrument)
    opening = follower.holding * result.side.sign >= 0
    if result.qty and opening and follower.funds_usd is not None:
        assert order.price is not None
        assert result.qty * order.price <= follower.funds_usd


@given(opens | reductions, followers, instruments, st.sampled_from([{"close_only": True}, {"lacks": "a persona"}]))
def test_a_subscribers_rights_stop_what_opens_and_change_no_other_size(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument, rights: dict[str, Any]
):
    free, limited = size(order, follower, instrument), size(order, replace(follower, **rights), instrument)
    reduces = order.effect is Effect.REDUCE or follower.holding * free.side.sign < 0
    if reduces or free.skip in {SkipReason.KILL_SWITCH, SkipReason.MISSING_CAP}:
        assert limited == free
    else:
        assert (limited.qty, limited.carry) == (D(0), D(0))
        assert limited.skip is (SkipReason.CLOSE_ONLY if "close_only" in rights else SkipReason.NOT_ENTITLED)


@given(opens, followers, instruments)
def test_without_a_contrarian_an_open_is_never_turned_round(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument
):
    persona = follower.character.in_force()
    if persona is None or not persona.inverts:
        assert size(order, follower, instrument).side is order.side


@given(reductions, followers, instruments)
def test_a_reduction_never_sells_more_than_is_held(order: OrderTerms, follower: FollowerTerms, instrument: Instrument):
    result = size(order, follower, instrument)
    assert 0 <= result.qty <= max(abs(follower.holding) - follower.ahead(result.side), D(0))
    assert result.qty == 0 or result.side.sign * follower.holding < 0


@given(reductions, followers, instruments)
def test_a_full_exit_ends_at_zero(order: OrderTerms, follower: FollowerTerms, instrument: Instrument):
    order, follower = replace(order, qty=abs(order.vault_qty)), replace(follower, buying=D(0), selling=D(0))
    result = size(order, follower, instrument)
    if result.skip is None:
        assert follower.holding + result.qty * result.side.sign == 0
        assert follower.residue + result.carry == 0
    else:
        assert result.skip in {SkipReason.KILL_SWITCH, SkipReason.NOTHING_HELD}


@given(opens | reductions, followers, instruments)
def test_a_size_is_a_multiple_of_the_step_unless_it_is_a_full_exit(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument
):
    result = size(order, follower, instrument)
    step = instrument.fine_step if follower.fractional else instrument.qty_step
    closes = result.side.sign * follower.holding < 0  # what is held may lie between two steps
    if not closes:
        assert result.qty % step == 0


@given(opens | reductions, followers, instruments, st.integers(1, 12), st.sampled_from([ROUND_UP, ROUND_DOWN]))
def test_a_size_does_not_depend_on_the_ambient_decimal_context(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument, digits: int, rounding: str
):
    usual = size(order, follower, instrument)
    with localcontext(Context(prec=digits, rounding=rounding)):
        elsewhere = size(order, follower, instrument)
    assert repr(elsewhere) == repr(usual)
    assert repr(size(order, follower, instrument)) == repr(usual)


@given(opens | reductions, followers, instruments)
def test_the_trace_ends_with_the_size(order: OrderTerms, follower: FollowerTerms, instrument: Instrument):
    result = size(order, follower, instrument)
    assert result.trace[-1].result == plain(result.qty)
    assert (result.qty == 0) == (result.skip is not None)
    if result.skip is not None:
        assert (result.trace[-1].rule, result.trace[-1].value) == ("skip", result.skip.value)


@given(opens | reductions, followers, instruments, st.decimals(min_value=0, max_value=1, places=3))
def test_scaling_down_never_makes_an_order_larger(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument, factor: Decimal
):
    smaller = replace(follower, scale=follower.scale * factor)
    assume(size(order, smaller, instrument).side is size(order, follower, instrument).side)
    assert size(order, smaller, instrument).qty <= size(order, follower, instrument).qty


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value="-1e17", max_value="1e17", places=6))
def test_plain_writes_any_decimal_without_exponent_and_reads_back_equal(value: Decimal):
    text = plain(value)
    assert "E" not in text
    assert D(text) == value


SIZES = {
    "proportional": (OPEN, PLAIN, AAPL, "10", False),
    "scaled and floored": (OPEN, replace(PLAIN, scale=D("0.33")), AAPL, "3", False),
    "fractional account": (OPEN, replace(PLAIN, scale=D("0.333"), fractional=True), AAPL, "3.33", False),
    "multiplier": (OPEN, replace(PLAIN, character=Character(flip=Flip("O_1", amplify=D("0.35")))), AAPL, "13", False),
    "capped": (OPEN, replace(CAPPED, max_pos_usd=D(1_000)), AAPL, "5", True),
    "cap counts what is held": (OPEN, replace(CAPPED, max_pos_usd=D(1_000), holding=D(3)), AAPL, "2", True),
    "an open closes what is held on the other side, and no more": (
        OPEN, replace(CAPPED, max_pos_usd=D(1_000), holding=D(-3)), AAPL, "3", True,
    ),
    "cap counts in every mode": (OPEN, replace(PLAIN, max_pos_usd=D(1_000)), AAPL, "5", True),
    "a wide cap does not count": (OPEN, replace(CAPPED, max_pos_usd=D(1_000_000)), AAPL, "10", False),
    "shadow is sized alike": (OPEN, replace(PLAIN, mode=Mode.SHADOW), AAPL, "10", False),
    "no price without a cap": (replace(OPEN, price=None), PLAIN, AAPL, "10", False),
    "short": (replace(OPEN, side=Side.SELL), replace(CAPPED, max_pos_usd=D(1_000)), AAPL, "5", True),
    "a third": (replace(EXIT, qty=D(1), vault_qty=D(3)), replace(PLAIN, holding=D(10)), AAPL, "3", False),
    "full exit of a fraction": (EXIT, replace(PLAIN, holding=D("7.123456")), AAPL, "7.123456", False),
    "buying back": (
        replace(EXIT, side=Side.BUY, qty=D(5), vault_qty=D(-10)), replace(PLAIN, holding=D(-8)), AAPL, "4", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("order", "follower", "instrument", "qty", "capped"), SIZES.values(), ids=SIZES)
def test_a_known_case_has_its_known_size(
    order: OrderTerms, follower: FollowerTerms, instrument: Instrument, qty: str, capped: bool
):
    result = size(order, follower, instrument)
    assert (plain(result.qty), result.cap_applied, result.skip) == (qty, capped, None)


SKIPS = {
    SkipReason.KILL_SWITCH: (OPEN, replace(PLAIN, kill_switch=True), AAPL),
    SkipReason.MISSING_CAP: (OPEN, CAPPED, AAPL),
    SkipReason.MISSING_PRICE: (replace(OPEN, price=None), replace(CAPPED, max_pos_usd=D(1)), AAPL),
    SkipReason.AT_CAP: (OPEN, replace(CAPPED, max_pos_usd=D(1_000), holding=D(5)), AAPL),
    SkipReason.NOTHING_HELD: (EXIT, PLAIN, AAPL),
    SkipReason.BELOW_MINIMUM: (OPEN, replace(PLAIN, scale=D("0.05")), AAPL),
    SkipReason.CLOSE_ONLY: (OPEN, replace(PLAIN, close_only=True, lacks="a persona"), AAPL),
    SkipReason.NOT_ENTITLED: (OPEN, replace(PLAIN, lacks="a persona"), AAPL),
}


@pytest.mark.parametrize(("reason", "case"), SKIPS.items(), ids=SKIPS)
def test_what_cannot_be_sized_is_skipped_with_its_reason(
    reason: SkipReason, case: tuple[OrderTerms, FollowerTerms, Instrument]
):
    result = size(*case)
    assert result.qty == 0
    assert result.skip is reason
    assert result.cap_applied == (reason is SkipReason.AT_CAP)


@pytest.mark.parametrize(
    ("instrument", "order"),
    [
        (replace(AAPL, min_qty=D(11)), OPEN),
        (replace(AAPL, min_notional=D(2_001)), OPEN),
        (replace(AAPL, min_notional=D(2_001)), replace(EXIT, vault_qty=D(11))),
    ],
)
def test_below_an_instruments_minimum_nothing_is_sent(instrument: Instrument, order: OrderTerms):
    assert size(order, replace(PLAIN, holding=D(10)), instrument).skip is SkipReason.BELOW_MINIMUM


def test_a_full_exit_goes_out_below_the_minimum_as_nothing_may_strand_a_position():
    result = size(EXIT, replace(PLAIN, holding=D("0.5")), replace(AAPL, min_qty=D(1), min_notional=D(1_000)))
    assert result.qty == D("0.5")


def test_a_price_of_zero_is_no_price():
    follower = replace(CAPPED, max_pos_usd=D(1_000))
    assert size(replace(OPEN, price=D(0)), follower, AAPL).skip is SkipReason.MISSING_PRICE


def test_a_holding_on_the_other_side_falls_with_the_vaults():
    result = size(replace(EXIT, qty=D(5)), replace(PLAIN, holding=D(-8)), AAPL)
    assert (result.side, result.qty) == (Side.BUY, D(4))


@pytest.mark.parametrize(
    ("order", "follower", "instrument"),
    [
        (replace(OPEN, qty=D(0)), PLAIN, AAPL),
        (OPEN, replace(PLAIN, scale=D(-1)), AAPL),
        (OPEN, replace(PLAIN, buying=D(-1)), AAPL),
        (OPEN, PLAIN, replace(AAPL, qty_step=D(0))),
        (OPEN, PLAIN, replace(AAPL, fine_step=D(0))),
        (replace(EXIT, qty=D(11)), PLAIN, AAPL),
    ],
)
def test_terms_that_admission_refuses_raise(order: OrderTerms, follower: FollowerTerms, instrument: Instrument):
    with pytest.raises(ValueError, match=r"must be|cannot exceed"):
        size(order, follower, instrument)


@pytest.mark.parametrize(
    ("qty", "step", "floored"), [("7.9", "1", "7"), ("-7.9", "1", "-7"), ("7.9", "0.25", "7.75"), ("99", "100", "0")]
)
def test_flooring_goes_toward_zero(qty: str, step: str, floored: str):
    assert floor_to(D(qty), D(step)) == D(floored)

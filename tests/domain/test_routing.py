"""Plans of legs: what is changed before an order, and what is refused."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import IllegalTransition
from domain.ids import MAX_CLIENT_ORDER_ID, follower_order_id
from domain.orders import Side
from domain.routing import (
    CENT,
    LEG_TRANSITIONS,
    LegKind,
    LegState,
    NoPlan,
    Plan,
    RouteFacts,
    RoutingTerms,
    check_leg,
    leg_id,
    plan,
)  # fmt: skip

D = Decimal
TERMS = RoutingTerms(D(0), D(60), D(100), D(50))
FACTS = RouteFacts("BTC-USDC", Side.BUY, D("0.02"), D(50_000), True, "USDC", {"USD": D(5_000)}, True, D("0.9998"))

amounts = st.decimals(0, 1_000_000, places=6)
facts = st.builds(
    RouteFacts,
    symbol=st.sampled_from(["BTC-USD", "BTC-USDC", "BTC-EUR"]),
    side=st.sampled_from(Side),
    qty=st.decimals("0.000001", 100, places=6),
    price=st.decimals("0.01", 100_000, places=2),
    limited=st.booleans(),
    quote_currency=st.just("USDC"),
    balances=st.dictionaries(st.sampled_from(["USD", "USDC", "EUR", "BTC"]), amounts),
    converts=st.booleans(),
    peg=st.none() | st.decimals("0.98", "1.02", places=4),
).map(lambda made: replace(made, quote_currency=made.symbol.removeprefix("BTC-")))
terms = st.builds(
    RoutingTerms,
    conversion_fee_bps=st.integers(0, 200).map(D),
    trade_fee_bps=st.integers(0, 200).map(D),
    slippage_bps=st.integers(0, 500).map(D),
    max_depeg_bps=st.integers(0, 100).map(D),
)


def made(result: Plan | NoPlan) -> Plan:
    assert isinstance(result, Plan), result
    return result


def refused(result: Plan | NoPlan) -> NoPlan:
    assert isinstance(result, NoPlan), result
    return result


def test_usd_is_changed_into_the_usdc_that_a_purchase_lacks() -> None:
    conversion, trade = made(plan(FACTS, TERMS)).legs
    assert (conversion.source, conversion.target, conversion.amount) == ("USD", "USDC", D("1006.00"))
    assert (trade.source, trade.target, trade.amount, trade.expected) == ("USDC", "BTC", D("1006.00"), D("0.02"))


def test_usdc_is_changed_into_the_usd_that_a_purchase_lacks() -> None:
    turned = replace(FACTS, symbol="BTC-USD", quote_currency="USD", balances={"USDC": D(2_000), "USD": D("6.005")})
    conversion, trade = made(plan(turned, TERMS)).legs
    assert (conversion.source, conversion.target, conversion.amount) == ("USDC", "USD", D("1000.00"))
    assert trade.source == "USD"


def test_what_can_be_paid_as_it_is_needs_no_conversion() -> None:
    [trade] = made(plan(replace(FACTS, balances={"USDC": D(1_006)}), TERMS)).legs
    assert trade.kind is LegKind.TRADE


def test_a_fee_of_the_conversion_is_paid_on_top_so_that_enough_arrives() -> None:
    dear = replace(TERMS, conversion_fee_bps=D(100))
    conversion, _ = made(plan(FACTS, dear)).legs
    assert (conversion.amount, conversion.expected, conversion.fee) == (D("1016.17"), D("1006.00"), D("10.17"))
    assert made(plan(FACTS, dear)).fee == D("16.17")


def test_a_market_order_gets_room_for_a_worse_price_as_far_as_there_is_money() -> None:
    conversion, _ = made(plan(replace(FACTS, limited=False), TERMS)).legs
    assert conversion.amount == D("1016.06")
    tight = replace(FACTS, limited=False, balances={"USD": D("1010.00")})
    conversion, trade = made(plan(tight, TERMS)).legs
    assert (conversion.amount, trade.amount) == (D("1010.00"), D("1010.00"))


@pytest.mark.parametrize("peg", ["0.9949", "1.0051"])
def test_no_money_is_changed_while_usdc_is_off_its_peg(peg: str) -> None:
    no = refused(plan(replace(FACTS, peg=D(peg)), TERMS))
    assert no.code == "depegged"
    assert no.reason == f"USDC is at {peg} USD, 51 bps off its peg; beyond 50 bps no money is changed"


def test_no_money_is_changed_while_nobody_knows_the_price_of_usdc() -> None:
    assert refused(plan(replace(FACTS, peg=None), TERMS)).code == "peg_unknown"


@pytest.mark.parametrize("peg", [None, D("0.9")])
def test_an_order_that_needs_no_conversion_is_sent_whatever_usdc_costs(peg: Decimal | None) -> None:
    made(plan(replace(FACTS, peg=peg, balances={"USDC": D(2_000)}), TERMS))
    # Without room for a worse price, but it can be paid.
    made(plan(replace(FACTS, peg=peg, limited=False, balances={"USDC": D(1_006), "USD": D(500)}), TERMS))


def test_too_little_money_is_said_in_amounts() -> None:
    no = refused(plan(replace(FACTS, balances={"USD": D(900), "USDC": D(50)}), TERMS))
    assert no == NoPlan(
        "insufficient_funds", "the order needs 1,006.00 USDC, and the account has 50.00 USDC and 900.00 USD"
    )


@pytest.mark.parametrize("changed", [{"converts": False}, {"symbol": "BTC-EUR", "quote_currency": "EUR"}])
def test_money_that_cannot_be_changed_is_no_route(changed: dict[str, Any]) -> None:
    no = refused(plan(replace(FACTS, **changed), TERMS))
    assert no.code == "no_route"
    assert no.reason.endswith("5,000.00 USD, which cannot be changed there")


@given(facts, terms)
def test_no_leg_spends_more_than_there_is_and_each_covers_the_next(facts: RouteFacts, terms: RoutingTerms) -> None:
    result = plan(facts, terms)
    assert result == plan(facts, terms)
    if isinstance(result, NoPlan):
        return
    purse = {name: max(left, D(0)) for name, left in facts.balances.items()}
    if facts.side is Side.SELL:
        purse["BTC"] = facts.qty  # what is sold has been sized by what is held
    for number, leg in enumerate(result.legs, 1):
        assert leg.leg_no == number
        assert D(0) < leg.amount <= purse.get(leg.source, D(0))
        purse[leg.source] -= leg.amount
        purse[leg.target] = purse.get(leg.target, D(0)) + leg.expected
    assert [leg.kind for leg in result.legs[:-1]] == [LegKind.CONVERT] * (len(result.legs) - 1)
    assert result.legs[-1].kind is LegKind.TRADE
    if facts.side is Side.BUY:
        cost = facts.qty * facts.price
        assert result.legs[-1].amount >= cost + cost * terms.trade_fee_bps / 10_000


@given(facts, terms)
def test_no_more_is_changed_than_is_missing(facts: RouteFacts, terms: RoutingTerms) -> None:
    result = plan(facts, terms)
    if isinstance(result, NoPlan) or not result.conversions:
        return
    [conversion] = result.conversions
    assert conversion.amount == conversion.amount.quantize(CENT)
    most = facts.qty * facts.price * (1 + terms.slippage_bps / 10_000) * (1 + terms.trade_fee_bps / 10_000)
    missing = most - max(facts.balances.get(facts.quote_currency, D(0)), D(0))
    assert conversion.amount <= (missing + 2 * CENT) / (1 - terms.conversion_fee_bps / 10_000) + CENT


@given(st.sampled_from(LegState), st.sampled_from(LegState))
def test_a_leg_goes_only_where_the_table_says(source: LegState, target: LegState) -> None:
    if target in LEG_TRANSITIONS[source]:
        check_leg(source, target)
    else:
        with pytest.raises(IllegalTransition):
            check_leg(source, target)


def test_the_id_of_a_leg_is_one_that_every_venue_takes() -> None:
    assert len(leg_id(follower_order_id("M-1", "F_1"), 999, 2)) <= MAX_CLIENT_ORDER_ID

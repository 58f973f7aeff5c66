"""Slippage and latency of follower orders."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.execution import Execution, measure, merge, slippage_bps
from domain.orders import Side

_EXECUTIONS = st.lists(
    st.builds(
        Execution,
        st.uuids().map(str),
        st.just("F_1"),
        st.none() | st.decimals(-500, 500, places=2),
        st.none() | st.integers(0, 10_000),
    ),
    max_size=80,
)


@pytest.mark.parametrize(
    ("side", "reference", "filled", "bps"),
    [(Side.BUY, 100, 101, 100), (Side.SELL, 100, 101, -100), (Side.SELL, 200, 199, 50), (Side.BUY, 3, 3, 0)],
)
def test_slippage_is_what_the_fill_was_worse_than_the_reference(side: Side, reference: int, filled: int, bps: int):
    assert slippage_bps(side, Decimal(reference), Decimal(filled)) == bps


@pytest.mark.parametrize("prices", [(None, Decimal(1)), (Decimal(1), None), (Decimal(0), Decimal(1))])
def test_without_both_prices_there_is_none(prices: tuple[Decimal | None, Decimal | None]):
    assert slippage_bps(Side.BUY, *prices) is None


@given(_EXECUTIONS, st.integers(0, 80))
def test_pages_add_up_to_the_whole(executions: list[Execution], cut: int):
    assert merge([measure(executions[:cut]), measure(executions[cut:])]) == measure(executions)

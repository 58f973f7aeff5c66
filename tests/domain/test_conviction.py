import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.conviction import TRAITS, check_conviction
from domain.errors import InvalidInput
from domain.intents import parse_intent

ORDER = {"vault_id": "V_1", "symbol": "AAPL", "side": "buy", "qty": "1"}


@given(st.decimals(0, 1, places=18), st.dictionaries(st.sampled_from(TRAITS), st.decimals(-1, 1, places=18)))
def test_what_sizing_reads_is_digit_by_digit_what_was_written(score: Decimal, overrides: dict[str, Decimal]):
    _, meta = parse_intent({**ORDER, "meta": {"conviction": {"score": score, "overrides": overrides}}})
    stored = json.loads(json.dumps(meta))["conviction"]
    assert Decimal(str(stored["score"])) == score
    assert {trait: Decimal(str(delta)) for trait, delta in stored["overrides"].items()} == overrides


@pytest.mark.parametrize("conviction", [{}, {"score": None, "overrides": None}, {"score": "0.82", "band": ["any"]}])
def test_what_is_not_there_is_no_fault(conviction: dict[str, Any]):
    check_conviction(conviction)


@pytest.mark.parametrize(
    ("conviction", "field"),
    [
        ({"score": "1.01"}, "score"),
        ({"score": -1}, "score"),
        ({"score": "high"}, "score"),
        ({"score": True}, "score"),
        ({"score": 0.5}, "score"),  # a float: digits are gone
        ({"score": "NaN"}, "score"),
        ({"score": Decimal("0.1234567890123456789")}, "score"),
        ({"score": " 0.5"}, "score"),
        ({"overrides": []}, "overrides"),
        ({"overrides": {"growth": "1.5"}}, "overrides.growth"),
        ({"overrides": {"growth": None}}, "overrides.growth"),
        ({"overrides": {"greedy": "0.5"}}, "overrides.greedy"),
    ],
)
def test_what_sizing_could_not_use_is_refused_by_field(conviction: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as refused:
        parse_intent({**ORDER, "meta": {"conviction": conviction}})
    assert refused.value.field == f"meta.conviction.{field}"


def test_a_duplicate_is_allowed_in_so_many_words():
    assert parse_intent({**ORDER, "meta": {"allow_duplicate": True}})[0].allow_duplicate
    with pytest.raises(InvalidInput, match=r"meta\.allow_duplicate"):
        parse_intent({**ORDER, "meta": {"allow_duplicate": "yes"}})

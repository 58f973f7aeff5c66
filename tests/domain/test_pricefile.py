import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.pricefile import parse

ASOF = "2026-01-31T20:59:58.25+01:00"
_prices = st.decimals(min_value="0.000000000001", max_value=10**15, places=12)
_files = st.dictionaries(st.text("ABC-.", min_size=1, max_size=5), _prices, min_size=1, max_size=5)


@given(_files, st.booleans())
def test_every_digit_is_kept_as_text_and_as_number(prices: dict[str, Decimal], quoted: bool):
    quote = '"' if quoted else ""
    entries = (f'{json.dumps(s)}: {{"price": {quote}{p:f}{quote}, "asof": "{ASOF}"}}' for s, p in prices.items())
    found = parse("{" + ", ".join(entries) + "}")
    assert {symbol: quoted.price for symbol, quoted in found.items()} == prices
    assert {q.asof for q in found.values()} == {datetime(2026, 1, 31, 19, 59, 58, 250_000, tzinfo=UTC)}


@given(_files, st.data())
def test_a_half_written_file_has_no_prices(prices: dict[str, Decimal], data: st.DataObject):
    text = json.dumps({s: {"price": str(p), "asof": ASOF} for s, p in prices.items()})
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(InvalidInput):
        parse(text[:cut])


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"price": "0", "asof": ASOF}, "B.price"),
        ({"price": "-1", "asof": ASOF}, "B.price"),
        ({"price": "NaN", "asof": ASOF}, "B.price"),
        ({"price": "x", "asof": ASOF}, "B.price"),
        ({"price": True, "asof": ASOF}, "B.price"),
        ({"price": None, "asof": ASOF}, "B.price"),
        ({"price": "1" * 29, "asof": ASOF}, "B.price"),
        ({"price": "1e400", "asof": ASOF}, "B.price"),
        ({"price": "1", "asof": "2026-01-31T12:00:00"}, "B.asof"),
        ({"price": "1", "asof": 5}, "B.asof"),
        ({"price": "1", "asof": "0001-01-01T00:00:00+14:00"}, "B.asof"),
        ({"price": "1"}, "B"),
        ({"price": "1", "asof": ASOF, "currency": "EUR"}, "B"),
        ("1", "B"),
    ],
)
def test_one_wrong_entry_is_named_and_spoils_the_file(entry: Any, field: str):
    good = {"price": "1", "asof": ASOF}
    with pytest.raises(InvalidInput) as wrong:
        parse(json.dumps({"A": good, "B": entry}))
    assert wrong.value.field == field


@pytest.mark.parametrize("text", ["[]", "5", '{"A": {"price": NaN, "asof": "x"}}', '{"A": 1, "A": 2}', "[" * 100_000])
def test_what_is_no_price_file_is_refused_whole(text: str):
    with pytest.raises(InvalidInput) as wrong:
        parse(text)
    assert wrong.value.field in {"prices", "A"}


@given(st.text())
def test_no_text_breaks_the_reading(text: str):
    with suppress(InvalidInput):
        assert all(quote.price > 0 for quote in parse(text).values())

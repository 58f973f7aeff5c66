import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.intents import fingerprint, parse_intent
from domain.orders import OrderType, Side, TimeInForce

GOOD: dict[str, Any] = {"vault_id": "V_1", "symbol": "AAPL", "side": "buy", "qty": "10"}


def test_a_small_intent_gets_its_defaults():
    intent, meta = parse_intent(GOOD)
    assert (intent.side, intent.qty, intent.tif, intent.order_type) == (
        Side.BUY, Decimal(10), TimeInForce.DAY, OrderType.MARKET,
    )  # fmt: skip
    assert (intent.limit_price, intent.venue, intent.reference_price, intent.expires_at, meta) == (
        None, None, None, None, {},
    )  # fmt: skip


def test_a_full_intent_is_read_exactly():
    meta = {"expires_at": "2026-01-31T13:00:00+01:00", "reference_price": "0.1", "reason_vector": ["momentum"]}
    intent, kept = parse_intent(
        {**GOOD, "venue": "XNAS", "type": "limit", "limit_price": Decimal("0.10"), "tif": "ioc", "meta": meta}
    )
    assert (intent.venue, intent.tif, intent.limit_price) == ("XNAS", TimeInForce.IOC, Decimal("0.10"))
    assert intent.reference_price == Decimal("0.1")
    assert intent.expires_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert kept == meta


BAD: dict[str, list[Any]] = {
    "qty": [
        None, "", "abc", "NaN", "Infinity", "-Infinity", "sNaN", Decimal("NaN"), Decimal("Infinity"), "0", "-1", 0, -1,
        True, False, 1.5, float("nan"), [], {}, "1e400", "1E+999999999999999999", "1e18", 10**18, 10**4_000,
        "1." + "1" * 28, "0." + "0" * 28 + "1", "1_000", " 10", "10 ", "١٠", "0x10", ".5", "5.", "1,5",
    ],
    "side": [None, "BUY", "long", 1, True, []],
    "symbol": [None, "", "aapl", "A" * 21, "A B", "AAPL\n", "-A", 1, []],
    "vault_id": [None, "", "V 1", "x" * 65, "../V", 1, {}],
    "venue": ["", "X NAS", "x" * 65, 1],
    "tif": ["", "DAY", "opg", 1],
    "type": ["", "stop", 1],
    "limit_price": ["10", "NaN", 0],
    "meta": [[], "x", 1, {"note": "x" * 16_384}],
    "meta.expires_at": [
        "2026-01-31T12:00:00", "2026-01-31", "tomorrow", "", 1_769_860_800, True, "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    ],
    "meta.reference_price": ["NaN", 0, -1, 1.5, True, "x", []],
    "meta.reason_vector": [None, "x", {}, [1], ["x" * 257], ["x"] * 33],
    "meta.conviction": [None, [], "x", 1],
    "meta.provenance": [None, [], "x", 1],
    "quantity": ["10"],
    "Qty": ["10"],
}  # fmt: skip
CASES = [(field, value) for field, values in BAD.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES, ids=[f"{f}={str(v)[:30]!r}" for f, v in CASES])
def test_a_bad_input_is_refused_and_its_field_named(field: str, value: Any):
    parent, _, name = field.rpartition(".")
    with pytest.raises(InvalidInput) as refused:
        parse_intent({**GOOD, parent: {name: value}} if parent else {**GOOD, name: value})
    assert refused.value.field == field
    assert refused.value.reason


@pytest.mark.parametrize("name", ["vault_id", "symbol", "side", "qty"])
def test_a_field_that_is_needed_is_missed_by_name(name: str):
    with pytest.raises(InvalidInput, match=f"{name}: is missing"):
        parse_intent({k: v for k, v in GOOD.items() if k != name})


@pytest.mark.parametrize("price", [{}, {"limit_price": "NaN"}])
def test_a_limit_order_needs_a_readable_limit_price(price: dict[str, Any]):
    with pytest.raises(InvalidInput, match="limit_price"):
        parse_intent({**GOOD, "type": "limit", **price})


@given(st.decimals(min_value="0.000000001", max_value="999999999", places=9))
def test_a_quantity_is_read_exactly_from_text_and_decimal(qty: Decimal):
    assert parse_intent({**GOOD, "qty": qty})[0].qty == qty
    assert parse_intent({**GOOD, "qty": str(qty)})[0].qty == qty


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from([*GOOD, "venue", "type", "limit_price", "tif", "meta", "x"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text of a checkout waits for tables of Unicode
@given(st.dictionaries(_names, _json, max_size=9))
def test_whatever_is_written_gives_an_intent_or_names_a_field(raw: dict[str, Any]):
    try:
        intent, _ = parse_intent({**GOOD, **raw})
    except InvalidInput as error:
        refused = error.field
    else:
        refused = ""
    assert refused or intent.qty > 0


def test_a_fingerprint_does_not_depend_on_spacing_and_order_of_keys():
    spaced = json.loads(' {"qty" : "10",\n"side":"buy","symbol":"AAPL", "vault_id":"V_1"}')
    assert fingerprint(spaced) == fingerprint(GOOD)
    assert fingerprint({**GOOD, "qty": "11"}) != fingerprint(GOOD)

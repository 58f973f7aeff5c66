"""The OS's vault file: read exactly, or refused with all of its faults."""

import json
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import InvalidFile
from domain.vaultfile import MAX_VAULTS, parse

VAULT = {"vault_id": "V_alpha", "label": "Alpha", "rails": ["fiat"]}


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidFile) as refused:
        parse(text)
    return [str(fault) for fault in refused.value.faults]


def fault(**changes: Any) -> list[str]:
    return faults(json.dumps([VAULT, {**VAULT, "vault_id": "V_beta", **changes}]))


def test_a_whole_vault_is_read_to_the_last_digit():
    text = """[{"vault_id": "V_alpha", "label": "Alpha", "rails": ["fiat", "crypto", "fiat"], "personas": ["athena"],
      "risk_profile": {"price_collar_bps": 12.345678901234567890, "hedge": {"symbol": "SH", "ratio": "0.5"}},
      "public": true, "nav": 1000000.000000000001}]"""
    (entry,) = parse(text)
    vault = entry.vault
    assert vault.rails == ("fiat", "crypto")
    assert vault.risk_profile["price_collar_bps"] == Decimal("12.345678901234567890")
    assert vault.nav_usd == Decimal("1000000.000000000001")
    assert entry.given >= {"public", "nav"}


def test_all_faults_are_told_at_once_by_their_paths():
    bad = [VAULT, {"vault_id": "V_b", "label": 1, "rails": "fiat", "colour": "red"}, 7, {**VAULT, "label": "Twice"},
           {**VAULT, "vault_id": "V_c", "rails": []}, {"vault_id": "V_d"}]  # fmt: skip
    told = faults(json.dumps(bad))
    assert [line.partition(":")[0] for line in told] == [
        "vaults[1].colour", "vaults[1].label", "vaults[1].rails", "vaults[2]", "vaults[3].vault_id", "vaults[4].rails",
        "vaults[5].label", "vaults[5].rails",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vault_id", "alpha"), ("vault_id", "V_a b"), ("vault_id", "V_" + "a" * 63), ("label", ""),
        ("label", "a\u0000"),
        ("rails", ["water"]), ("rails", [["fiat"]]), ("personas", ["hera"]), ("personas", {}), ("public", "true"),
        ("public", 1), ("nav", 0), ("nav", "-1"), ("nav", "NaN"), ("nav", True), ("nav", "1e40"), ("nav", "x"),
        ("nav", "0.0000000000001"), ("risk_profile", []), ("risk_profile", {"note": "a\u0000"}),
        ("risk_profile", {"note": "\ud800"}), ("risk_profile", {"max_order_qty": "many"}),
        ("risk_profile", {"max_order_qty": -1}),
    ],
)  # fmt: skip
def test_a_field_that_no_vault_can_have_is_named(name: str, value: Any):
    (told,) = fault(**{name: value})
    assert told.startswith(f"vaults[1].{name}")


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "null", "[", '[{"vault_id": "V_a", "vault_id": "V_b"}]', '[{"nav": NaN}]', '[{"nav": -Infinity}]',
        "[" * 100_000, json.dumps([VAULT] * (MAX_VAULTS + 1)),
    ],
)  # fmt: skip
def test_what_is_no_list_of_vaults_is_refused(text: str):
    (told,) = faults(text)
    assert told.startswith("vaults: ")


def test_nesting_has_an_end():
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"a": deep}
    assert fault(risk_profile=deep)[0].startswith("vaults[1].risk_profile")


def test_an_empty_list_is_no_fault():
    assert parse("[]") == []

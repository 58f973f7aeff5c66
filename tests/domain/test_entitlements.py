"""What is granted: typed, on purpose only, and by the subscription that is in force."""

from dataclasses import replace
from typing import Any

import pytest

from domain.entitlements import (
    EVERYTHING,
    GRANTING,
    NOT_BEGUN,
    NOTHING,
    Entitlements,
    checked,
    from_stored,
    granting,
    smaller,
)
from domain.errors import InvalidInput

PRO = {**NOTHING.to_json(), "vaults": 3, "public_vaults": True, "personas": ["athena", "ares", "athena"]}


@pytest.mark.parametrize("whole", [NOTHING, EVERYTHING])
def test_what_is_stored_is_what_is_read(whole: Any) -> None:
    assert from_stored(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vaults", True), ("vaults", "3"), ("vaults", -1), ("vaults", 2.0), ("public_vaults", 1),
        ("public_vaults", "true"), ("public_vaults", None), ("personas", "athena"), ("personas", [1]),
        ("bridged_brokers", None), ("unheard_of", True),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_grants_nothing_and_takes_nothing_else_away(name: str, value: Any) -> None:
    assert from_stored({"replay": True, name: value}) == from_stored({"replay": True})


def test_a_count_of_none_is_without_limit() -> None:
    assert from_stored({"vaults": None}).vaults is None
    assert from_stored({}).vaults == 0


def test_lists_name_each_thing_once() -> None:
    assert from_stored(PRO).personas == ("athena", "ares")


@pytest.mark.parametrize("status", GRANTING)
def test_an_override_takes_the_place_of_what_the_plan_says(status: str) -> None:
    overrides = {"vaults": 7, "replay": False, "personas": [], "api_rate": None}
    whole = granting(EVERYTHING, status, close_only=False, overrides=overrides)
    assert whole == replace(EVERYTHING, vaults=7, replay=False, personas=())


@pytest.mark.parametrize(
    ("status", "close_only"), [("past_due", True), ("active", True), ("unpaid", False), ("paused", False)]
)
def test_past_its_grace_a_tenant_reads_and_nothing_of_it_grows_whatever_its_overrides(
    status: str, *, close_only: bool
) -> None:
    whole = granting(EVERYTHING, status, close_only=close_only, overrides={"vaults": 7, "audit_retention_days": 40})
    kept = Entitlements(audit_retention_days=40, replay=True, exports=True, api_rate=None)
    assert whole == kept
    assert granting(whole, status, close_only=close_only, overrides={}) == kept


@pytest.mark.parametrize("status", NOT_BEGUN)
def test_before_it_is_paid_for_a_subscription_grants_nothing(status: str) -> None:
    assert granting(EVERYTHING, status, close_only=False, overrides={"vaults": 7}) == NOTHING


def test_the_smaller_of_two_is_what_both_allow() -> None:
    one = replace(EVERYTHING, vaults=3, followers=None, personas=("ares", "athena"), replay=False)
    other = replace(EVERYTHING, vaults=None, followers=9, personas=("athena", "apollo"), exports=False)
    both = replace(EVERYTHING, vaults=3, followers=9, personas=("athena",), replay=False, exports=False)
    assert smaller(one, other) == smaller(other, one) == both


@pytest.mark.parametrize(
    ("name", "value"),
    [("vaults", 0), ("vaults", None), ("replay", True), ("personas", ["athena"]), ("modes", []), ("api_rate", 5)],
)
def test_a_value_of_its_type_may_be_an_override(name: str, value: Any) -> None:
    assert checked(name, value) == value


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("vault", 3, "name"), ("vaults", -1, "value"), ("vaults", True, "value"), ("vaults", 1.0, "value"),
        ("vaults", False, "value"), ("replay", 0, "value"),
        ("vaults", "3", "value"), ("replay", None, "value"), ("replay", 1, "value"), ("personas", "athena", "value"),
        ("personas", ["zeus"], "value"), ("personas", ["athena", "athena"], "value"), ("modes", [1], "value"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_its_type_is_refused_with_what_it_takes(name: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked(name, value)
    assert refused.value.field == field

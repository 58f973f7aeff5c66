"""What is granted: typed, on purpose only, and by the subscription that is in force."""

from typing import Any

import pytest

from domain.entitlements import EVERYTHING, GRANTING, NOTHING, Granted, from_stored, granted

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
def test_a_subscription_in_force_grants_what_it_lists(status: str) -> None:
    assert granted([("core", "canceled", {}), ("pro", status, PRO)], EVERYTHING) == Granted(
        from_stored(PRO), "pro", status
    )


@pytest.mark.parametrize("status", ["unpaid", "paused", "canceled", "incomplete", "incomplete_expired", "later"])
def test_a_subscription_that_is_not_in_force_grants_nothing_whatever_those_without_one_have(status: str) -> None:
    assert granted([("pro", status, PRO)], EVERYTHING) == Granted(NOTHING, "pro", status)


def test_who_never_subscribed_has_what_the_installation_says() -> None:
    assert granted([], EVERYTHING) == Granted(EVERYTHING)

"""A refusal names the plans that would allow it, as far as they would allow it to this tenant."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.payments.catalogue import load_catalogue
from domain.allowances import Rights
from domain.entitlements import Entitlements, Granted
from domain.errors import NotEntitled
from domain.offers import allowing, allows, require
from domain.plans import Catalogue

CATALOGUE = load_catalogue()
CORE = CATALOGUE.current("core").entitlements
RIGHTS = Rights(Granted(CORE, "core", "active"), CORE)


def names(name: str, need: Any, rights: Rights = RIGHTS) -> list[str]:
    return [plan.plan_id for plan in allowing(CATALOGUE, name, need, rights)]


@pytest.mark.parametrize(
    ("name", "need", "plans"),
    [
        ("vaults", 2, ["core", "pro", "institutional"]), ("vaults", 3, ["pro", "institutional"]),
        ("vaults", 11, ["institutional"]), ("followers", 10**9, ["institutional"]),
        ("personas", "nemesis", ["pro", "institutional"]), ("bridged_brokers", "kraken", []),
        ("replay", True, ["pro", "institutional"]), ("modes", "shadow", ["core", "pro", "institutional"]),
    ],
)  # fmt: skip
def test_the_plans_that_allow_it_cheapest_first(name: str, need: Any, plans: list[str]) -> None:
    assert names(name, need) == plans


def test_no_plan_is_offered_over_what_an_operator_has_taken() -> None:
    assert names("replay", True, replace(RIGHTS, overrides={"replay": False})) == []
    with pytest.raises(NotEntitled, match=r"^replay: is not there on the plan core. No plan allows it.$"):
        require(CATALOGUE, replace(RIGHTS, overrides={"replay": False}), "replay", True)


def test_where_nothing_is_sold_no_plan_is_named() -> None:
    nothing = Entitlements()
    with pytest.raises(NotEntitled, match=r"^vaults: 0, and this would be number 1, without a subscription. No plan"):
        require(Catalogue(1, ()), Rights(Granted(nothing), nothing), "vaults", 1)


def test_a_count_a_list_and_a_flag_allow_what_is_in_them() -> None:
    assert allows(CORE, "vaults", 2)
    assert not allows(CORE, "vaults", 3)
    assert allows(replace(CORE, vaults=None), "vaults", 10**12)
    assert allows(CORE, "personas", "athena")
    assert not allows(CORE, "personas", "ares")
    assert not allows(CORE, "replay", True)
    assert allows(replace(CORE, replay=True), "replay", True)

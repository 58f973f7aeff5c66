"""What a subscriber's followers lack, with the plan that has it, and how that is said."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.payments.catalogue import load_catalogue
from domain.entitlements import EVERYTHING, NOTHING
from domain.rights import Offer, lack

PLANS = load_catalogue().sold()
OFFER = Offer(NOTHING, PLANS)
CORE = PLANS[0].entitlements
TERMS: dict[str, Any] = {"mode": "capped", "route": "tradier", "persona": "ares"}


def test_who_may_do_everything_has_no_limits() -> None:
    assert OFFER.limits(EVERYTHING, ["ares"]) == {}


def test_limits_name_the_cheapest_plan_that_is_without_them() -> None:
    assert OFFER.limits(CORE, []) == {
        "personas": {"apollo": "pro", "ares": "pro", "nemesis": "pro"},
        "bridged_brokers": {"coinbase": "pro", "tradier": "pro"},
        "followers": "pro",
    }
    assert OFFER.limits(replace(CORE, followers=500), [])["followers"] == "institutional"


def test_personas_of_flips_are_limited_by_themselves() -> None:
    assert OFFER.limits(CORE, ["ares", "athena"])["flips"] == {"ares": "pro"}


def test_what_no_plan_has_is_lacking_all_the_same() -> None:
    limits = Offer(NOTHING).limits(NOTHING, [])
    assert (limits["modes"]["capped"], limits["followers"]) == ("", "")
    assert lack({"mode": ""}, TERMS, None) == "its subscriber may not have followers in mode capped"


@pytest.mark.parametrize(
    ("lacks", "persona", "said"),
    [
        (None, "ares", ""),
        ({}, "ares", ""),
        ({"broker": "pro"}, None, "its subscriber may not have accounts at tradier; plan pro allows it"),
        ({"persona": "pro", "followers": ""}, "ares", "older followers of its subscriber are as many as it may have"),
        ({"persona": "pro"}, "ares", "its subscriber may not use persona ares; plan pro allows it"),
        ({"persona": "pro"}, "athena", ""),  # a flip has it wear one that it may
        ({"flips": {"ares": "pro"}}, "ares", ""),  # its own
        ({"flips": {"apollo": "pro"}}, "apollo", "its subscriber may not use persona apollo; plan pro allows it"),
        ({"persona": "pro"}, None, ""),
    ],
)
def test_the_first_thing_that_a_follower_lacks_is_said(lacks: dict[str, Any] | None, persona: str, said: str) -> None:
    assert lack(lacks, TERMS, persona) == said

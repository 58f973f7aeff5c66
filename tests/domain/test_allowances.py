"""What a tenant has, from what its subscription stores and what it was granted besides."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.payments.catalogue import load_catalogue
from domain.allowances import rights_of
from domain.entitlements import EVERYTHING, GRANTING, NOTHING, Entitlements, Granted, from_stored

CATALOGUE = load_catalogue()
PRO, CORE = CATALOGUE.current("pro").entitlements, CATALOGUE.current("core").entitlements
FREE = Entitlements(vaults=1, followers=10)


def row(status: str | None, **more: Any) -> dict[str, Any]:
    return {
        "plan_id": None if status is None else "pro", "plan_version": 1, "status": status, "close_only": False,
        "entitlements": {**PRO.to_json(), "vaults": 3}, "scheduled_plan_id": None, "scheduled_plan_version": None,
        "overrides": {}, "overrides_over": False, **more,
    }  # fmt: skip


@pytest.mark.parametrize("status", GRANTING)
def test_a_subscription_in_force_grants_what_it_stores(status: str) -> None:
    rights = rights_of(row(status), CATALOGUE, FREE)
    assert rights.granted == Granted(replace(PRO, vaults=3), "pro", status)
    assert rights.growth == rights.granted.entitlements


@pytest.mark.parametrize(("status", "close_only"), [("past_due", True), ("unpaid", False), ("canceled", False)])
def test_what_was_stored_before_it_lapsed_grants_nothing_that_grows(status: str, *, close_only: bool) -> None:
    rights = rights_of(row(status, close_only=close_only), CATALOGUE, EVERYTHING)
    kept = Entitlements(audit_retention_days=365, replay=True, exports=True, api_rate=1200)
    assert rights.granted == Granted(kept, "pro", status)


def test_who_never_subscribed_has_what_the_installation_says_and_what_he_was_granted() -> None:
    assert rights_of(row(None), CATALOGUE, FREE).granted == Granted(FREE)
    rights = rights_of(row(None, overrides={"vaults": None}), CATALOGUE, FREE)
    assert rights.granted == Granted(replace(FREE, vaults=None))
    assert rights.growth.vaults is None


def test_an_override_that_has_run_out_is_reckoned_out_of_what_is_stored() -> None:
    told = row("active", overrides={"followers": 7}, overrides_over=True)
    assert rights_of(told, CATALOGUE, FREE).granted.entitlements == replace(PRO, followers=7)
    lost = {**told, "plan_version": 99}
    assert rights_of(lost, CATALOGUE, FREE).granted.entitlements == from_stored(told["entitlements"])


def test_with_a_downgrade_ahead_what_is_new_is_held_to_both_plans() -> None:
    told = row("active", scheduled_plan_id="core", scheduled_plan_version=1)
    rights = rights_of(told, CATALOGUE, FREE)
    assert rights.granted.entitlements == replace(PRO, vaults=3)
    assert rights.growth == replace(CORE, vaults=2)
    assert rights_of({**told, "overrides": {"followers": 600}}, CATALOGUE, FREE).growth.followers == 500
    assert rights_of({**told, "close_only": True}, CATALOGUE, FREE).growth.vaults == 0 == NOTHING.vaults

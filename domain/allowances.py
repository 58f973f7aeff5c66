"""What a tenant has at the moment, and what new things of its are held to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.entitlements import Entitlements, Granted, from_stored, granting, overridden, smaller
from domain.plans import Catalogue


@dataclass(frozen=True, slots=True)
class Rights:
    """`growth`: what new vaults and followers are held to: with a downgrade to the plan `ahead`, to what both allow.

    `close_only`: it was not paid in time. `overrides`: what an operator has granted or taken, whatever the plan.
    """

    granted: Granted
    growth: Entitlements
    ahead: str | None = None
    close_only: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)


def rights_of(row: Mapping[str, Any], catalogue: Catalogue, without: Entitlements) -> Rights:
    """From a row of the database's `tenant_rights`. `without` is for a tenant that never subscribed.

    What the subscription stores is what it grants, until an override has run out that is still among it.
    """
    if row["plan_id"] is None:
        whole = overridden(without, row["overrides"])
        return Rights(Granted(whole), whole, overrides=row["overrides"])
    stored, status, close_only = from_stored(row["entitlements"]), row["status"], row["close_only"]
    plan = catalogue.get(row["plan_id"], row["plan_version"])
    if row["overrides_over"] and plan is not None:
        whole = granting(plan.entitlements, status, close_only=close_only, overrides=row["overrides"])
    else:
        whole = granting(stored, status, close_only=close_only, overrides={})
    growth, following = whole, _scheduled(row, catalogue)
    if following is not None:
        growth = smaller(whole, granting(following, status, close_only=close_only, overrides=row["overrides"]))
    granted = Granted(whole, row["plan_id"], status)
    return Rights(granted, growth, row["scheduled_plan_id"], close_only, row["overrides"])


def _scheduled(row: Mapping[str, Any], catalogue: Catalogue) -> Entitlements | None:
    if row["scheduled_plan_id"] is None:
        return None
    plan = catalogue.get(row["scheduled_plan_id"], row["scheduled_plan_version"])
    return None if plan is None else plan.entitlements

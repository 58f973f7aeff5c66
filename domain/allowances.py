"""What a tenant has at the moment, and what new things of its are held to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.entitlements import Entitlements, Granted, from_stored, granting, overridden, smaller
from domain.plans import Catalogue


@dataclass(frozen=True, slots=True)
class Rights:
    """`growth`: what new vaults and followers are held to: with a downgrade ahead, to what both plans allow."""

    granted: Granted
    growth: Entitlements


def rights_of(row: Mapping[str, Any], catalogue: Catalogue, without: Entitlements) -> Rights:
    """From a row of the database's `tenant_rights`. `without` is for a tenant that never subscribed.

    What the subscription stores is what it grants, until an override has run out that is still among it.
    """
    if row["plan_id"] is None:
        whole = overridden(without, row["overrides"])
        return Rights(Granted(whole), whole)
    stored, status, close_only = from_stored(row["entitlements"]), row["status"], row["close_only"]
    plan = catalogue.get(row["plan_id"], row["plan_version"])
    if row["overrides_over"] and plan is not None:
        whole = granting(plan.entitlements, status, close_only=close_only, overrides=row["overrides"])
    else:
        whole = granting(stored, status, close_only=close_only, overrides={})
    granted = Granted(whole, row["plan_id"], status)
    following = _scheduled(row, catalogue)
    if following is None:
        return Rights(granted, whole)
    later = granting(following, status, close_only=close_only, overrides=row["overrides"])
    return Rights(granted, smaller(whole, later))


def _scheduled(row: Mapping[str, Any], catalogue: Catalogue) -> Entitlements | None:
    if row["scheduled_plan_id"] is None:
        return None
    plan = catalogue.get(row["scheduled_plan_id"], row["scheduled_plan_version"])
    return None if plan is None else plan.entitlements

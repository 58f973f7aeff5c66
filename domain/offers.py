"""What a tenant lacks, said so that it can be bought: a refusal names what there is, and the plans that allow more."""

from typing import Any

from domain.allowances import Rights
from domain.entitlements import GRANTING, Entitlements, overridden
from domain.errors import NotEntitled
from domain.plans import Catalogue, Plan


def allows(has: Entitlements, name: str, need: Any) -> bool:
    """`need`: of a count how many there would be, of a list what is to be in it, of a flag True."""
    value = getattr(has, name)
    if isinstance(value, bool):
        return value or not need
    if isinstance(value, tuple):
        return need in value
    return value is None or need <= value


def allowing(catalogue: Catalogue, name: str, need: Any, rights: Rights) -> list[Plan]:
    """Of the plans that are sold those that would allow it to this tenant, cheapest first."""
    return [plan for plan in catalogue.sold() if allows(overridden(plan.entitlements, rights.overrides), name, need)]


def require(
    catalogue: Catalogue, rights: Rights, name: str, need: Any, *, grows: bool = False, own: bool = True
) -> None:
    """Raises NotEntitled. `grows`: it is new, and has to be allowed also after a downgrade that is ahead.

    `own` off: who asks is another tenant than whose rights these are, and hears nothing of them but what they lack.
    """
    has = rights.growth if grows else rights.granted.entitlements
    if allows(has, name, need):
        return
    plans = allowing(catalogue, name, need, rights)
    offer = f"The cheapest plan that allows it is {plans[0].plan_id}." if plans else "No plan allows it."
    ahead = rights.ahead if allows(rights.granted.entitlements, name, need) else None
    why = f"{_lack(need, getattr(has, name))} {_why(rights, ahead)}" if own else "its subscriber may not have more"
    reason = f"{why}. {offer}"
    raise NotEntitled(name, reason, [plan.plan_id for plan in plans])


def _lack(need: Any, value: Any) -> str:
    if isinstance(value, bool):
        return "is not there"
    if isinstance(value, tuple):
        return f"{', '.join(value) or 'none'} and not {need}"
    return f"{value}, and this would be number {need},"


def _why(rights: Rights, ahead: str | None) -> str:
    plan_id, status = rights.granted.plan_id, rights.granted.status
    if plan_id is None:
        return "without a subscription"
    if ahead is not None:
        return f"on the plan {ahead}, which is ahead"
    if status not in GRANTING or rights.close_only:
        return f"on a subscription that is {status}: until it is paid, nothing of its grows (plan {plan_id})"
    return f"on the plan {plan_id}"

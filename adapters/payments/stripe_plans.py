"""The catalogue at Stripe: a product per plan, and per version a plan whose id is `Plan.ref`.

What a plan costs cannot be changed at Stripe, nor should it: a changed price is a new version in the catalogue. Nothing
is ever deactivated: somebody may pay for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import stripe

from adapters.payments.stripe_client import StripeApi, told
from domain.plans import Catalogue, Plan


class SyncState(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Synced:
    """One product or plan, by its id at Stripe. `detail` says what was done, or what a conflict needs."""

    ref: str
    state: SyncState
    detail: str = ""


async def sync_plans(api: StripeApi, catalogue: Catalogue) -> list[Synced]:
    """May be repeated. Raises BillingUnavailable, BillingRefused; what was done until then stays."""
    with told():
        sold = [await _product(api, plan) for plan in catalogue.sold()]
        return sold + [await _plan(api, plan) for plan in catalogue.plans]


def product_ref(plan: Plan) -> str:
    return f"vanta_{plan.plan_id}"


async def _product(api: StripeApi, plan: Plan) -> Synced:
    """Named as its newest version is."""
    ref = product_ref(plan)
    name = f"Vanta {plan.title}"
    found = await _found(api.v1.products, ref)
    if found is None:
        wanted = {"id": ref, "name": name, "metadata": {"plan_id": plan.plan_id}}
        await api.v1.products.create_async(wanted, {"idempotency_key": f"product:{ref}:{name}"})
        return Synced(ref, SyncState.CREATED, name)
    if found.get("name") == name:
        return Synced(ref, SyncState.UNCHANGED, name)
    await api.v1.products.update_async(ref, {"name": name})
    return Synced(ref, SyncState.UPDATED, f"was named {found.get('name')!r}")


async def _plan(api: StripeApi, plan: Plan) -> Synced:
    fixed: dict[str, Any] = {
        "amount": plan.price_minor,
        "currency": plan.currency,
        "interval": plan.interval.value,
        "interval_count": 1,
        "product": product_ref(plan),
    }
    nickname = f"{plan.title} v{plan.version}"
    found = await _found(api.v1.plans, plan.ref)
    if found is None:
        ours = {"plan_id": plan.plan_id, "version": str(plan.version)}
        wanted = {"id": plan.ref, "nickname": nickname, "metadata": ours, **fixed}
        await api.v1.plans.create_async(wanted, {"idempotency_key": f"plan:{plan.ref}:{plan.price_minor}"})
        return Synced(plan.ref, SyncState.CREATED, f"{plan.price_minor} {plan.currency} per {plan.interval}")
    if other := {name: found.get(name) for name, value in fixed.items() if found.get(name) != value}:
        return Synced(plan.ref, SyncState.CONFLICT, _advice(plan, other))
    change: dict[str, Any] = {} if found.get("nickname") == nickname else {"nickname": nickname}
    if not found.get("active"):
        change["active"] = True  # somebody archived what the catalogue sells, or what is still paid for
    if not change:
        return Synced(plan.ref, SyncState.UNCHANGED)
    await api.v1.plans.update_async(plan.ref, change)
    return Synced(plan.ref, SyncState.UPDATED, ", ".join(sorted(change)))


def _advice(plan: Plan, other: Mapping[str, Any]) -> str:
    there = ", ".join(f"{name} {value}" for name, value in sorted(other.items()))
    following = plan.version + 1
    return (
        f"at Stripe it has {there}, which cannot be changed: put the old values back into the catalogue, "
        f"and add version {following} with the new ones"
    )


async def _found(service: Any, ref: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = (await service.retrieve_async(ref)).to_dict()
    except stripe.InvalidRequestError as error:
        if error.http_status == 404:
            return None
        raise
    return found

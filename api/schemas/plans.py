"""Plans on the wire."""

from pydantic import Field

from api.schemas.common import Answer
from api.schemas.entitlements import EntitlementList
from domain.amounts import shown
from domain.plans import Plan as DomainPlan


class PlanName(Answer):
    """A version of a plan, and what it costs. Who pays for an older version keeps it until he changes."""

    plan_id: str = Field(examples=["pro"])
    version: int = Field(examples=[1])
    title: str = Field(examples=["Pro"])
    price: str = Field(description="Per interval, a decimal string.", examples=["199.00"])
    price_minor: int = Field(description="The same in US cents.", examples=[19900])
    currency: str = Field(examples=["usd"])
    interval: str = Field(description="month or year.", examples=["month"])

    @classmethod
    def named(cls, plan: DomainPlan) -> "PlanName":
        return cls(**_named(plan))


class Plan(PlanName):
    trial_days: int = Field(description="For a tenant's first subscription.", examples=[14])
    entitlements: EntitlementList

    @classmethod
    def of(cls, plan: DomainPlan) -> "Plan":
        granted = EntitlementList.model_validate(plan.entitlements)
        return cls(**_named(plan), trial_days=plan.trial_days, entitlements=granted)


class PlanList(Answer):
    """Cheapest first."""

    items: list[Plan]


def _named(plan: DomainPlan) -> dict[str, object]:
    return {
        "plan_id": plan.plan_id,
        "version": plan.version,
        "title": plan.title,
        "price": shown(plan.price_minor),
        "price_minor": plan.price_minor,
        "currency": plan.currency,
        "interval": plan.interval.value,
    }

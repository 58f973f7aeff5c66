"""The plans that are sold."""

from fastapi import APIRouter

from api.deps import AnyCaller, ServicesDep
from api.schemas.common import problems
from api.schemas.plans import Plan, PlanList

router = APIRouter(prefix="/v1")


@router.get("/plans", operation_id="list_plans", tags=["subscription"], responses=problems())
async def list_plans(caller: AnyCaller, services: ServicesDep) -> PlanList:  # noqa: ARG001  any caller will do
    """What can be subscribed to, cheapest first, with what each grants. Prices are no secret: any token will do."""
    return PlanList(items=[Plan.of(plan) for plan in services.billing.catalogue.sold()])

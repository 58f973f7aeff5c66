"""Billing, for those who look after it: where a payment system and we disagree."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.deps import BillingReader, ServicesDep
from api.paging import Page, SinceQuery, page
from api.schemas.billing import BillingDifference
from api.schemas.common import problems

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class DifferenceQuery(SinceQuery):
    resolved: bool | None = Field(default=None, description="Only those that have gone, or only those that last.")


@router.get("/differences", operation_id="list_billing_differences", responses=problems())
async def list_billing_differences(
    caller: BillingReader, services: ServicesDep, query: Annotated[DifferenceQuery, Query()]
) -> Page[BillingDifference]:
    """What the daily comparison of invoices with the payment systems' has found, the latest first."""
    rows = await services.differences.page(caller.tenant_id, query.part(), resolved=query.resolved)
    return page(
        rows,
        query.limit,
        BillingDifference.model_validate,
        lambda row: (row.found_at.isoformat(), row.difference_id),
    )

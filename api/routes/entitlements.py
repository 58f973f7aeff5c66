"""What the caller's tenant may use."""

from fastapi import APIRouter

from api.deps import ServicesDep, VaultReader
from api.schemas.common import problems
from api.schemas.entitlements import EntitlementsAnswer

router = APIRouter(prefix="/v1")


@router.get("/entitlements", operation_id="get_entitlements", tags=["subscription"], responses=problems())
async def get_entitlements(caller: VaultReader, services: ServicesDep) -> EntitlementsAnswer:
    """What the tenant's subscription grants it at the moment; without one, what this installation gives everybody."""
    return EntitlementsAnswer.of(await services.entitlements.of(caller.tenant_id))

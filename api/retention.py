"""How far back a tenant's plan lets it read the audit log, and what is told of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from api.services import Services
from domain.access import Principal

AUDIT_SINCE = "Vanta-Audit-Since"


async def audit_since(services: Services, caller: Principal) -> datetime | None:
    """None: the plan shows all of it."""
    granted = await services.entitlements.of(caller.tenant_id)
    return granted.entitlements.audit_since(datetime.now(UTC))


def headers(since: datetime | None) -> Mapping[str, str]:
    """That what is older is there and is not shown, so that nobody takes a short answer for all that happened."""
    return MappingProxyType({} if since is None else {AUDIT_SINCE: since.isoformat(timespec="seconds")})

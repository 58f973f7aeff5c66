"""What a tenant may use, as Postgres has it."""

from typing import Any
from uuid import UUID

from adapters.store.allowances import RIGHTS
from adapters.store.database import Database
from domain.allowances import Rights, rights_of
from domain.entitlements import Entitlements, Granted
from domain.offers import require
from domain.plans import Catalogue


class EntitlementStore:
    """`without`: what a tenant has that never subscribed."""

    def __init__(self, database: Database, without: Entitlements, catalogue: Catalogue) -> None:
        self._database = database
        self._without = without
        self._catalogue = catalogue

    async def of(self, tenant_id: str) -> Granted:
        """In one round trip."""
        return (await self._rights(tenant_id)).granted

    async def require(self, tenant_id: str, entitlement: str, need: Any) -> None:
        """Raises NotEntitled for what is only read; what is written is held to it by `adapters.store.allowances`."""
        require(self._catalogue, await self._rights(tenant_id), entitlement, need)

    async def _rights(self, tenant_id: str) -> Rights:
        row = await self._database.lookup(RIGHTS, {"tenant": UUID(tenant_id)})
        assert row is not None
        return rights_of(row, self._catalogue, self._without)

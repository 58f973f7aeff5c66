"""What a tenant may use, as Postgres has it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from adapters.store.allowances import RIGHTS
from adapters.store.database import Database
from domain.allowances import Rights, rights_of
from domain.entitlements import Entitlements, Granted
from domain.plans import Catalogue


class EntitlementStore:
    """`without`: what a tenant has that never subscribed."""

    def __init__(self, database: Database, without: Entitlements, catalogue: Catalogue) -> None:
        self._database = database
        self._without = without
        self._catalogue = catalogue

    async def of(self, tenant_id: str) -> Granted:
        """In one round trip."""
        row = await self._database.lookup(RIGHTS, {"tenant": UUID(tenant_id)})
        assert row is not None
        return self._rights(row).granted

    def _rights(self, row: Mapping[str, Any]) -> Rights:
        return rights_of(row, self._catalogue, self._without)

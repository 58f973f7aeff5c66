"""What has been taken from the queue."""

from adapters.store.database import Database
from domain.errors import InvalidInput


class IngestionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenant_of_vault(self, vault_id: str) -> str | None:
        return await self._database.tenant_of_vault(vault_id)

    async def is_known(self, tenant_id: str, key: str) -> bool:
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute("SELECT 1 FROM ingested_entries WHERE entry_key = %s AND is_mine(tenant_id)", [key])
            return await cursor.fetchone() is not None

    async def require_symbol(self, tenant_id: str, symbol: str) -> None:
        """Raises InvalidInput for a symbol that is no known instrument."""
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute("SELECT 1 FROM instruments WHERE symbol = %s", [symbol])
            if await cursor.fetchone() is None:
                raise InvalidInput("symbol", f"{symbol} is not a known instrument")

    async def remember(self, tenant_id: str, key: str, mo_id: str, outcome: str) -> None:
        """Safe to repeat: the first record stands."""
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(
                "INSERT INTO ingested_entries (tenant_id, entry_key, mo_id, outcome) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                [tenant_id, key, mo_id, outcome],
            )

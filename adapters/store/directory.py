"""The vaults that a tenant may look at: its own, and the public ones of others as far as they may be shown.

What is shown of another tenant's vault is decided by the function `public_vaults` of the database: no other column
of it can be read on this side of row-level security.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from adapters.store.database import Database
from adapters.store.entitlements import EntitlementStore
from domain.enrolment import Visibility
from domain.errors import NotFound
from models import Vault

# In the database's own order of texts, which is not Python's.
_LISTED = """
SELECT * FROM (
  (SELECT vault_id, true AS owned, NULL AS label, NULL::text[] AS rails, NULL::text[] AS personas, NULL AS status,
     NULL::timestamptz AS created_at
   FROM vaults WHERE %(own)s AND is_mine(tenant_id) AND vault_id > %(after)s ORDER BY vault_id LIMIT %(limit)s)
  UNION ALL
  SELECT vault_id, false, label, rails, personas, status, created_at
  FROM public_vaults(%(after)s, CASE WHEN %(others)s THEN %(limit)s ELSE 0 END, NULL)
) listed ORDER BY vault_id LIMIT %(limit)s
"""
_ONE = "SELECT vault_id, label, rails, personas, status, created_at FROM public_vaults('', 1, %s)"


@dataclass(frozen=True, slots=True)
class PublicVault:
    """Another tenant's vault: nothing of its positions, its worth, its risk profile, its halts, or whose it is."""

    vault_id: str
    label: str
    rails: Sequence[str]
    personas: Sequence[str]
    status: str
    created_at: datetime


class VaultDirectory:
    def __init__(self, database: Database, entitlements: EntitlementStore) -> None:
        self._database = database
        self._entitlements = entitlements

    async def page(
        self, tenant_id: str, visibility: Visibility, *, limit: int, after: str = ""
    ) -> Sequence[Vault | PublicVault]:
        """In the order of their ids, those beyond `after`. Without the entitlement there are no public ones."""
        asked = visibility is not Visibility.OWN
        others = asked and (await self._entitlements.of(tenant_id)).entitlements.public_vaults
        given = {"own": visibility is not Visibility.PUBLIC, "others": others, "after": after, "limit": limit}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_LISTED, given)
            rows = await cursor.fetchall()
        own = await self._own(tenant_id, [row["vault_id"] for row in rows if row["owned"]])
        found = [own.get(row["vault_id"]) if row["owned"] else _public(row) for row in rows]
        return [vault for vault in found if vault is not None]

    async def get(self, tenant_id: str, vault_id: str) -> Vault | PublicVault:
        """Raises NotFound, also for a public one without the entitlement."""
        own = await self._own(tenant_id, [vault_id])
        if vault_id in own:
            return own[vault_id]
        if (await self._entitlements.of(tenant_id)).entitlements.public_vaults:
            async with self._database.cursor(tenant_id) as cursor:
                await cursor.execute(_ONE, [vault_id])
                row = await cursor.fetchone()
            if row is not None:
                return _public(row)
        raise NotFound("vault", vault_id)

    async def _own(self, tenant_id: str, vault_ids: Sequence[str]) -> dict[str, Vault]:
        if not vault_ids:
            return {}
        async with self._database.session(tenant_id) as session:
            rows = await session.exec(select(Vault).where(col(Vault.vault_id).in_(vault_ids)))
            return {row.vault_id: row for row in rows.all()}


def _public(row: dict[str, Any]) -> PublicVault:
    return PublicVault(**{name: value for name, value in row.items() if name != "owned"})

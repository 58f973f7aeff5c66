"""Vaults from a file: created and brought in line in one transaction, each change with its audit event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.allowances import UNLIMITED, Allowance
from adapters.store.database import Database
from adapters.store.enrolment import exact, vault_row
from adapters.store.entities import emit, insert_new, require
from domain.errors import InvalidFile, InvalidInput
from domain.sizing import plain
from domain.vaultfile import VaultEntry
from models import Tenant, Vault


@dataclass(frozen=True, slots=True)
class ImportedVault:
    """`created`, or else `changes`: each changed field with what it was and what it is; none: it was so already."""

    vault_id: str
    created: bool = False
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)


class _OnlyTried(Exception):
    """Takes back what a dry run has done."""


class VaultImport:
    def __init__(self, database: Database, allowance: Allowance = UNLIMITED) -> None:
        self._database = database
        self._allowance = allowance

    async def run(
        self, tenant_id: str, entries: Sequence[VaultEntry], *, actor: str, dry_run: bool = False
    ) -> list[ImportedVault]:
        """All of the file or nothing, in its order; a repeat changes nothing. `dry_run` takes all of it back.

        What an entry leaves out stays as it is; a risk profile that is given takes the whole place of the old one. A
        NAV is for a vault that has none yet: after that it moves with orders and prices. Raises NotFound for the
        tenant, InvalidFile where an id is taken by another one, NotEntitled for what the plan does not allow.
        """
        done: list[ImportedVault] = []
        try:
            async with self._database.session(tenant_id) as session:
                await require(session, Tenant, "tenant", UUID(tenant_id))
                there = await _there(session, entries)
                await self._allow(session, tenant_id, entries, there)
                faults: list[InvalidInput] = []
                for entry in entries:
                    try:
                        done.append(await _one(session, tenant_id, entry, there.get(str(entry.vault.vault_id)), actor))
                    except InvalidInput as fault:
                        faults.append(InvalidInput(f"{entry.path}.{fault.field}", fault.reason))
                if faults:
                    raise InvalidFile(faults)
                if dry_run:
                    raise _OnlyTried
        except _OnlyTried:
            pass
        return done

    async def _allow(
        self, session: AsyncSession, tenant_id: str, entries: Sequence[VaultEntry], there: Mapping[str, Vault]
    ) -> None:
        fresh = len({str(entry.vault.vault_id) for entry in entries} - there.keys())
        if fresh:
            await self._allowance.new_vaults(session, tenant_id, fresh)
        for entry in entries:
            row = there.get(str(entry.vault.vault_id))
            before = () if row is None else row.personas
            await self._allowance.personas(session, tenant_id, entry.vault.personas, before)


async def _there(session: AsyncSession, entries: Sequence[VaultEntry]) -> dict[str, Vault]:
    """Those that are there, locked in the order in which any other import locks them."""
    wanted = select(Vault).where(col(Vault.vault_id).in_([str(entry.vault.vault_id) for entry in entries]))
    rows = await session.exec(wanted.order_by(col(Vault.vault_id)).with_for_update())
    return {row.vault_id: row for row in rows.all()}


async def _one(
    session: AsyncSession, tenant_id: str, entry: VaultEntry, row: Vault | None, actor: str
) -> ImportedVault:
    new = entry.vault
    if row is None:
        made = await insert_new(session, vault_row(tenant_id, new, ""), "vault_id")
        payload = made.model_dump(mode="json", exclude={"tenant_id"})
        await emit(session, tenant_id, "vault", made.vault_id, "created", actor, payload)
        return ImportedVault(made.vault_id, created=True)
    fresh = vault_row(tenant_id, new, "")
    names = [name for name in ("label", "rails", "personas", "risk_profile", "public") if name in entry.given]
    was = {name: getattr(row, name) for name in names if getattr(row, name) != getattr(fresh, name)}
    changes: dict[str, dict[str, Any]] = {
        name: {"from": exact(before), "to": exact(getattr(fresh, name))} for name, before in was.items()
    }
    row.sqlmodel_update({name: getattr(fresh, name) for name in was})
    if was:
        await emit(session, tenant_id, "vault", row.vault_id, "updated", actor, {"changes": changes})
    if new.nav_usd is not None and row.nav_usd is None and row.cash_usd is None:
        row.nav_usd = row.cash_usd = row.nav_told_usd = new.nav_usd
        row.nav_asof, row.nav_fault = fresh.nav_asof, None
        assert fresh.nav_asof is not None
        told = {"nav_usd": plain(new.nav_usd), "nav_asof": fresh.nav_asof.isoformat()}
        await emit(session, tenant_id, "vault", row.vault_id, "nav_updated", actor, told)
        changes["nav"] = {"from": None, "to": plain(new.nav_usd)}
    session.add(row)
    return ImportedVault(row.vault_id, changes=changes)

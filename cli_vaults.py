"""`vanta import vaults`: the OS's vaults from a file, on the database itself."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_http import table
from domain.errors import InvalidFile, InvalidInput

if TYPE_CHECKING:
    from adapters.store.vault_import import ImportedVault
    from domain.vaultfile import VaultEntry

DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
_DATA = Path(".vanta")
_ACTOR = "operator:cli"
_MAX_BYTES = 16_000_000


def vaults(
    file: Annotated[Path, typer.Argument(help="JSON: a list of vaults, as docs/gateway.md describes it.")],
    tenant: Annotated[uuid.UUID, typer.Option(help="The manager's tenant.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    data: DataDir = _DATA,
) -> None:
    """Create the vaults of a file and bring those that are there in line: all of them, or none where one is wrong."""
    from domain.vaultfile import parse

    try:
        done = asyncio.run(_import(data, str(tenant), parse(_text(file)), dry_run=dry_run))
    except InvalidFile as refused:
        for fault in refused.faults:
            typer.echo(str(fault), err=True)
        typer.echo(f"nothing was imported: {len(refused.faults)} faults", err=True)
        raise typer.Exit(1) from None
    shown = [_shown(vault) for vault in done]
    table(("vault", "what", "field", "from", "to"), [row for rows in shown for row in rows])
    created, changed = sum(v.created for v in done), sum(bool(v.changes) for v in done)
    would = "would be " if dry_run else ""
    typer.echo(f"{would}created {created}, {would}changed {changed}, unchanged {len(done) - created - changed}")


async def _import(data: Path, tenant_id: str, entries: "list[VaultEntry]", *, dry_run: bool) -> "list[ImportedVault]":
    from adapters.payments.catalogue import load_catalogue
    from adapters.store.allowances import Allowance
    from adapters.store.database import Database
    from adapters.store.vault_import import VaultImport
    from stack.environment import find_settings

    settings = find_settings(data)
    allowance = Allowance(settings.unsubscribed, load_catalogue(settings.billing.catalogue_path))
    database = Database(settings.postgres)
    try:
        return await VaultImport(database, allowance).run(tenant_id, entries, actor=_ACTOR, dry_run=dry_run)
    finally:
        await database.close()


def _text(file: Path) -> str:
    """Raises InvalidInput, OSError."""
    with file.open("rb") as opened:
        raw = opened.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise InvalidInput("vaults", f"{file.name} is larger than {_MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("vaults", f"{file.name} is not UTF-8") from None


def _shown(vault: "ImportedVault") -> list[tuple[Any, ...]]:
    if vault.created or not vault.changes:
        return [(vault.vault_id, "created" if vault.created else "unchanged", "", "", "")]
    return [
        (vault.vault_id, "changed", name, _value(change["from"]), _value(change["to"]))
        for name, change in vault.changes.items()
    ]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)

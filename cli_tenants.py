"""`vanta tenants`: customers of the installation: their beginning, their first owner, and whether they are let in.

Works on the database itself, with the settings of the environment or of the embedded stack.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_http import console, table
from domain.access import Role, TenantStatus, check_email
from domain.errors import IdempotencyKeyReused, InvalidInput
from domain.requests import Once

if TYPE_CHECKING:
    from adapters.identity.invitations import Invited
    from adapters.store.database import Database
    from settings import Settings

app = typer.Typer(no_args_is_help=True, help="Tenants: create, invite, suspend, resume.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
Tenant = Annotated[uuid.UUID, typer.Argument(help="The tenant's id.")]
Reason = Annotated[str, typer.Option(help="Why; audited.")]
_DATA = Path(".vanta")
_ACTOR = "operator:cli"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Of the organisation.")],
    owner: Annotated[str, typer.Option(help="The e-mail address of its first owner.")],
    tenant_id: Annotated[uuid.UUID | None, typer.Option(help="To repeat it safely.", show_default="a new one")] = None,
    data: DataDir = _DATA,
) -> None:
    """Create a tenant and invite its first owner. The token is shown once: hand it over, the first login brings it."""
    asyncio.run(_create(data, str(tenant_id or uuid.uuid4()), name, check_email(owner)))


@app.command()
def invite(
    tenant_id: Tenant,
    email: Annotated[str, typer.Argument(help="The address that the identity provider has verified.")],
    role: Annotated[Role, typer.Option(help="owner, ops or auditor; follower goes with --follower.")] = Role.OWNER,
    follower: Annotated[str | None, typer.Option(help="The follower (F_…) that the person is to be.")] = None,
    data: DataDir = _DATA,
) -> None:
    """Invite a person, as when an owner's invitation has expired. The token is shown once."""
    if (role is Role.FOLLOWER) != (follower is not None):
        raise InvalidInput("--follower", "goes with --role follower, and --role follower with it")

    async def run() -> "Invited":
        once = Once("cli_invite", uuid.uuid4().hex, "")
        return await _invite(data, str(tenant_id), check_email(email), role, follower, once)

    _show(str(tenant_id), asyncio.run(run()))


@app.command()
def suspend(tenant_id: Tenant, reason: Reason, data: DataDir = _DATA) -> None:
    """Let none of the tenant's people and programs in any more. Its orders go on; to stop those: vanta halt."""
    _set(data, tenant_id, TenantStatus.SUSPENDED, reason)


@app.command()
def resume(tenant_id: Tenant, reason: Reason, data: DataDir = _DATA) -> None:
    """Let them in again."""
    _set(data, tenant_id, TenantStatus.ACTIVE, reason)


async def _create(data: Path, tenant_id: str, name: str, email: str) -> None:
    from adapters.secretbox import SecretBox
    from adapters.store.registry import Registry

    if not name.strip():
        raise InvalidInput("NAME", "must not be empty")
    async with _opened(data) as (settings, database):
        registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
        await registry.ensure_tenant(tenant_id, name, actor=_ACTOR)
    try:
        done = await _invite(data, tenant_id, email, Role.OWNER, None, Once("cli_create_tenant", tenant_id, email))
    except IdempotencyKeyReused:
        raise InvalidInput("--owner", f"somebody else was invited to {tenant_id}; use: vanta tenants invite") from None
    _show(tenant_id, done)


async def _invite(data: Path, tenant_id: str, email: str, role: Role, follower_id: str | None, once: Once) -> "Invited":
    from adapters.identity.invitations import Invitations

    async with _opened(data) as (settings, database):
        invitations = Invitations(database, valid_for=timedelta(days=settings.auth.invitation_days))
        return await invitations.create(tenant_id, email, role, follower_id, actor=_ACTOR, once=once)


def _set(data: Path, tenant_id: uuid.UUID, status: TenantStatus, reason: str) -> None:
    from adapters.store.tenants import TenantStore

    async def run() -> None:
        async with _opened(data) as (_, database):
            await TenantStore(database).set_status(str(tenant_id), status, reason, actor=_ACTOR)

    asyncio.run(run())
    console().print(f"{tenant_id} is {status}")


def _show(tenant_id: str, done: "Invited") -> None:
    row = done.row
    rows: list[tuple[Any, ...]] = [
        ("tenant", tenant_id),
        ("invitation", row.invitation_id),
        ("for", f"{row.email} as {row.role}" + (f" of {row.follower_id}" if row.follower_id else "")),
        ("expires", f"{row.expires_at:%Y-%m-%d %H:%M} UTC"),
        (
            "token",
            done.token or "was shown when it was made, and is stored nowhere; for a new one: vanta tenants invite",
        ),
    ]
    table(("", ""), rows)


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[tuple["Settings", "Database"]]:
    from adapters.store.database import Database
    from stack.environment import find_settings

    settings = find_settings(data)
    database = Database(settings.postgres)
    try:
        yield settings, database
    finally:
        await database.close()

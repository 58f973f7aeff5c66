"""`vanta overrides`: what a tenant may use besides its plan, or may not in spite of it.

Works on the database itself, with the settings of the environment or of the embedded stack.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli_http import console, table
from domain.errors import InvalidInput

if TYPE_CHECKING:
    from adapters.entitlement_cache import EntitlementCache
    from adapters.store.overrides import OverrideStore

app = typer.Typer(no_args_is_help=True, help="Entitlements of one tenant beside its plan: set, end, list.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
Tenant = Annotated[uuid.UUID, typer.Argument(help="The tenant's id.")]
Name = Annotated[str, typer.Argument(help="Of the entitlement, such as followers.")]
Reason = Annotated[str, typer.Option(help="Why; audited.")]
_DATA = Path(".vanta")
_ACTOR = "operator:cli"


@app.command("set")
def set_override(
    tenant_id: Tenant,
    name: Name,
    value: Annotated[str, typer.Argument(help="As JSON: 50, null (no limit), true, '[\"athena\"]'.")],
    reason: Reason,
    until: Annotated[str | None, typer.Option(help="RFC 3339 time.", show_default="until it is ended")] = None,
    data: DataDir = _DATA,
) -> None:
    """Give a tenant something whatever its plan, or take it. It takes the place of what the plan says."""
    from adapters.store.overrides import NewOverride

    new = NewOverride(name, _json(value), reason, _time(until))

    async def run() -> None:
        async with _opened(data) as (store, cache):
            await store.set(str(tenant_id), new, actor=_ACTOR, now=datetime.now(UTC))
            await cache.forget(str(tenant_id))

    asyncio.run(run())
    console().print(f"{name} of {tenant_id} is {value}" + (f" until {until}" if until else ""))


@app.command()
def end(tenant_id: Tenant, name: Name, reason: Reason, data: DataDir = _DATA) -> None:
    """End it: what the plan says counts again."""

    async def run() -> None:
        async with _opened(data) as (store, cache):
            await store.end(str(tenant_id), name, reason=reason, actor=_ACTOR, now=datetime.now(UTC))
            await cache.forget(str(tenant_id))

    asyncio.run(run())
    console().print(f"{name} of {tenant_id} is what its plan says")


@app.command("list")
def list_overrides(tenant_id: Tenant, data: DataDir = _DATA) -> None:
    """Those that are not ended."""

    async def run() -> list[tuple[str, str, str, str, str]]:
        async with _opened(data) as (store, _):
            return [
                (
                    row.name,
                    json.dumps(row.value["value"]),
                    "" if row.expires_at is None else f"{row.expires_at:%Y-%m-%d %H:%M} UTC",
                    row.actor,
                    row.reason,
                )
                for row in await store.list(str(tenant_id))
            ]

    table(("entitlement", "value", "until", "by", "why"), asyncio.run(run()))


def _json(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        raise InvalidInput("VALUE", 'must be JSON: a number, null, true, false, or a list like ["athena"]') from None


def _time(value: str | None) -> datetime | None:
    try:
        found = None if value is None else datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput("--until", "must be a time like 2026-12-31T00:00:00Z") from None
    if found is not None and found.tzinfo is None:
        raise InvalidInput("--until", "must have a time zone, like 2026-12-31T00:00:00Z")
    return found


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[tuple["OverrideStore", "EntitlementCache"]]:
    from adapters.entitlement_cache import EntitlementCache
    from adapters.kill.channel import open_redis
    from adapters.payments.catalogue import load_catalogue
    from adapters.store.database import Database
    from adapters.store.entitlements import EntitlementStore
    from adapters.store.overrides import OverrideStore
    from stack.environment import find_settings

    settings = find_settings(data)
    catalogue = load_catalogue(settings.billing.catalogue_path)
    database, redis = Database(settings.postgres), open_redis(settings.redis)
    try:
        cache = EntitlementCache(redis, EntitlementStore(database, settings.unsubscribed, catalogue))
        yield OverrideStore(database, catalogue), cache
    finally:
        await redis.aclose()
        await database.close()

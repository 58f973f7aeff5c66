"""One pool of connections; every transaction is a tenant's and sees that tenant's rows only, for two reasons.

The query layer asks for no others (`adapters.store.tenancy`), and row-level security would give none.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, cast
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy import TextClause, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection as EngineConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.failures import UNAVAILABLE
from adapters.store.tenancy import TenantCursor, TenantSession, guard_engine, of_tenant
from domain.errors import StoreUnavailable

_SET_TENANT = text("SELECT set_config('vanta.tenant_id', :tenant, true)")

Cursor = TenantCursor


def _dumps(value: Any) -> bytes:
    # Decimals ride as strings: a JSON number would pass through a float in somebody's parser.
    return orjson.dumps(value, default=str)


def jsonb(value: Any) -> Jsonb:
    return Jsonb(value, dumps=_dumps)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except UNAVAILABLE as error:
        raise StoreUnavailable(f"the database does not answer ({type(error).__name__})") from error


class PostgresConfig(Protocol):
    """What `settings.PostgresSettings` offers."""

    @property
    def dsn(self) -> SecretStr: ...
    @property
    def pool_size(self) -> int: ...
    @property
    def pool_timeout_s(self) -> int: ...
    @property
    def statement_timeout_ms(self) -> int: ...


class Database:
    """`session` for SQLModel, `cursor` for the statements of the order path; both are one transaction of one tenant.

    `filtered` off takes the query layer's line between tenants away, so that tests see whether the other one holds.
    """

    def __init__(self, config: PostgresConfig, *, filtered: bool = True) -> None:
        self._filtered = filtered
        self._engine: AsyncEngine = create_async_engine(
            make_url(config.dsn.get_secret_value()).set(drivername="postgresql+psycopg"),
            pool_size=config.pool_size,
            max_overflow=0,
            pool_timeout=config.pool_timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,  # what is bound may be a secret or a person's; errors end in logs
            connect_args={
                "connect_timeout": config.pool_timeout_s,
                "options": f"-c statement_timeout={config.statement_timeout_ms} -c timezone=UTC",
            },
        )
        guard_engine(self._engine.sync_engine, filtered=filtered)

    @asynccontextmanager
    async def _transaction(self, tenant_id: str, **options: Any) -> AsyncIterator[EngineConnection]:
        with _translated():
            async with self._engine.connect() as connection:
                if options:
                    await connection.execution_options(**options)
                async with connection.begin():
                    await connection.execute(_SET_TENANT, {"tenant": str(UUID(tenant_id))})
                    yield connection

    @asynccontextmanager
    async def session(self, tenant_id: str) -> AsyncIterator[AsyncSession]:
        """Commits on leaving, rolls back on an exception."""
        async with (
            self._transaction(tenant_id) as connection,
            AsyncSession(
                bind=connection,
                sync_session_class=TenantSession if self._filtered else Session,
                info=of_tenant(tenant_id),
                expire_on_commit=False,
                autoflush=False,
            ) as session,
        ):
            yield session
            await session.flush()

    @asynccontextmanager
    async def cursor(self, tenant_id: str) -> AsyncIterator[Cursor]:
        """The driver's own cursor with dict rows, in the same pool and the same kind of transaction."""
        async with self._transaction(tenant_id) as connection, self._cursor(connection) as cursor:
            yield cursor

    @asynccontextmanager
    async def snapshot(self, tenant_id: str) -> AsyncIterator[Cursor]:
        """For reading only: all statements see what was committed before the first of them."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        async with self._transaction(tenant_id, **options) as connection, self._cursor(connection) as cursor:
            yield cursor

    @asynccontextmanager
    async def _cursor(self, connection: EngineConnection) -> AsyncIterator[Cursor]:
        raw = (await connection.get_raw_connection()).driver_connection
        async with TenantCursor(cast("AsyncConnection[Any]", raw), row_factory=dict_row) as cursor:
            cursor.filtered = self._filtered
            yield cursor

    async def ping(self) -> None:
        """Raises what the driver raises when the database is out of reach."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def lookup(self, statement: TextClause, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first row of what answers before a tenant is known: a function of the owner's."""
        with _translated():
            async with self._engine.connect() as connection:
                # Every request asks who calls: one statement needs no transaction, whose begin and end cost as much.
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                found = (await connection.execute(statement, values)).mappings().first()
        return None if found is None else dict(found)

    async def change(self, statement: TextClause) -> Mapping[str, Any]:
        """The one row of a function of the owner's that changes what belongs to many tenants."""
        with _translated():
            async with self._engine.begin() as connection:
                return dict((await connection.execute(statement)).mappings().one())

    async def tenant_of_vault(self, vault_id: str) -> str | None:
        """Whose vault it is; for entries that name a vault and no tenant."""
        with _translated():
            async with self._engine.connect() as connection:
                found = await connection.scalar(text("SELECT vault_tenant(:vault)"), {"vault": vault_id})
        return None if found is None else str(found)

    async def close(self) -> None:
        await self._engine.dispose()

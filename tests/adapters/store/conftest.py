"""The application's database role on the real Postgres."""

import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from settings import Settings
from tests.conftest import owner_dsn

ACTOR = "user:test"


@pytest.fixture(scope="session")
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.postgres)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def box(settings: Settings) -> SecretBox:
    return SecretBox(settings.secrets.master_keys.get_secret_value())


@pytest.fixture(scope="session")
def registry(database: Database, box: SecretBox) -> Registry:
    return Registry(database, box)


@pytest.fixture
async def tenant(registry: Registry) -> str:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Test tenant", actor=ACTOR)
    return tenant_id


@pytest.fixture
async def no_tokens(settings: Settings) -> None:
    """No other test's access token is about to expire: they are refreshed whosever they are."""
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings)) as connection:
        await connection.execute("UPDATE credentials SET expires_at = NULL")

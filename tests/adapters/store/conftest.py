"""The application's database role on the real Postgres."""

import uuid
from collections.abc import AsyncIterator

import pytest

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from settings import Settings

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

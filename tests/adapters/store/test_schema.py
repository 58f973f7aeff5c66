"""The migrations lead to the tables that the models describe."""

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, make_url, pool
from sqlmodel import SQLModel

import models
from settings import Settings

assert models.__all__


@pytest.fixture
def migrated(settings: Settings) -> Iterator[Connection]:
    assert settings.postgres.owner_dsn is not None
    url = make_url(settings.postgres.owner_dsn.get_secret_value()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata))


def test_the_migrated_schema_equals_the_models(migrated: Connection) -> None:
    assert _differences(migrated) == []


def test_the_comparison_notices_a_missing_column(migrated: Connection) -> None:
    migrated.exec_driver_sql("ALTER TABLE vaults DROP COLUMN label")  # rolled back with the connection
    assert [change[0] for change in _differences(migrated)] == ["add_column"]

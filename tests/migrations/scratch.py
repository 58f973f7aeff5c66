"""An empty database beside the product's, and the way up to a revision."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from psycopg.conninfo import make_conninfo

import migrations
from settings import Settings
from stack import Stack
from stack.credentials import load_credentials
from stack.postgres import ADMIN
from tests.conftest import owner_dsn


@contextmanager
def scratch_database(stack: Stack, settings: Settings, name: str) -> Iterator[str]:
    """The owner's DSN of it; whoever is still connected at the end is thrown out."""
    password = load_credentials(stack.layout.credentials).postgres_admin
    admin = make_conninfo(owner_dsn(settings), user=ADMIN, password=password)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER vanta_owner").format(sql.Identifier(name)))
        try:
            yield owner_dsn(settings).rpartition("/")[0] + f"/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def upgrade(dsn: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option(
        "sqlalchemy.url", dsn.replace("postgresql://", "postgresql+psycopg://", 1).replace("%", "%%")
    )
    command.upgrade(config, revision)

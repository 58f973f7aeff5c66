"""What was on its way to the bus in the former form still is after the migration."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import migrations
from settings import Settings
from stack import Stack
from stack.credentials import load_credentials
from stack.postgres import ADMIN
from tests.conftest import owner_dsn

TENANT = "5f0c7f0e-6a53-4f0e-9d5e-2a0f4a1d9b11"
SCRATCH = "migrating"


@pytest.fixture
def scratch(stack: Stack, settings: Settings) -> Iterator[str]:
    """The owner's DSN of an empty database beside the product's."""
    password = load_credentials(stack.layout.credentials).postgres_admin
    admin = make_conninfo(owner_dsn(settings), user=ADMIN, password=password)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {SCRATCH} OWNER vanta_owner")
        yield owner_dsn(settings).rpartition("/")[0] + f"/{SCRATCH}"
        connection.execute(f"DROP DATABASE {SCRATCH}")


def _upgrade(dsn: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option(
        "sqlalchemy.url", dsn.replace("postgresql://", "postgresql+psycopg://", 1).replace("%", "%%")
    )
    command.upgrade(config, revision)


def test_rows_in_the_former_form_go_on_and_in_their_order(scratch: str):
    _upgrade(scratch, "0001")
    with psycopg.connect(scratch) as connection:
        connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'Old')", [TENANT])
        found = connection.execute(
            "INSERT INTO audit_events (tenant_id, entity, entity_id, action, actor) "
            "SELECT %s, 'vault', 'V_' || n, 'created', 'user:test' FROM generate_series(1, 3) n RETURNING event_id",
            [TENANT],
        ).fetchall()
        events = [row[0] for row in found]
        letter = {"fo_id": "FO-1"}
        for event_id, subject, payload in (
            (events[2], f"mirror.{TENANT}.vault.created", {"event_id": events[2]}),
            (events[1], f"mirror_dispatch_dlx.{TENANT}", letter),
            (events[0], f"mirror.{TENANT}.vault.created", {"event_id": events[0]}),
        ):
            connection.execute(
                "INSERT INTO outbox (tenant_id, event_id, subject, payload) VALUES (%s, %s, %s, %s)",
                [TENANT, event_id, subject, Jsonb(payload)],
            )
    _upgrade(scratch, "0002")
    with psycopg.connect(scratch, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT event_ids, subject, payload FROM outbox ORDER BY outbox_id").fetchall()
    assert rows == [
        {"event_ids": [events[2]], "subject": None, "payload": None},
        {"event_ids": None, "subject": f"mirror_dispatch_dlx.{TENANT}", "payload": letter},
        {"event_ids": [events[0]], "subject": None, "payload": None},
    ]

"""Real servers for the whole test run, started when the first test asks for them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import Settings
from stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The embedded servers, migrated and bootstrapped; no API and no workers."""
    # Not pytest's own folder: it is closed to the user that runs Postgres under root.
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-test-"))) as running:
        running.start_servers()
        running.bootstrap()
        yield running
        running.purge()


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    return stack.settings()


def owner_dsn(settings: Settings) -> str:
    """The DSN of the role that owns the tables, for tests that look behind row-level security's back."""
    assert settings.postgres.owner_dsn is not None
    return settings.postgres.owner_dsn.get_secret_value()

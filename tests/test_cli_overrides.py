"""`vanta overrides` on the real database: what people type to give a tenant more than its plan, and less."""

import os
import uuid

import psycopg
import pytest
from typer.testing import CliRunner

from cli_overrides import app
from settings import Settings
from stack import Stack
from tests.conftest import owner_dsn


@pytest.fixture(autouse=True)
def _of_the_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VANTA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VANTA_DATA", str(stack.layout.data))


@pytest.fixture
def tenant(settings: Settings) -> str:
    tenant_id = str(uuid.uuid4())
    with psycopg.connect(owner_dsn(settings)) as connection:
        connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'Fund Ltd.')", [tenant_id])
    return tenant_id


def vanta(*args: str) -> tuple[int, str]:
    """Exit code and output; of an error, which `cli.main` prints as one line, its words."""
    done = CliRunner().invoke(app, [*args])
    return done.exit_code, done.output if isinstance(done.exception, SystemExit | None) else str(done.exception)


def test_an_override_is_set_shown_and_ended(settings: Settings, tenant: str) -> None:
    code, said = vanta("set", tenant, "followers", "50", "--reason", "a pilot", "--until", "2126-01-01T00:00:00Z")
    assert code == 0, said
    code, said = vanta("list", tenant)
    for part in ("followers", "50", "2126-01-01 00:00 UTC", "operator:cli", "a pilot"):
        assert part in said
    assert vanta("end", tenant, "followers", "--reason", "over")[0] == 0
    assert "followers" not in vanta("list", tenant)[1]
    with psycopg.connect(owner_dsn(settings)) as connection:
        query = "SELECT action, actor, payload ->> 'reason' FROM audit_events WHERE tenant_id = %s ORDER BY event_id"
        assert connection.execute(query, [tenant]).fetchall() == [
            ("entitlement_override_set", "operator:cli", "a pilot"),
            ("entitlement_override_ended", "operator:cli", "over"),
        ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("followers", "fifty"), "VALUE: must be JSON"),
        (("followers", '"50"'), "value: of followers cannot be '50': it takes a whole number, or null for no limit"),
        (("follower", "50"), "name: there is no entitlement 'follower'"),
        (("personas", '["zeus"]'), "value: of personas does not know zeus: it takes a list out of apollo, ares"),
        (("vaults", "3", "--until", "2126-01-01"), "--until: must have a time zone"),
        (("vaults", "3", "--until", "2020-01-01T00:00:00Z"), "until: must lie ahead"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tenant: str, args: tuple[str, ...], said: str) -> None:
    code, words = vanta("set", tenant, *args, "--reason", "x")
    assert code == 1
    assert said in words

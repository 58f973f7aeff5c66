"""`vanta tenants` on the real database: what people type to let a customer in, and out."""

import os
import re
import uuid

import psycopg
import pytest
from typer.testing import CliRunner

from adapters.identity.opaque import digest
from cli_tenants import app
from settings import Settings
from stack import Stack
from tests.conftest import owner_dsn


@pytest.fixture(autouse=True)
def _of_the_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VANTA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VANTA_DATA", str(stack.layout.data))


def vanta(*args: str) -> tuple[int, str]:
    """Exit code and output; of an error, which `cli.main` prints as one line, its words."""
    done = CliRunner().invoke(app, [*args])
    return done.exit_code, done.output if isinstance(done.exception, SystemExit | None) else str(done.exception)


def ask(settings: Settings, query: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(owner_dsn(settings)) as connection:
        return connection.execute(query, values).fetchall()


@pytest.fixture
def tenant() -> str:
    return str(uuid.uuid4())


def test_a_tenant_begins_with_an_owners_invitation_and_once(settings: Settings, tenant: str) -> None:
    given = ("create", "Fund Ltd.", "--owner", "ada@fund.example", "--tenant-id", tenant)
    code, said = vanta(*given)
    assert code == 0, said
    found = re.search(r"token +([A-Za-z0-9_-]{43})\n", said)
    assert found is not None, said
    assert tenant in said
    assert "ada@fund.example as owner" in said
    kept = ask(settings, "SELECT token_hash, email, role, invited_by FROM invitations WHERE tenant_id = %s", tenant)
    assert kept == [(digest(found.group(1)), "ada@fund.example", "owner", "operator:cli")]

    code, said = vanta(*given)
    assert code == 0, said
    assert "stored nowhere" in said
    assert ask(settings, "SELECT count(*) FROM invitations WHERE tenant_id = %s", tenant) == [(1,)]
    code, said = vanta("create", "Fund Ltd.", "--owner", "eve@fund.example", "--tenant-id", tenant)
    assert (code, "vanta tenants invite" in said) == (1, True)

    code, said = vanta("invite", tenant, "eve@fund.example", "--role", "auditor")
    assert (code, "eve@fund.example as auditor" in said) == (0, True)


def test_suspending_and_resuming_are_told_with_their_reason(settings: Settings, tenant: str) -> None:
    assert vanta("create", "A", "--owner", "a@fund.example", "--tenant-id", tenant)[0] == 0
    for command, status in (("suspend", "suspended"), ("suspend", "suspended"), ("resume", "active")):
        code, said = vanta(command, tenant, "--reason", "unpaid")
        assert (code, f"is {status}" in said) == (0, True)
        assert ask(settings, "SELECT status FROM tenants WHERE tenant_id = %s", tenant) == [(status,)]
    told = ask(
        settings,
        "SELECT action, actor, payload ->> 'reason' FROM audit_events "
        "WHERE tenant_id = %s AND action <> 'created' ORDER BY event_id",
        tenant,
    )
    assert told == [("suspended", "operator:cli", "unpaid"), ("resumed", "operator:cli", "unpaid")]


def test_what_is_wrong_is_named(tenant: str) -> None:
    for args, words in (
        (("create", "A", "--owner", "no address"), "must be an e-mail address"),
        (("invite", tenant, "a@fund.example"), "no tenant"),
        (("invite", tenant, "a@fund.example", "--role", "follower"), "--follower"),
        (("suspend", tenant, "--reason", "x"), "no tenant"),
    ):
        code, said = vanta(*args)
        assert code == 1
        assert words in said

"""Master keys rotated: everything is wrapped anew, the old key can go, and breaking off loses nothing."""

import base64
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.rows import dict_row
from pydantic import SecretStr
from typer.testing import CliRunner

from adapters.secretbox import SecretBox, is_envelope
from adapters.store.database import Database
from adapters.store.registry import Registry
from adapters.store.rewrapping import KeyUse, Rewrapping
from cli import app
from domain import ids
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.errors import SecretUnavailable
from domain.requests import Once
from settings import Settings
from stack import Stack
from tests.adapters.store.conftest import ACTOR
from tests.migrations.scratch import scratch_database, upgrade

OLD, NEW = (f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}" for name in ("k1", "k2"))
BOTH = f"{NEW},{OLD}"


@dataclass
class Safe:
    """A database of its own with three tenants' secrets under k1, one credential of them as before envelopes."""

    owner: str
    app: str
    followers: list[str]
    tenants: list[str]

    def rewrapping(self, keys: str = BOTH, batch: int = 2) -> Rewrapping:
        return Rewrapping(SecretStr(self.owner), SecretBox(keys), batch=batch)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.owner, row_factory=dict_row) as connection:
            return connection.execute(statement, values).fetchall()

    def secrets(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT cred_ref AS ref, key_id, sealed FROM credentials "
            "UNION ALL SELECT key_ref, key_id, sealed FROM webhook_keys ORDER BY ref"
        )

    def execute(self, statement: str, *values: Any) -> None:
        with psycopg.connect(self.owner) as connection:
            connection.execute(statement, values)


@pytest.fixture
async def safe(stack: Stack, settings: Settings) -> AsyncIterator[Safe]:
    with scratch_database(stack, settings, f"rewrap_{uuid.uuid4().hex[:8]}") as owner:
        upgrade(owner, "head")
        base = settings.postgres.dsn.get_secret_value().rpartition("/")[0]
        dsn = f"{base}/{owner.rpartition('/')[2]}"
        database = Database(settings.postgres.model_copy(update={"dsn": SecretStr(dsn)}))
        made = Safe(owner, dsn, [], [])
        try:
            await _fill(made, Registry(database, SecretBox(OLD)))
            yield made
        finally:
            await database.close()


async def _fill(safe: Safe, registry: Registry) -> None:
    account = BrokerAccount("alpaca", "key", "S3CRET-1")
    for number in range(3):
        tenant = str(uuid.uuid4())
        safe.tenants.append(tenant)
        await registry.ensure_tenant(tenant, "T", actor=ACTOR)
        vault = await registry.create_vault(tenant, NewVault("V"), actor=ACTOR, once=Once("v", f"{number}", "f"))
        for name, terms in (("a", {"equities": account}), ("b", {"webhook_url": "https://f.example/"})):
            new = NewFollower(vault.row.vault_id, name, **terms)
            made = await registry.create_follower(tenant, new, actor=ACTOR, once=Once("f", f"{number}{name}", "f"))
            safe.followers.append(made.row.follower_id)
    ref, nonce = f"cred/{safe.followers[0]}/alpaca", secrets.token_bytes(12)
    before = nonce + AESGCM(base64.b64decode(OLD[3:])).encrypt(nonce, b'{"key_id":"k","secret":"s"}', ref.encode())
    safe.execute("UPDATE credentials SET sealed = %s WHERE cred_ref = %s", before, ref)


def _ignore(_done: int, _total: int) -> None:
    return


async def test_everything_is_wrapped_anew_and_the_old_key_can_be_removed(safe: Safe) -> None:
    told: list[tuple[int, int]] = []
    done = await safe.rewrapping().run(lambda n, total: told.append((n, total)))
    assert (done.done, done.failed) == ({"credentials": 3, "webhook_keys": 3}, [])
    assert told[-1] == (6, 6)
    assert await safe.rewrapping().status() == [
        KeyUse("k2", newest=True, configured=True, credentials=3, webhook_keys=3),
        KeyUse("k1", newest=False, configured=True),
    ]
    alone = SecretBox(NEW)
    for row in safe.secrets():
        assert alone.open(row["key_id"], bytes(row["sealed"]), aad=row["ref"])
        assert is_envelope(bytes(row["sealed"]))


async def test_each_tenant_is_told_how_many_and_nothing_more(safe: Safe) -> None:
    await safe.rewrapping().run(_ignore)
    events = safe.rows("SELECT * FROM audit_events WHERE action = 'secrets_rewrapped' ORDER BY event_id")
    told = {tenant: {"credentials": 0, "webhook_keys": 0} for tenant in safe.tenants}
    for event in events:
        assert event["payload"].pop("to") == "k2"
        assert event["entity_id"] == str(event["tenant_id"])
        for kind, n in event["payload"].items():
            told[event["entity_id"]][kind] += n
    assert told == {tenant: {"credentials": 1, "webhook_keys": 1} for tenant in safe.tenants}
    out = {n for row in safe.rows("SELECT event_ids FROM outbox") for n in row["event_ids"]}
    assert {event["event_id"] for event in events} <= out


async def test_a_run_that_is_broken_off_is_gone_on_with(safe: Safe) -> None:
    class Stopped(Exception):
        pass

    def stop(_done: int, _total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await safe.rewrapping().run(stop)
    half = {use.key_id: use.credentials + use.webhook_keys for use in await safe.rewrapping().status()}
    assert half == {"k2": 2, "k1": 4}
    told = [event["payload"] for event in safe.rows("SELECT payload FROM audit_events WHERE action LIKE 'secrets%%'")]
    assert sum(payload["credentials"] for payload in told) == 2, "what was told was done"
    done = await safe.rewrapping().run(_ignore)
    assert sum(done.done.values()) == 4
    assert sum((await safe.rewrapping().run(_ignore)).done.values()) == 0


async def test_what_cannot_be_opened_stays_and_is_named_and_the_others_go(safe: Safe) -> None:
    ref = ids.webhook_key_ref(safe.followers[1])
    safe.execute("UPDATE webhook_keys SET sealed = sealed || '\\x00' WHERE key_ref = %s", ref)
    done = await safe.rewrapping(batch=1).run(_ignore)
    assert [name for name, _ in done.failed] == [ref]
    assert sum(done.done.values()) == 5
    # A key that is not configured any more is in the table, so that nobody takes it for gone.
    gone = {use.key_id: use for use in await safe.rewrapping(NEW).status()}["k1"]
    assert (gone.configured, gone.webhook_keys) == (False, 1)


async def test_a_secret_of_before_under_the_newest_key_gets_its_data_key(safe: Safe) -> None:
    (use,) = await safe.rewrapping(OLD).status()
    assert use.of_before == 1
    done = await safe.rewrapping(OLD).run(_ignore)
    assert done.done == {"credentials": 1}
    (use,) = await safe.rewrapping(OLD).status()
    assert use.of_before == 0


async def test_without_the_old_key_nothing_of_it_opens(safe: Safe) -> None:
    done = await safe.rewrapping(NEW).run(_ignore)
    assert len(done.failed) == 6
    row = safe.secrets()[0]
    with pytest.raises(SecretUnavailable, match="not configured"):
        SecretBox(NEW).open(row["key_id"], bytes(row["sealed"]), aad=row["ref"])


def test_the_command_shows_progress_and_a_table(safe: Safe, settings: Settings) -> None:
    env = {
        "VANTA_PROFILE": "embedded",
        "VANTA_POSTGRES__DSN": safe.app,
        "VANTA_POSTGRES__OWNER_DSN": safe.owner,
        "VANTA_AUTH__JWKS": settings.auth.jwks.get_secret_value(),
        "VANTA_SECRETS__MASTER_KEYS": BOTH,
    }
    before = CliRunner().invoke(app, ["secrets", "status"], env=env)
    assert before.exit_code == 0, before.output
    assert "still needed" in before.output
    done = CliRunner().invoke(app, ["secrets", "rotate"], env=env)
    assert done.exit_code == 0, done.output
    assert "6 secrets were wrapped anew" in done.output
    assert "k1 0 0 0 can be removed from the setting" in " ".join(done.output.split())

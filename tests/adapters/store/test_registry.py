"""Creating and reading vaults, followers, instruments and prices."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlmodel import select

from adapters.brokers.registry import build_brokers
from adapters.relay import compose
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from domain import enrolment, ids
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.errors import IdempotencyKeyReused, InvalidInput, NotFound
from domain.requests import Once
from domain.signing import parse_secret
from models import AuditEvent, Credential, Instrument, Price, WebhookKey
from settings import Settings
from tests.adapters.store.conftest import ACTOR


def _once(key: str = "k", fingerprint: str = "f") -> Once:
    return Once("test", key, fingerprint)


async def _vault(registry: Registry, tenant: str) -> str:
    made = await registry.create_vault(tenant, NewVault("Alpha"), actor=ACTOR, once=_once("vault"))
    return made.row.vault_id


async def _outbox(settings: Settings, tenant: str) -> list[dict[str, Any]]:
    """As the relay would publish it; the application itself cannot read it."""
    assert settings.postgres.relay_dsn is not None
    dsn = settings.postgres.relay_dsn.get_secret_value()
    async with (
        await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute("SELECT * FROM outbox WHERE tenant_id = %s ORDER BY outbox_id", [tenant])
        messages = await compose(cursor, await cursor.fetchall())
    return [{"subject": message.subject, **message.body} for message in messages]


async def test_a_tenant_is_created_once(registry: Registry, database: Database, tenant: str) -> None:
    await registry.ensure_tenant(tenant, "Again", actor=ACTOR)
    async with database.session(tenant) as session:
        (event,) = (await session.exec(select(AuditEvent))).all()
    assert (event.entity, event.action, event.payload) == ("tenant", "created", {"name": "Test tenant"})


async def test_every_event_is_on_its_way_out_and_holds_no_secret(
    registry: Registry, tenant: str, settings: Settings
) -> None:
    vault_id = await _vault(registry, tenant)
    new = NewFollower(vault_id, "Bob", webhook_url="https://follower.example/hook?token=t0k3n")
    made = await registry.create_follower(tenant, new, actor=ACTOR, once=_once())
    account = BrokerAccount("alpaca", "KEY-9431", "S3CRET-7755")
    await registry.create_follower(tenant, NewFollower(vault_id, "B", equities=account), actor=ACTOR, once=_once("b"))
    events = await _outbox(settings, tenant)
    prefix = f"mirror.{tenant}"
    assert [event["subject"] for event in events] == [
        f"{prefix}.tenant.created", f"{prefix}.vault.created", *[f"{prefix}.follower.created"] * 2,
    ]  # fmt: skip
    assert events[2]["payload"]["webhook"]["url"] == "https://follower.example/hook"
    assert set(events[1]) == {
        "subject", "event_id", "tenant_id", "entity", "entity_id", "action", "actor", "mo_id", "ts", "payload",
    }  # fmt: skip
    assert made.signing_secret is not None
    for secret in ("t0k3n", "S3CRET-7755", "KEY-9431", made.signing_secret):
        assert secret not in repr(events)


async def test_a_webhook_key_opens_under_its_reference_only(
    registry: Registry, database: Database, box: SecretBox, tenant: str
) -> None:
    new = NewFollower(await _vault(registry, tenant), "Bob", webhook_url="https://follower.example/")
    made = await registry.create_follower(tenant, new, actor=ACTOR, once=_once())
    key_ref = ids.webhook_key_ref(made.row.follower_id)
    assert made.row.webhook == {"url": "https://follower.example/", "hmac_key_ref": key_ref}
    async with database.session(tenant) as session:
        key = await session.get_one(WebhookKey, (key_ref, 1))
    assert made.signing_secret is not None
    assert box.open(key.key_id, key.sealed, aad=key_ref) == parse_secret(made.signing_secret)


async def test_a_credential_is_sealed_with_venue_and_environment(
    registry: Registry, database: Database, box: SecretBox, tenant: str
) -> None:
    account = BrokerAccount("alpaca", "key", "secret", "live")
    new = NewFollower(await _vault(registry, tenant), "Bob", equities=account, crypto=account)
    made = await registry.create_follower(tenant, new, actor=ACTOR, once=_once())
    ref = f"cred/{made.row.follower_id}/alpaca"
    assert made.row.bridged_brokers == {"equities_ref": ref, "crypto_ref": ref}
    async with database.session(tenant) as session:
        stored = await session.get_one(Credential, ref)
    assert (stored.venue, stored.environment, stored.status) == ("alpaca", "live", "active")
    plain = box.open(stored.key_id, stored.sealed, aad=ref)
    assert orjson.loads(plain) == {"key_id": "key", "secret": "secret"}


async def test_two_accounts_at_one_venue_must_be_the_same(registry: Registry, tenant: str) -> None:
    one, two = BrokerAccount("alpaca", "key", "secret"), BrokerAccount("alpaca", "other", "secret")
    new = NewFollower(await _vault(registry, tenant), "Bob", equities=one, crypto=two)
    with pytest.raises(InvalidInput, match=r"bridged_brokers\.crypto"):
        await registry.create_follower(tenant, new, actor=ACTOR, once=_once())


async def test_a_given_id_that_is_taken_is_refused_also_by_another_tenants(registry: Registry, tenant: str) -> None:
    vault_id = f"V_{uuid.uuid4().hex}"
    new = NewVault("A", vault_id=vault_id)
    await registry.create_vault(tenant, new, actor=ACTOR, once=_once())
    other = str(uuid.uuid4())
    await registry.ensure_tenant(other, "Other", actor=ACTOR)
    for owner in (tenant, other):
        with pytest.raises(InvalidInput, match="taken"):
            await registry.create_vault(owner, new, actor=ACTOR, once=_once("second"))


async def test_a_refused_creation_leaves_its_key_free(registry: Registry, tenant: str) -> None:
    with pytest.raises(NotFound):
        await registry.create_follower(
            tenant, NewFollower("V_none", "B", webhook_url="https://f.example/"), actor=ACTOR, once=_once()
        )
    made = await registry.create_vault(tenant, NewVault("A"), actor=ACTOR, once=_once(fingerprint="other"))
    assert not made.replayed


async def test_a_repeat_returns_the_row_as_it_was_created(registry: Registry, tenant: str) -> None:
    new = NewVault("Alpha", nav_usd=Decimal("1000.25"), risk_profile={"max_order_qty": Decimal("5.50")})
    first = await registry.create_vault(tenant, new, actor=ACTOR, once=_once())
    await registry.set_vault_nav(tenant, first.row.vault_id, Decimal(7), datetime.now(UTC), actor=ACTOR)
    again = await registry.create_vault(tenant, new, actor=ACTOR, once=_once())
    assert again.replayed
    assert again.row.model_dump() == first.row.model_dump()
    with pytest.raises(IdempotencyKeyReused):
        await registry.create_vault(tenant, new, actor=ACTOR, once=_once(fingerprint="other"))


async def test_a_nav_is_set_and_audited(registry: Registry, database: Database, tenant: str) -> None:
    vault_id = await _vault(registry, tenant)
    asof = datetime(2026, 1, 31, 12, tzinfo=UTC)
    await registry.set_vault_nav(tenant, vault_id, Decimal("250000.50"), asof, actor=ACTOR)
    vault = await registry.get_vault(tenant, vault_id)
    assert (vault.nav_usd, vault.nav_asof) == (Decimal("250000.50"), asof)
    async with database.session(tenant) as session:
        events = (await session.exec(select(AuditEvent).where(AuditEvent.action == "nav_updated"))).all()
    assert [event.payload for event in events] == [{"nav_usd": "250000.5", "nav_asof": asof.isoformat()}]


async def test_instruments_and_prices_are_brought_up_to_date(registry: Registry) -> None:
    symbol = "TST." + uuid.uuid4().hex[:8].upper()
    for step, price in (("1", "10.5"), ("0.01", "11")):
        await registry.upsert_instrument(
            Instrument(symbol=symbol, venue="XNAS", rail="fiat", qty_step=Decimal(step), fine_step=Decimal("0.000001"),
                       min_qty=Decimal(0), min_notional=Decimal(0), tradable=True)
        )  # fmt: skip
        await registry.upsert_price(Price(symbol=symbol, price=Decimal(price), asof=datetime.now(UTC), source="test"))
    found = await registry.get_instrument(symbol)
    assert found is not None
    assert found.qty_step == Decimal("0.01")
    assert await registry.get_instrument("NOSUCH") is None


def test_a_follower_can_be_bridged_to_every_broker_that_there_is(settings: Settings) -> None:
    assert (
        set(build_brokers(alpaca=settings.alpaca, coinbase=settings.coinbase, tradier=settings.tradier))
        == enrolment.BROKER_VENUES
    )

"""What an operator grants beside a plan: audited, in time, and stored on the subscription in the same transaction."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import col, select

from adapters.payments.catalogue import load_catalogue
from adapters.store.database import Database
from adapters.store.entitlements import EntitlementStore
from adapters.store.overrides import NewOverride, OverrideStore, active_overrides
from domain.entitlements import NOTHING, Entitlements
from domain.errors import InvalidInput, NotFound
from models import AuditEvent, Subscription
from tests.adapters.store.conftest import ACTOR

CATALOGUE = load_catalogue()
FREE = Entitlements(vaults=1)


@pytest.fixture
def overrides(database: Database) -> OverrideStore:
    return OverrideStore(database, CATALOGUE)


async def subscribe(database: Database, tenant: str, status: str = "active", **more: Any) -> str:
    plan = CATALOGUE.current("core")
    subscription_id = f"SUB-{tenant}"
    async with database.session(tenant) as session:
        session.add(Subscription(
            subscription_id=subscription_id, tenant_id=UUID(tenant), plan_id="core", plan_version=plan.version,
            status=status, entitlements=plan.entitlements.to_json(), **more,
        ))  # fmt: skip
    return subscription_id


async def stored(database: Database, tenant: str) -> Subscription:
    async with database.session(tenant) as session:
        return (await session.exec(select(Subscription))).one()


async def told(database: Database, tenant: str) -> list[tuple[str, str, dict[str, Any]]]:
    async with database.session(tenant) as session:
        rows = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.event_id)))).all()
    return [(row.entity, row.action, row.payload) for row in rows if "override" in row.action]


async def of(database: Database, tenant: str) -> Entitlements:
    return (await EntitlementStore(database, FREE, CATALOGUE).of(tenant)).entitlements


async def test_an_override_is_stored_on_the_subscription_and_audited(
    database: Database, tenant: str, overrides: OverrideStore
) -> None:
    await subscribe(database, tenant)
    now = datetime.now(UTC)
    await overrides.set(tenant, NewOverride("vaults", 7, "a pilot"), actor=ACTOR, now=now)
    row = await stored(database, tenant)
    assert (row.entitlements["vaults"], row.entitlements["followers"], row.version) == (7, 25, 1)
    await overrides.set(tenant, NewOverride("vaults", None, "a bigger pilot"), actor=ACTOR, now=now)
    assert (await stored(database, tenant)).entitlements["vaults"] is None
    await overrides.end(tenant, "vaults", reason="over", actor=ACTOR, now=now)
    row = await stored(database, tenant)
    assert (row.entitlements["vaults"], row.version) == (2, 3)
    assert [(entity, action, payload["was"]) for entity, action, payload in await told(database, tenant)] == [
        ("tenant", "entitlement_override_set", None),
        ("tenant", "entitlement_override_set", {"value": 7}),
        ("tenant", "entitlement_override_ended", {"value": None}),
    ]
    assert [row.name for row in await overrides.list(tenant)] == []


async def test_an_override_of_one_who_never_subscribed_counts(
    database: Database, tenant: str, overrides: OverrideStore
) -> None:
    now = datetime.now(UTC)
    await overrides.set(tenant, NewOverride("personas", ["ares"], "a friend"), actor=ACTOR, now=now)
    assert await of(database, tenant) == Entitlements(vaults=1, personas=("ares",))


async def test_an_override_grants_nothing_that_grows_to_one_who_stopped_paying(
    database: Database, tenant: str, overrides: OverrideStore
) -> None:
    await subscribe(database, tenant, "past_due", close_only=True)
    await overrides.set(tenant, NewOverride("vaults", 7, "x"), actor=ACTOR, now=datetime.now(UTC))
    assert (await stored(database, tenant)).entitlements == {**NOTHING.to_json(), "audit_retention_days": 90,
                                                             "api_rate": 300}  # fmt: skip


async def test_an_override_whose_time_is_over_counts_no_more_whether_or_not_anybody_has_ended_it(
    database: Database, tenant: str, overrides: OverrideStore
) -> None:
    await subscribe(database, tenant)
    then = datetime.now(UTC) - timedelta(hours=2)
    new = NewOverride("vaults", 7, "a pilot", until=then + timedelta(hours=1))
    await overrides.set(tenant, new, actor=ACTOR, now=then)
    assert (await stored(database, tenant)).entitlements["vaults"] == 7
    assert (await of(database, tenant)).vaults == 2
    async with database.session(tenant) as session:
        assert await active_overrides(session, tenant) == {}
        assert await active_overrides(session, tenant, then) == {"vaults": 7}
    assert await overrides.end_due(now=datetime.now(UTC)) >= 1
    assert (await stored(database, tenant)).entitlements["vaults"] == 2
    assert (await told(database, tenant))[-1][1] == "entitlement_override_ended"
    assert await overrides.list(tenant) == []


async def test_what_is_wrong_with_an_override_is_said(
    database: Database, tenant: str, overrides: OverrideStore
) -> None:
    now = datetime.now(UTC)
    for new, field in (
        (NewOverride("vaults", "3", "x"), "value"), (NewOverride("vault", 3, "x"), "name"),
        (NewOverride("vaults", 3, " "), "reason"), (NewOverride("vaults", 3, "x", until=now), "until"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            await overrides.set(tenant, new, actor=ACTOR, now=now)
        assert refused.value.field == field
    with pytest.raises(NotFound):
        await overrides.end(tenant, "vaults", reason="x", actor=ACTOR, now=now)
    with pytest.raises(NotFound):
        await overrides.set(str(UUID(int=7)), NewOverride("vaults", 3, "x"), actor=ACTOR, now=now)

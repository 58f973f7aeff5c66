"""Tenants with subscriptions, for tests of what their followers may do."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from adapters.payments.catalogue import load_catalogue
from adapters.store.database import Database, jsonb
from adapters.store.registry import Registry
from domain.entitlements import EVERYTHING, Entitlements, granting
from domain.rights import Offer
from tests.adapters.store.conftest import ACTOR

PLANS = {plan.plan_id: plan.entitlements for plan in load_catalogue().sold()}
CORE = PLANS["core"]
# Who never subscribed has one follower, by webhook, in any mode, and no persona.
OFFER = Offer(replace(EVERYTHING, followers=1, personas=(), bridged_brokers=()), load_catalogue().sold())

_PUT = """
INSERT INTO subscriptions (subscription_id, tenant_id, plan_id, status, close_only, entitlements)
VALUES (%(subscription)s, %(tenant)s, 'core', %(status)s, %(close_only)s, %(entitlements)s)
ON CONFLICT (subscription_id) DO UPDATE SET status = excluded.status, close_only = excluded.close_only,
  entitlements = excluded.entitlements, version = subscriptions.version + 1
"""


async def subscriber(database: Database, registry: Registry, status: str | None = None, **more: Any) -> str:
    """A tenant with a subscription in that state; None: it never subscribed. `more` as `subscribe` takes it."""
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Subscriber", actor=ACTOR)
    if status is not None:
        await subscribe(database, tenant_id, status, **more)
    return tenant_id


async def subscribe(
    database: Database, tenant_id: str, status: str, *, plan: Entitlements = CORE, close_only: bool = False, n: int = 0
) -> None:
    """Set the tenant's `n`-th subscription as the store of subscriptions writes it."""
    stored = granting(plan, status, close_only=close_only, overrides={}).to_json()
    async with database.cursor(tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(
            _PUT,
            {
                "subscription": f"SUB-{tenant_id}-{n}", "tenant": tenant_id, "status": status,
                "close_only": close_only, "entitlements": jsonb(stored),
            },
        )  # fmt: skip


async def override(database: Database, tenant_id: str, name: str, value: Any, until: datetime | None = None) -> None:
    async with database.cursor(tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(
            "INSERT INTO entitlement_overrides (tenant_id, name, value, reason, actor, created_at, expires_at) "
            "VALUES (%s, %s, %s, 'test', 'user:test', %s, %s)",
            [tenant_id, name, jsonb({"value": value}), datetime.now(UTC), until],
        )

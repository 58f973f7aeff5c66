"""What a plan allows is held to where it is written, however many write at once; what only takes away always passes."""

import asyncio
import json
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adapters.payments.catalogue import load_catalogue
from adapters.secretbox import SecretBox
from adapters.store.allowances import Allowance
from adapters.store.database import Database
from adapters.store.overlays import OverlayStore
from adapters.store.registry import Registry
from adapters.store.vault_import import VaultImport
from domain import ids
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.entitlements import Entitlements
from domain.errors import NotEntitled
from domain.flip_mode import ExtendOverlay, StartOverlay
from domain.overlays import TTL, NewOverlay, OverlayKind, Params
from domain.requests import Once
from domain.terms import Mode
from domain.vaultfile import parse
from models import Subscription
from tests.adapters.store.conftest import ACTOR

CATALOGUE = load_catalogue()
CORE = CATALOGUE.current("core").entitlements
HOOK = "https://f.example/hook"


@pytest.fixture
def allowance() -> Allowance:
    return Allowance(Entitlements(), CATALOGUE)


@pytest.fixture
def held(database: Database, box: SecretBox, allowance: Allowance) -> Registry:
    """A registry whose tenants have what they subscribe to, and nothing without that."""
    return Registry(database, box, allowance)


async def subscribe(database: Database, tenant: str, **more: Any) -> None:
    """To the plan core, or what `more` says."""
    given: dict[str, Any] = {"plan_id": "core", "status": "active", "entitlements": CORE.to_json(), **more}
    async with database.session(tenant) as session:
        session.add(Subscription(subscription_id=f"SUB-{tenant}", tenant_id=UUID(tenant), **given))


def once() -> Once:
    return Once("test", uuid.uuid4().hex, "f")


async def vault(registry: Registry, tenant: str, **more: Any) -> str:
    made = await registry.create_vault(tenant, NewVault("Alpha", **more), actor=ACTOR, once=once())
    return made.row.vault_id


async def follower(registry: Registry, tenant: str, vault_id: str, **more: Any) -> str:
    new = NewFollower(vault_id, "Bob", **({"webhook_url": HOOK} | more))
    return (await registry.create_follower(tenant, new, actor=ACTOR, once=once())).row.follower_id


async def refused(creating: Any) -> NotEntitled:
    with pytest.raises(NotEntitled) as error:
        await creating
    return error.value


async def test_as_many_at_once_as_there_may_be_and_no_more(database: Database, tenant: str, held: Registry) -> None:
    await subscribe(database, tenant, entitlements=replace(CORE, vaults=1, followers=3).to_json())
    made = await asyncio.gather(*(vault(held, tenant) for _ in range(6)), return_exceptions=True)
    vaults = [one for one in made if isinstance(one, str)]
    assert len(vaults) == 1
    assert sum(isinstance(one, NotEntitled) for one in made) == 5
    done = await asyncio.gather(*(follower(held, tenant, vaults[0]) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in done) == 3
    assert sum(isinstance(one, NotEntitled) for one in done) == 5


async def test_a_refusal_names_what_there_is_and_the_cheapest_plan_that_allows_it(
    database: Database, tenant: str, held: Registry
) -> None:
    await subscribe(database, tenant)
    for _ in range(2):
        vault_id = await vault(held, tenant)
    error = await refused(vault(held, tenant))
    assert (error.entitlement, error.plans) == ("vaults", ["pro", "institutional"])
    assert str(error) == (
        "vaults: 2, and this would be number 3, on the plan core. The cheapest plan that allows it is pro."
    )
    error = await refused(follower(held, tenant, vault_id, persona="ares"))
    assert str(error) == ("personas: athena and not ares on the plan core. The cheapest plan that allows it is pro.")
    account = BrokerAccount("coinbase", "k", "s")
    error = await refused(follower(held, tenant, vault_id, webhook_url=None, crypto=account))
    assert error.entitlement == "bridged_brokers"


async def test_followers_are_counted_for_who_pays_for_them_whosever_the_vault_is(
    database: Database, registry: Registry, tenant: str, held: Registry
) -> None:
    manager = str(uuid.uuid4())
    await registry.ensure_tenant(manager, "A manager", actor=ACTOR)
    vault_id, own = await vault(registry, manager), await vault(registry, tenant)
    await subscribe(database, tenant, entitlements=replace(CORE, followers=2).to_json())
    await follower(held, manager, vault_id, subscriber_tenant_id=tenant)
    await follower(held, tenant, own)
    error = await refused(follower(held, manager, vault_id, subscriber_tenant_id=tenant))
    assert error.entitlement == "followers"
    assert error.reason == "its subscriber may not have more. The cheapest plan that allows it is core."
    assert (await refused(follower(held, tenant, own))).entitlement == "followers"
    assert (await refused(follower(held, manager, vault_id))).reason.endswith("is core.")


async def test_a_repeat_of_what_was_made_is_not_refused(database: Database, tenant: str, held: Registry) -> None:
    await subscribe(database, tenant, entitlements=replace(CORE, vaults=1).to_json())
    same = once()
    made = [await held.create_vault(tenant, NewVault("Alpha"), actor=ACTOR, once=same) for _ in range(2)]
    assert [one.replayed for one in made] == [False, True]


async def test_a_mode_that_trades_more_and_a_persona_need_the_plan_and_what_trades_less_does_not(
    database: Database, registry: Registry, tenant: str, held: Registry
) -> None:
    vault_id = await vault(registry, tenant, personas=("ares",))
    bob = await follower(registry, tenant, vault_id, mode=Mode.CAPPED, max_pos_usd=Decimal(100), persona="ares")
    await subscribe(database, tenant, status="past_due", close_only=True)

    async def change(**changes: Any) -> None:
        await held.update_follower(tenant, bob, changes, actor=ACTOR)

    for free in ({"kill_switch": True}, {"max_pos_usd": Decimal(50)}, {"persona": None}, {"mode": Mode.SHADOW}):
        await change(**free)
    assert (await refused(change(mode=Mode.PROPORTIONAL))).entitlement == "modes"
    error = await refused(change(persona="athena"))
    assert error.reason.startswith(
        "none and not athena on a subscription that is past_due: until it is paid, nothing of its grows (plan core)."
    )
    await change(kill_switch=False, scale=Decimal("0.5"))
    await held.update_vault(tenant, vault_id, {"label": "Beta"}, actor=ACTOR)
    await held.update_vault(tenant, vault_id, {"personas": ()}, actor=ACTOR)
    error = await refused(held.update_vault(tenant, vault_id, {"personas": ("ares",)}, actor=ACTOR))
    assert error.entitlement == "personas"
    assert (await held.get_vault(tenant, vault_id)).personas == []


async def test_with_a_downgrade_ahead_nothing_is_made_that_would_not_fit(
    database: Database, tenant: str, held: Registry
) -> None:
    pro = CATALOGUE.current("pro").entitlements
    await subscribe(
        database, tenant, plan_id="pro", entitlements=pro.to_json(), scheduled_plan_id="core", scheduled_plan_version=1
    )
    vault_id = (await vault(held, tenant), await vault(held, tenant))[0]
    assert "on the plan core, which is ahead" in (await refused(vault(held, tenant))).reason
    await follower(held, tenant, vault_id, persona="ares")


async def test_a_file_of_vaults_is_held_to_the_plan_as_a_whole(
    database: Database, tenant: str, allowance: Allowance
) -> None:
    await subscribe(database, tenant)

    async def load(*vault_ids: str, **more: Any) -> None:
        file = [{"vault_id": vault_id, "label": "A", "rails": ["fiat"], **more} for vault_id in vault_ids]
        await VaultImport(database, allowance).run(tenant, parse(json.dumps(file)), actor=ACTOR)

    names = [f"V_{uuid.uuid4().hex}" for _ in range(3)]
    assert (await refused(load(*names))).entitlement == "vaults"
    assert (await refused(load(*names[:2], personas=["ares"]))).entitlement == "personas"
    await load(*names[:2])
    await load(*names[:2])


async def test_flips_and_boosts_need_the_plan_to_begin_and_to_last_longer_and_halts_never_do(
    database: Database, registry: Registry, tenant: str, allowance: Allowance
) -> None:
    vault_id = await vault(registry, tenant)
    store = OverlayStore(database, allowance)

    def wish(kind: OverlayKind, **params: Any) -> StartOverlay:
        ttl = TTL[kind][0] if kind in TTL else None
        new = NewOverlay(kind, vault_id, ttl=ttl, params=Params(**params))
        key = once()
        return StartOverlay(tenant, ids.overlay_id(tenant, key.key), new, key, ACTOR)

    running = wish(OverlayKind.FLIP, persona="athena")
    await OverlayStore(database).start(running)
    await subscribe(database, tenant)
    flip = wish(OverlayKind.FLIP, persona="athena")
    assert (await refused(store.start(flip))).entitlement == "flip_mode"
    assert (await refused(store.before_starting(flip))).plans == ["pro", "institutional"]
    assert (await refused(store.start(wish(OverlayKind.BOOST, persona="athena", delta=Decimal("0.1"))))).plans
    await store.start(wish(OverlayKind.MAINTENANCE))
    longer = ExtendOverlay(tenant, running.overlay_id, TTL[OverlayKind.FLIP][1], ACTOR)
    assert (await refused(store.extend(longer))).entitlement == "flip_mode"

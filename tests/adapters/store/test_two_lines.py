"""Each of the two lines between tenants holds by itself: the query layer's, and Postgres' row-level security.

Every method of every store that says for which tenant it works is called for one tenant with another one's ids, once
with each line switched off. The list is read from the code, so that a new method is tried, or asks to be.
"""

import importlib
import inspect
import json
import pkgutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlmodel import SQLModel, col, select

import adapters.identity
import adapters.store
import models
from adapters.payments.catalogue import load_catalogue
from adapters.secretbox import SecretBox
from adapters.store.credentials import Held
from adapters.store.database import Database
from adapters.store.door import Door, Limits
from adapters.store.entitlements import EntitlementStore
from adapters.store.money import Peg
from adapters.store.overlays import OverlayStore
from adapters.store.overrides import NewOverride
from adapters.store.reconciliations import ReconciliationStore
from adapters.store.registry import Registry
from adapters.store.subscriptions import SubscriptionStore
from adapters.store.tenancy import TenantNotNamed, check_statement
from domain import ids, vaultfile
from domain.access import Role, TenantStatus
from domain.admission import Halt
from domain.billing import Account, Invoice, InvoiceKind, InvoiceStatus, Outcome, Provider, Subscription
from domain.books import Times
from domain.confirmations import Confirmation
from domain.credentials import Which
from domain.dispatch import SealedKey
from domain.enrolment import BrokerAccount, NewFollower, NewVault, Visibility
from domain.entitlements import EVERYTHING
from domain.errors import VantaError
from domain.flattening import FlattenInput, FlattenResult
from domain.flip_mode import EndOverlay, ExtendOverlay, StartOverlay
from domain.mirroring import RedriveRequest
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.ports import VenueAccount
from domain.redrive import LetterFilter
from domain.requests import Once, Slice
from domain.runs import OpenedRun, RunTotals
from domain.streams import StreamAccount
from domain.subscriptions import CheckoutWish
from settings import Settings
from tests.adapters.store.orders import EQUITY, UNLIMITED, Floor, manager_order
from tests.adapters.store.test_freezing import expand
from tests.conftest import owner_dsn

Owner = psycopg.AsyncConnection[Any]
SECRET = "the-other-tenants"  # is in what the victim's rows say, so that an answer that shows one of them shows this
# They take what only a read of the tenant's own rows gives, or concern everybody.
TAKES_WHAT_A_READ_GAVE = {
    "DispatchStore.record", "FindingStore.record", "LegStore.done", "LegStore.quoted", "HaltStore.halt_platform",
}  # fmt: skip
TENANTED = {
    "FlattenInput", "StartOverlay", "ExtendOverlay", "EndOverlay", "StreamAccount", "MirrorOrderInput",
    "CheckoutWish", "Account",
}  # fmt: skip


def _stores() -> dict[str, type[Any]]:
    found: dict[str, type[Any]] = {}
    for package in (adapters.store, adapters.identity):
        for module in pkgutil.iter_modules(package.__path__):
            loaded = importlib.import_module(f"{package.__name__}.{module.name}")
            for name, made in vars(loaded).items():
                if inspect.isclass(made) and made.__module__ == loaded.__name__ and "__init__" in vars(made):
                    found |= {name: made} if "database" in inspect.signature(made).parameters else {}
                elif inspect.isclass(made) and made.__module__ == loaded.__name__ and made.__base__ in found.values():
                    found[name] = made
    return found


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(method).parameters.values() if p.name not in {"self", "filters"}]


def _kind(parameter: inspect.Parameter) -> str:
    return str(getattr(parameter.annotation, "__name__", parameter.annotation))


STORES = _stores()
METHODS = sorted(
    f"{name}.{method}"
    for name, store in STORES.items()
    for method, function in inspect.getmembers(store, inspect.isfunction)
    if not method.startswith("_")
    and any(p.name == "tenant_id" or _kind(p) in TENANTED for p in _parameters(function))
    and f"{name}.{method}" not in TAKES_WHAT_A_READ_GAVE
)


@dataclass
class Victim:
    """A tenant with a bit of everything."""

    tenant_id: str
    ids: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
async def victim(database: Database, registry: Registry, settings: Settings) -> Victim:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, SECRET, actor=SECRET)
    floor = Floor(database, registry, tenant_id)
    await floor.prepare()
    follower_id = await floor.follower(webhook_url=f"https://{SECRET}.example/hook")
    bridged = NewFollower(floor.vault_id, "Bridged", equities=BrokerAccount("alpaca", "key", "secret"))
    once = Once("test", tenant_id, "f")
    made = await registry.create_follower(tenant_id, bridged, actor=SECRET, once=once)
    mo_id = (await floor.admit()).mo_id
    await floor.rows("SELECT 1")
    fo_id = (await expand(floor, await floor.admit()))[follower_id]["fo_id"]
    overlay_id, new = ids.overlay_id(tenant_id, "k"), NewOverlay(OverlayKind.MAINTENANCE, floor.vault_id)
    await OverlayStore(database).start(
        StartOverlay(tenant_id, overlay_id, new, Once("overlay", tenant_id, "f"), SECRET)
    )
    run_id = ids.overlay_id(tenant_id, "run")
    await ReconciliationStore(database).open(tenant_id, floor.vault_id, run_id)
    user_id, bought = str(uuid.uuid4()), await _subscribed(database, tenant_id)
    async with database.session(tenant_id) as session:
        session.add(models.User(user_id=uuid.UUID(user_id), tenant_id=uuid.UUID(tenant_id), email=SECRET, role="owner"))
    letter = await floor.rows(
        "INSERT INTO dead_letters (tenant_id, fo_id, mo_id, follower_id, reason, context) "
        "SELECT tenant_id, fo_id, mo_id, follower_id, %s, '{}' FROM follower_orders WHERE fo_id = %s "
        "RETURNING dead_letter_id",
        SECRET, fo_id,
    )  # fmt: skip
    return Victim(
        tenant_id,
        {
            "vault_id": floor.vault_id, "follower_id": follower_id, "bridged_id": made.row.follower_id, "mo_id": mo_id,
            "fo_id": fo_id, "overlay_id": overlay_id, "halt_id": overlay_id, "run_id": run_id, "user_id": user_id,
            "dead_letter_id": letter[0]["dead_letter_id"], "once": once, **bought,
        },
    )  # fmt: skip


async def _subscribed(database: Database, tenant_id: str) -> dict[str, str]:
    """A subscription with an invoice."""
    store, now = SubscriptionStore(database, load_catalogue()), datetime.now(UTC)
    stored = await store.open(_checkout(tenant_id, ids.subscription_id(tenant_id, SECRET)), now)
    held, invoice_id = stored.subscription, ids.invoice_id(stored.subscription.subscription_id, SECRET)
    invoice = Invoice(
        invoice_id, held.subscription_id, held.provider, InvoiceKind.PERIOD, InvoiceStatus.PAID, 100, paid_minor=100,
        detail=SECRET,
    )  # fmt: skip
    await store.write(stored, Outcome(held, invoices=(invoice,)), (), now, actor=SECRET)
    return {"subscription_id": held.subscription_id, "invoice_id": invoice_id}


def _checkout(tenant_id: str, subscription_id: str) -> CheckoutWish:
    return CheckoutWish(tenant_id, subscription_id, SECRET, "k", Provider.STRIPE, "core", 1, "x@example.com", "s", "c")


@pytest.fixture(scope="module", params=["without the query layer's", "without row-level security"])
async def line(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Database]:
    """A database with one of its two lines switched off."""
    postgres = settings.postgres
    if request.param == "without row-level security":
        opened = Database(postgres.model_copy(update={"dsn": SecretStr(owner_dsn(settings))}))
    else:
        opened = Database(postgres, filtered=False)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def intruder(registry: Registry) -> str:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Intruder", actor="user:intruder")
    return tenant_id


def _values(victim: Victim, intruder: str) -> dict[str, Any]:
    """What methods are called with, by the type of a parameter or else its name."""
    now, known = datetime.now(UTC), victim.ids
    vault_id, follower_id, overlay_id = known["vault_id"], known["bridged_id"], known["overlay_id"]
    once = Once("intrusion", uuid.uuid4().hex, "f")
    sealed = SealedKey(f"cred/{follower_id}/alpaca", "k1", b"x", 1)
    run = OpenedRun(known["run_id"], now)
    bought = Subscription(known["subscription_id"], intruder, "core", 1, Provider.STRIPE)
    account = Account(bought, load_catalogue().current("core"))
    return {
        "tenant_id": intruder, "actor": "user:intruder", "once": once, "key": victim.tenant_id, "limit": 100,
        **{k: v for k, v in known.items() if k not in {"once", "bridged_id"}}, "follower_id": follower_id,
        "account_id": "SA-x", "key_id": "K-x", "invitation_id": "I-x", "expires_at": None, "scopes": [], "name": "x",
        "email": "x@example.com", "Role": Role.OPS, "visibility": Visibility.ALL,
        "Slice": Slice(100), "LetterFilter": LetterFilter(),
        "wanted": LetterFilter(vault_id=vault_id), "ids": [known["dead_letter_id"]], "reason": "x", "answer": {},
        "which": Which.EQUITIES, "route": "webhook", "symbol": EQUITY, "shard": 0, "after": "", "previous": run.run_id,
        "raw": {"symbol": EQUITY, "side": "buy", "qty": "1"}, "asof": None, "now": now, "nav_usd": Decimal(1),
        "datetime": now, "most": timedelta(minutes=1), "ok": True, "told": {}, "outcome": "x", "threshold": "1",
        "run": run, "alerts": [{"follower_id": follower_id, "bps": "1"}], "totals": RunTotals(), "state": "done",
        "Times": Times(now, now, now), "changes": {}, "VenueAccount": VenueAccount(*[Decimal(1)] * 3),
        "BrokerAccount": BrokerAccount("alpaca", "key", "other"), "code": "ok", "words": "x",
        "Held": _held(follower_id, sealed), "RedriveRequest": RedriveRequest(known["dead_letter_id"], "user:intruder"),
        "NewVault": NewVault("x"), "NewFollower": NewFollower(vault_id, "x", webhook_url="https://x.example/"),
        "TenantStatus": TenantStatus.ACTIVE, "FlattenInput": FlattenInput(intruder, "H", "user:intruder", vault_id),
        "FlattenResult": FlattenResult(0, []), "StreamAccount": StreamAccount(intruder, sealed.ref, 1, "l"),
        "venue": "alpaca", "StartOverlay": StartOverlay(intruder, ids.overlay_id(intruder, once.key),
            NewOverlay(OverlayKind.HALT, vault_id, params=Params(level=Halt.HALT_ALL)), once, "user:intruder"),
        "ExtendOverlay": ExtendOverlay(intruder, overlay_id, timedelta(minutes=50), "user:intruder"),
        "EndOverlay": EndOverlay(intruder, overlay_id, EndReason.CANCELLED, "user:intruder"),
        "MirrorOrderInput": manager_order(intruder, vault_id), "Confirmation": Confirmation("c-1"), "digest": "x",
        "entitlement": "vaults", "need": 1, "NewOverride": NewOverride("vaults", 3, "x"),
        "CheckoutWish": replace(_checkout(intruder, known["subscription_id"]), actor="user:intruder"),
        "Provider": Provider.STRIPE, "provider": Provider.STRIPE, "found": [],
        "Account": account, "Outcome": Outcome(account.subscription), "happened": [], "but": "SUB-x",
        "entries": vaultfile.parse(json.dumps([{"vault_id": vault_id, "label": "Mine", "rails": ["fiat"]}])),
    }  # fmt: skip


def _held(follower_id: str, sealed: SealedKey) -> Held:
    return Held(Which.EQUITIES, follower_id, "alpaca", "paper", sealed)


def _store(name: str, database: Database, box: SecretBox) -> Any:
    limits: Limits = {"max_notional_usd": Decimal(10**7), "max_qty": Decimal(10**6)}
    given: dict[str, Any] = {
        "database": database, "box": box, "door": Door(**limits), "page_size": 500, **limits, "peg": Peg(),
        "max_age": timedelta(days=1), "event_bps": Decimal(1), "valid_for": timedelta(days=1), "provider": None,
        "sessions": None, "catalogue": load_catalogue(), "keys": [], "without": EVERYTHING,
        "entitlements": EntitlementStore(database, EVERYTHING, load_catalogue()),
        "offer": UNLIMITED,
    }  # fmt: skip
    wanted = inspect.signature(STORES[name]).parameters
    if "limits" in wanted:
        return STORES[name](**{key: given[key] for key in ("database", "offer", "page_size", *limits)})
    return STORES[name](**{key: given[key] for key, p in wanted.items() if p.default is p.empty})


async def _answer(result: Any) -> str:
    """All that a call shows."""
    if isinstance(result, AbstractAsyncContextManager):
        async with result as entered:
            return repr(entered)
    if inspect.isasyncgen(result):
        return repr([row async for row in result])
    answer = await result
    shown = answer if isinstance(answer, list | tuple) else [answer]
    return repr([row.model_dump() if isinstance(row, SQLModel) else row for row in shown])


_DIGEST = " UNION ALL ".join(
    f"SELECT '{name}' AS name, count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {name} t "
    f"WHERE tenant_id = %(tenant)s"
    for name, table in sorted(SQLModel.metadata.tables.items())
    if "tenant_id" in table.c
)


@pytest.fixture(scope="module")
async def owner(settings: Settings) -> AsyncIterator[Owner]:
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings), autocommit=True) as connection:
        yield connection


async def _rows(owner: Owner, tenant_id: str) -> list[Any]:
    """A digest of all that the tenant has, by table."""
    return await (await owner.execute(cast("Any", _DIGEST), {"tenant": tenant_id})).fetchall()


@pytest.mark.parametrize("method", METHODS)
async def test_a_stores_method_neither_shows_nor_touches_what_is_another_tenants(
    line: Database, victim: Victim, intruder: str, owner: Owner, box: SecretBox, method: str
) -> None:
    name, _, called = method.partition(".")
    function = getattr(_store(name, line, box), called)
    values = _values(victim, intruder)
    parameters = [p for p in _parameters(function) if p.default is p.empty]
    unknown = [p.name for p in parameters if _kind(p) not in values and p.name not in values]
    assert not unknown, f"_values() has none for {unknown} of {method}: say what an intruder would give"
    given = {p.name: values.get(_kind(p), values.get(p.name)) for p in parameters}
    before = await _rows(owner, victim.tenant_id)
    try:
        shown = await _answer(function(**given))
    except (VantaError, AssertionError, psycopg.IntegrityError) as error:
        shown = str(error)
    assert SECRET not in shown
    assert victim.tenant_id not in shown.replace(repr(victim.tenant_id), "")
    assert await _rows(owner, victim.tenant_id) == before


async def test_with_both_lines_off_another_tenants_rows_would_show(
    victim: Victim, intruder: str, settings: Settings, box: SecretBox
) -> None:
    """The tests above can fail."""
    postgres = settings.postgres.model_copy(update={"dsn": SecretStr(owner_dsn(settings))})
    open_door = Database(postgres, filtered=False)
    registry = Registry(open_door, box)
    assert (await registry.get_vault(intruder, victim.ids["vault_id"])).tenant_id == uuid.UUID(victim.tenant_id)
    settled = _store("SettlementStore", open_door, box)
    assert SECRET not in await _answer(settled.trade_log(intruder, victim.ids["fo_id"]))
    assert victim.tenant_id in await _answer(settled.trade_log(intruder, victim.ids["mo_id"]))
    await open_door.close()


def test_every_model_of_a_tenants_table_is_owned() -> None:
    mapped = {
        cast("Any", m).__tablename__ for m in vars(models).values() if inspect.isclass(m) and m is not models.Owned
    }
    owned = {cast("Any", model).__tablename__ for model in models.Owned.__subclasses__()}
    assert owned == {name for name in mapped if "tenant_id" in SQLModel.metadata.tables[name].c}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM follower_orders",
        "SELECT tenant_id FROM vaults v JOIN followers f USING (vault_id) WHERE v.tenant_id = f.tenant_id",
        "WITH x AS (UPDATE vaults SET label = 'x' RETURNING *) SELECT * FROM x",
        "DELETE FROM public.audit_events -- WHERE is_mine(tenant_id)",
    ],
)
async def test_sql_that_names_no_tenant_is_not_run(database: Database, intruder: str, statement: str) -> None:
    async with database.cursor(intruder) as cursor:
        with pytest.raises(TenantNotNamed):
            await cursor.execute(statement)
    async with database.session(intruder) as session:
        connection = await session.connection()
        with pytest.raises(TenantNotNamed):
            await connection.execute(text(statement))


def test_sql_of_what_all_share_names_none() -> None:
    check_statement("SELECT symbol FROM instruments FOR UPDATE")


async def test_a_statement_of_models_that_goes_past_its_session_is_not_run(database: Database, intruder: str) -> None:
    async with database.session(intruder) as session:
        connection = await session.connection()
        for statement in (select(models.Vault), update(models.Vault).values(label="x")):
            with pytest.raises(TenantNotNamed):
                await connection.execute(statement)


async def test_a_row_of_another_tenant_is_not_written(database: Database, victim: Victim, intruder: str) -> None:
    stolen = models.User(user_id=uuid.uuid4(), tenant_id=uuid.UUID(victim.tenant_id), email="x", role="owner")
    with pytest.raises(TenantNotNamed):
        async with database.session(intruder) as session:
            session.add(stolen)


async def test_updates_and_joins_of_models_see_one_tenant_without_row_level_security(
    victim: Victim, owner: Owner, settings: Settings
) -> None:
    postgres = settings.postgres.model_copy(update={"dsn": SecretStr(owner_dsn(settings))})
    database = Database(postgres)
    try:
        before = await _rows(owner, victim.tenant_id)
        # The intruder second: what was compiled for the first must not be his.
        for tenant_id, sees in ((victim.tenant_id, True), (str(uuid.uuid4()), False)):
            async with database.session(tenant_id) as session:
                joined = select(models.Follower).join(
                    models.Vault, col(models.Vault.vault_id) == col(models.Follower.vault_id)
                )
                assert bool((await session.exec(joined)).all()) is sees
                assert bool(await session.get(models.Vault, victim.ids["vault_id"])) is sees
                if not sees:
                    done = await session.exec(update(models.Vault).values(label="mine"))
                    assert done.rowcount == 0
        assert await _rows(owner, victim.tenant_id) == before
    finally:
        await database.close()

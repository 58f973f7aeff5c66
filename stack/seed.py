"""What the embedded stack has before anybody comes: tenants, instruments with a price, people to log in as."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.entities import emit
from adapters.store.instruments import InstrumentStore
from adapters.store.registry import Registry
from domain.access import Role
from domain.calendars import ALWAYS
from domain.enrolment import NewFollower, NewVault
from domain.errors import InvalidInput, NotFound
from domain.requests import Once
from domain.sizing import Mode
from models import Identity, Price, User
from settings import Settings
from stack.errors import StackError
from stack.people import FOLLOWER, PEOPLE, TENANT, VAULT, Person

ACTOR = "system:seed"
_EQUITY = {"venue": "XNAS", "rail": "fiat"}


def open_database(settings: Settings) -> Database:
    return Database(settings.postgres)


def parse_prices(given: Sequence[str]) -> dict[str, Decimal]:
    """From `SYMBOL=USD` texts. Raises InvalidInput."""
    prices = {}
    for text in given:
        symbol, _, value = text.partition("=")
        try:
            price = Decimal(value)
        except InvalidOperation:
            price = Decimal(0)
        if not symbol or not price.is_finite() or price <= 0:
            raise InvalidInput("price", f"{text!r} is not SYMBOL=USD, for example AAPL=200")
        prices[symbol] = price
    return prices


async def seed(
    settings: Settings, tenant_id: str, name: str, prices: Mapping[str, Decimal], calendar: str = ALWAYS
) -> None:
    """Create the tenant unless it is there; add the symbols (US equities) or bring their prices (USD) up to date.

    To try things out at any hour, new symbols trade at all times unless a calendar is given.

    Raises StackError outside the embedded profile.
    """
    if not settings.is_embedded:
        raise StackError("seeding works in the embedded profile only")
    database = open_database(settings)
    try:
        registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
        await registry.ensure_tenant(tenant_id, name, actor=ACTOR)
        instruments = InstrumentStore(database)
        there = {row.symbol for row in await instruments.listed(list(prices))}
        new = {symbol: {**_EQUITY, "calendar": calendar} for symbol in prices if symbol not in there}
        await instruments.put(new, actor=ACTOR)
        for symbol, price in prices.items():
            await registry.upsert_price(Price(symbol=symbol, price=price, asof=datetime.now(UTC), source="seed"))
    finally:
        await database.close()


async def settle(settings: Settings, issuer: str) -> None:
    """Make what is not there yet of the trial tenant, its people and who they are at `issuer`: nobody needs inviting.

    What they have changed since stays changed.
    """
    database = open_database(settings)
    try:
        registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
        await registry.ensure_tenant(TENANT, "Trial", actor=ACTOR)
        await _enrol(registry)
        async with database.session(TENANT) as session:
            for person in PEOPLE:
                await _introduce(session, person, issuer)
    finally:
        await database.close()


async def _enrol(registry: Registry) -> None:
    """A vault, and in it the follower that the person of that role is; its orders are on paper only."""
    try:
        await registry.get_follower(TENANT, FOLLOWER)
    except NotFound:
        vault = NewVault("Trial", nav_usd=Decimal(1_000_000), vault_id=VAULT)
        await registry.create_vault(TENANT, vault, actor=ACTOR, once=Once("seed", VAULT, VAULT))
        follower = NewFollower(VAULT, "Trial", mode=Mode.SHADOW, follower_id=FOLLOWER)
        await registry.create_follower(TENANT, follower, actor=ACTOR, once=Once("seed", FOLLOWER, FOLLOWER))


async def _introduce(session: AsyncSession, person: Person, issuer: str) -> None:
    tenant = {"tenant_id": UUID(TENANT)}
    mine: dict[str, Any] = {"follower_id": FOLLOWER}
    if person.role is not Role.FOLLOWER:
        mine = {"user_id": person.user_id}
        said = {"email": person.email, "role": person.role.value}
        if await _inserted(session, User, {**mine, **tenant, **said}):
            await emit(session, TENANT, "user", str(person.user_id), "created", ACTOR, said)
    await _inserted(session, Identity, {"issuer": issuer, "subject": person.subject, **tenant, **mine})


async def _inserted(session: AsyncSession, model: type[SQLModel], values: dict[str, Any]) -> bool:
    return await session.scalar(insert(model).values(values).on_conflict_do_nothing().returning(model)) is not None

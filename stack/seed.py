"""What the API has no route for yet: a tenant of its own, and instruments with a price. Embedded profile only."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.instruments import InstrumentStore
from adapters.store.registry import Registry
from domain.calendars import ALWAYS
from domain.errors import InvalidInput
from models import Price
from settings import Settings
from stack.errors import StackError

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

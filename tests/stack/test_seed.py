"""Seeding gives a tenant its first instruments."""

import uuid
from decimal import Decimal

import pytest

from adapters.secretbox import SecretBox
from adapters.store.registry import Registry
from domain.errors import InvalidInput
from settings import Settings
from stack.errors import StackError
from stack.seed import open_database, parse_prices, seed


async def test_a_seeded_symbol_has_its_newest_price_and_the_tenant_stays(settings: Settings):
    tenant, symbol = str(uuid.uuid4()), "SEEDED"
    await seed(settings, tenant, "Trial", {symbol: Decimal("10.5")})
    await seed(settings, tenant, "Trial", {symbol: Decimal(11)})
    database = open_database(settings)
    try:
        instrument = await Registry(
            database, SecretBox(settings.secrets.master_keys.get_secret_value())
        ).get_instrument(symbol)
        async with database.cursor(tenant) as cursor:
            cursor.filtered = False
            await cursor.execute(
                "SELECT (SELECT price FROM prices WHERE symbol = %s) AS price, name FROM tenants", [symbol]
            )
            rows = await cursor.fetchall()
    finally:
        await database.close()
    assert instrument is not None
    assert (instrument.qty_step, instrument.rail) == (Decimal(1), "fiat")
    assert [(row["price"], row["name"]) for row in rows] == [(11, "Trial")]


async def test_production_is_not_seeded(settings: Settings):
    production = settings.model_copy(update={"profile": "production"})
    production.__dict__.pop("is_embedded", None)
    with pytest.raises(StackError, match="embedded profile only"):
        await seed(production, str(uuid.uuid4()), "Trial", {})


def test_prices_are_read_from_texts():
    assert parse_prices(["AAPL=200", "MSFT=400.10"]) == {"AAPL": 200, "MSFT": Decimal("400.10")}


@pytest.mark.parametrize("text", ["AAPL", "AAPL=", "=5", "AAPL=-1", "AAPL=NaN", "AAPL=x"])
def test_what_is_no_price_is_named(text: str):
    with pytest.raises(InvalidInput, match="is not SYMBOL=USD"):
        parse_prices([text])

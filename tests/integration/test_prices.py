"""Prices and NAVs through the real Schedule, workflow, activities and database, with Alpaca simulated."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from models import Instrument, Price
from tests.integration.workers import workers_with
from tests.world import World

SYMBOL = "ZPRICE"


@pytest.fixture
async def marked(world: World) -> AsyncIterator[World]:
    """The world, with its prices from the simulator every second."""
    key = f"AK{uuid.uuid4().hex}"
    world.alpaca.add_account(key, "secret")
    env = {
        "VANTA_PRICES__SOURCE": "alpaca", "VANTA_PRICES__URL": world.alpaca.url, "VANTA_PRICES__KEY_ID": key,
        "VANTA_PRICES__SECRET": "secret", "VANTA_PRICES__EVERY_S": "1",
    }  # fmt: skip
    async with workers_with(world, env):
        yield world


async def nav(world: World, vault: str) -> Decimal | None:
    [row] = await world.rows("SELECT nav_usd FROM vaults WHERE vault_id = %s", vault)
    found: Decimal | None = row["nav_usd"]
    return found


async def until_nav(world: World, vault: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await nav(world, vault) != wanted:
            await asyncio.sleep(0.1)


async def test_a_vaults_nav_follows_the_market(marked: World):
    instrument = Instrument(symbol=SYMBOL, venue="XNAS", rail="fiat", qty_step=Decimal(1), fine_step=Decimal(1),
                            min_qty=Decimal(0), min_notional=Decimal(0), tradable=True)  # fmt: skip
    await marked.registry.upsert_instrument(instrument)
    price = Price(symbol=SYMBOL, price=Decimal(50), asof=datetime.now(UTC) - timedelta(minutes=5), source="test")
    await marked.registry.upsert_price(price)
    marked.alpaca.set_asset(SYMBOL, Decimal(50))
    vault = await marked.vault()
    assert (await marked.submit(vault, "buy", 1_000, symbol=SYMBOL)).accepted
    marked.alpaca.set_asset(SYMBOL, Decimal(60))
    await until_nav(marked, vault, 1_010_000)
    marked.alpaca.set_asset(SYMBOL, Decimal(40))
    await until_nav(marked, vault, 990_000)
    [kept] = await marked.rows("SELECT price, source FROM prices WHERE symbol = %s", SYMBOL)
    assert (kept["price"], kept["source"]) == (40, "alpaca")
    told = await marked.rows(
        "SELECT payload ->> 'nav_usd' AS nav FROM audit_events WHERE entity_id = %s AND action = 'nav_updated' "
        "ORDER BY event_id",
        vault,
    )
    assert [event["nav"] for event in told] == ["1010000", "990000"]
    marks = await marked.rows("SELECT nav_usd FROM nav_marks WHERE holder_id = %s ORDER BY asof", vault)
    assert [mark["nav_usd"] for mark in marks][-2:] == [1_010_000, 990_000]

"""The vault's cash, and its NAV in the snapshot: from cash, positions and prices at the moment of admission."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.database import Database
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from domain.errors import InvalidInput
from domain.mirroring import Admission
from models import Instrument, Price
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import Floor, admission_store, manager_order

D = Decimal


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def new_symbol(floor: Floor, price: str | None = None, age: timedelta = timedelta(0)) -> str:
    """An instrument of this test's own, as prices are shared by all tenants."""
    symbol = f"T{uuid.uuid4().hex[:10].upper()}"
    await floor.registry.upsert_instrument(
        Instrument(symbol=symbol, venue="TEST", rail="fiat", qty_step=D(1), fine_step=D("0.000001"),
                   min_qty=D(0), min_notional=D(0), tradable=True)
    )  # fmt: skip
    if price is not None:
        await set_price(floor, symbol, price, age)
    return symbol


async def set_price(floor: Floor, symbol: str, price: str, age: timedelta = timedelta(0)) -> None:
    await floor.registry.upsert_price(Price(symbol=symbol, price=D(price), asof=datetime.now(UTC) - age, source="test"))


async def ask(floor: Floor, symbol: str, side: str = "buy", **more: Any) -> Admission:
    """The verdict, whatever it is."""
    order = manager_order(floor.tenant_id, floor.vault_id, symbol, side=side, **more)
    return await admission_store(floor.database).admit(order, datetime.now(UTC))


async def cash(floor: Floor) -> Decimal | None:
    [row] = await floor.rows("SELECT cash_usd FROM vaults WHERE vault_id = %s", floor.vault_id)
    found: Decimal | None = row["cash_usd"]
    return found


async def snapshot(floor: Floor, mo_id: str) -> dict[str, Any]:
    [row] = await floor.rows("SELECT body FROM snapshots WHERE mo_id = %s", mo_id)
    body: dict[str, Any] = row["body"]
    return body


async def test_cash_pays_for_what_the_vault_gets(floor: Floor):
    symbol = await new_symbol(floor, "200")
    assert await cash(floor) == 1_000_000
    await ask(floor, symbol, qty="10")
    assert await cash(floor) == 998_000
    await ask(floor, symbol, "sell", qty="4", type="limit", limit_price="201")
    assert await cash(floor) == 998_804
    await ask(floor, symbol, qty="1", meta={"reference_price": "199.5"})
    assert await cash(floor) == D("998604.5")


async def test_what_nobody_was_sent_is_given_back_once_at_its_price(floor: Floor):
    symbol = await new_symbol(floor, "200")
    admitted = await ask(floor, symbol, qty="10")
    await set_price(floor, symbol, "300")
    settlement = SettlementStore(floor.database)
    for _ in range(2):
        await settlement.cancel(floor.tenant_id, admitted.mo_id, ACTOR)
    assert await cash(floor) == 1_000_000
    [position] = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s", floor.vault_id)
    assert position["qty"] == 0
    [order] = await floor.rows("SELECT given_back_at FROM manager_orders WHERE mo_id = %s", admitted.mo_id)
    assert order["given_back_at"] is not None


async def test_the_snapshot_has_the_nav_at_the_prices_of_its_moment(floor: Floor):
    held, other = await new_symbol(floor, "100", timedelta(hours=3)), await new_symbol(floor, "50")
    first = await snapshot(floor, (await ask(floor, held, qty="100")).mo_id)
    assert (first["nav_usd"], first["price_source"], first["price"]) == ("1000000", "test", "100")
    assert datetime.fromisoformat(first["nav_asof"]) == datetime.fromisoformat(first["taken_at"])
    await set_price(floor, held, "110", timedelta(hours=2))
    second = await snapshot(floor, (await ask(floor, other, qty="1")).mo_id)
    assert second["nav_usd"] == "1001000"
    age = datetime.now(UTC) - datetime.fromisoformat(second["nav_asof"])
    assert timedelta(hours=2) <= age < timedelta(hours=2, minutes=5)
    assert datetime.fromisoformat(second["price_asof"]) > datetime.fromisoformat(second["nav_asof"])


async def test_a_stated_price_is_the_snapshots_and_as_fresh_as_the_order(floor: Floor):
    symbol = await new_symbol(floor, "100", timedelta(hours=3))
    body = await snapshot(floor, (await ask(floor, symbol, meta={"reference_price": "101"})).mo_id)
    assert (body["price"], body["price_source"], body["price_asof"]) == ("101", "reference_price", body["taken_at"])


async def test_an_old_price_refuses_the_open_that_it_would_size_and_no_reduction(floor: Floor):
    symbol, two_days = await new_symbol(floor, "100"), timedelta(days=2)
    await ask(floor, symbol, qty="10")
    await set_price(floor, symbol, "100", two_days)
    refused = await ask(floor, symbol, qty="1")
    assert (refused.accepted, refused.code) == (False, "stale-nav")
    assert (await ask(floor, symbol, "sell", qty="10")).accepted
    refused = await ask(floor, symbol, qty="1")
    assert (refused.code, refused.field) == ("stale-price", "meta.reference_price")
    assert (await ask(floor, symbol, qty="1", type="limit", limit_price="100")).accepted


async def test_the_authors_price_stands_in_for_an_old_or_a_missing_one_of_its_symbol(floor: Floor):
    symbol = await new_symbol(floor)
    stated = {"reference_price": "100"}
    assert (await ask(floor, symbol, qty="10", meta=stated)).accepted
    refused = await ask(floor, symbol, qty="1", type="limit", limit_price="100")
    assert (refused.code, refused.field) == ("missing-nav", "vault_id")
    assert refused.reason is not None
    assert symbol in refused.reason
    body = await snapshot(floor, (await ask(floor, symbol, qty="1", meta={"reference_price": "120"})).mo_id)
    assert body["nav_usd"] == "1000200"


async def test_a_reduction_at_no_known_price_leaves_the_nav_unknown_until_it_is_set(floor: Floor):
    symbol, priced = await new_symbol(floor), await new_symbol(floor, "10")
    await ask(floor, symbol, qty="10", meta={"reference_price": "100"})
    assert (await ask(floor, symbol, "sell", qty="10")).accepted
    assert await cash(floor) is None
    assert (await ask(floor, priced)).code == "missing-nav"
    await floor.registry.set_vault_nav(floor.tenant_id, floor.vault_id, D(5_000), datetime.now(UTC), actor=ACTOR)
    assert await cash(floor) == 5_000
    assert (await ask(floor, priced)).accepted


async def test_a_nav_that_is_set_is_cash_after_what_is_held(floor: Floor):
    symbol, unpriced = await new_symbol(floor, "200"), await new_symbol(floor)
    await ask(floor, symbol, qty="10")
    await set_price(floor, symbol, "250")
    await floor.registry.set_vault_nav(floor.tenant_id, floor.vault_id, D(10_000), datetime.now(UTC), actor=ACTOR)
    assert await cash(floor) == 7_500
    await ask(floor, unpriced, qty="1", meta={"reference_price": "100"})
    with pytest.raises(InvalidInput, match=unpriced):
        await floor.registry.set_vault_nav(floor.tenant_id, floor.vault_id, D(1), datetime.now(UTC), actor=ACTOR)

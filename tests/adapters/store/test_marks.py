"""Prices as they are kept, and marks of NAV."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.database import Database
from adapters.store.marks import MarkStore
from adapters.store.registry import Registry
from domain.ports import PriceQuote
from tests.adapters.store.orders import Floor
from tests.adapters.store.test_vault_worth import ask, cash, new_symbol, set_price

D = Decimal
HOUR = timedelta(hours=1)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


@pytest.fixture
def marks(database: Database) -> MarkStore:
    return MarkStore(database, max_age=timedelta(days=1), event_bps=D(10))


def quote(price: str, age: timedelta = timedelta(0)) -> PriceQuote:
    return PriceQuote(D(price), datetime.now(UTC) - age, "test")


async def price_of(floor: Floor, symbol: str) -> tuple[Decimal, str]:
    [row] = await floor.rows("SELECT price, source FROM prices WHERE symbol = %s", symbol)
    return row["price"], row["source"]


async def history(floor: Floor, symbol: str) -> list[Decimal]:
    rows = await floor.rows("SELECT price FROM price_history WHERE symbol = %s ORDER BY recorded_at", symbol)
    return [row["price"] for row in rows]


async def mark(floor: Floor, marks: MarkStore, now: datetime | None = None) -> str:
    return await marks.mark(floor.tenant_id, floor.vault_id, now or datetime.now(UTC))


async def vault(floor: Floor) -> dict[str, Any]:
    [row] = await floor.rows("SELECT * FROM vaults WHERE vault_id = %s", floor.vault_id)
    return row


async def kept(floor: Floor) -> list[dict[str, Any]]:
    return await floor.rows("SELECT * FROM nav_marks WHERE holder_id = %s ORDER BY asof", floor.vault_id)


async def told(floor: Floor) -> list[tuple[str, dict[str, Any]]]:
    rows = await floor.rows(
        "SELECT action, payload FROM audit_events WHERE entity_id = %s AND action LIKE 'nav%%' ORDER BY event_id",
        floor.vault_id,
    )
    return [(row["action"], row["payload"]) for row in rows]


async def test_a_price_is_kept_when_it_is_newer_or_corrected(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor)
    first = quote("10.000000001", 2 * HOUR)
    corrected, older, newer = PriceQuote(D("10.5"), first.asof, "test"), quote("9", 3 * HOUR), quote("10.5", HOUR)
    changed = [await marks.record({symbol: given}) for given in (first, first, corrected, older, newer)]
    assert changed == [1, 0, 1, 0, 1]
    assert await price_of(floor, symbol) == (D("10.5"), "test")
    assert await history(floor, symbol) == [D("10.000000001"), D("10.5"), D("10.5")]


async def test_what_is_no_instrument_is_left_out(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor)
    assert await marks.record({symbol: quote("1"), "NOSUCHSYMBOL": quote("1")}) == 1
    assert await marks.record({}) == 0


async def test_prices_are_needed_of_what_is_held_ordered_or_hedged_with(floor: Floor, marks: MarkStore):
    held, ordered, hedge, idle = [await new_symbol(floor, "10") for _ in range(4)]
    await ask(floor, held)
    await ask(floor, ordered)
    await ask(floor, ordered, "sell")
    await floor.rows(
        "UPDATE vaults SET risk_profile = jsonb_build_object('hedge', jsonb_build_object('symbol', %s::text)) "
        "WHERE vault_id = %s",
        hedge, floor.vault_id,
    )  # fmt: skip
    needed = await marks.symbols(everything=False)
    assert {held, ordered, hedge} <= set(needed)
    assert idle not in needed
    assert idle in await marks.symbols(everything=True)
    wanted = MarkStore(floor.database, max_age=HOUR, event_bps=D(10), always=[idle, "NO-INSTRUMENT"])
    assert await wanted.symbols(everything=False) == sorted([*needed, idle])


async def test_nav_follows_the_prices_of_what_is_held(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor, "200", HOUR)
    await ask(floor, symbol, qty="1000")
    assert await mark(floor, marks) == "marked"
    await set_price(floor, symbol, "201.5", HOUR / 2)
    assert await mark(floor, marks) == "told"
    row = await vault(floor)
    assert (row["nav_usd"], row["nav_told_usd"], row["nav_fault"]) == (1_001_500, 1_001_500, None)
    assert timedelta(minutes=29) < datetime.now(UTC) - row["nav_asof"] < timedelta(minutes=35)
    first, second = await kept(floor)
    assert (first["nav_usd"], first["cash_usd"], second["nav_usd"]) == (1_000_000, 800_000, 1_001_500)
    assert {s: (p["qty"], p["price"]) for s, p in second["positions"].items()} == {symbol: ("1000", "201.5")}
    [(action, payload)] = await told(floor)
    assert action == "nav_updated"
    assert (payload["nav_usd"], payload["from"], payload["moved_bps"]) == ("1001500", "1000000", "15")


async def test_small_moves_are_marked_and_told_when_they_have_added_up(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor, "200")
    await ask(floor, symbol, qty="1000")
    outcomes = []
    for price in ("200.4", "200.8", "201.2", "201.6"):
        await set_price(floor, symbol, price)
        outcomes.append(await mark(floor, marks))
    assert outcomes == ["marked", "marked", "told", "marked"]
    assert [payload["nav_usd"] for _, payload in await told(floor)] == ["1001200"]
    assert (await vault(floor))["nav_usd"] == 1_001_600


async def test_what_has_not_moved_is_no_new_mark(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor, "200", HOUR)
    await ask(floor, symbol, qty="10")
    await mark(floor, marks)
    await set_price(floor, symbol, "200")
    assert await mark(floor, marks) == "same"
    assert len(await kept(floor)) == 1
    assert datetime.now(UTC) - (await vault(floor))["nav_asof"] < timedelta(minutes=1)


@pytest.mark.parametrize(("priced", "fault"), [(True, "stale-nav"), (False, "missing-nav")])
async def test_a_vault_whose_nav_cannot_be_told_is_not_marked_and_that_is_said_once(
    floor: Floor, marks: MarkStore, priced: bool, fault: str
):
    symbol = await new_symbol(floor, "200") if priced else await new_symbol(floor)
    await ask(floor, symbol, qty="10", meta={"reference_price": "200"})
    late = datetime.now(UTC) + timedelta(days=2)
    assert [await mark(floor, marks, late) for _ in range(3)] == ["unknown"] * 3
    row = await vault(floor)
    assert (row["nav_usd"], row["nav_fault"]) == (1_000_000, fault)
    assert await kept(floor) == []
    [(action, payload)] = await told(floor)
    assert (action, payload["code"]) == ("nav_unknown", fault)
    assert payload["stale" if priced else "missing"] == [symbol]
    await set_price(floor, symbol, "200")
    assert await mark(floor, marks) == "told"
    assert (await vault(floor))["nav_fault"] is None
    assert [action for action, _ in await told(floor)] == ["nav_unknown", "nav_updated"]


async def test_a_mark_that_waits_for_an_order_sees_all_of_it(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor, "200")
    async with asyncio.TaskGroup() as group, floor.database.cursor(floor.tenant_id) as admitting:
        admitting.filtered = False
        await admitting.execute("SELECT pg_backend_pid() AS pid")
        row = await admitting.fetchone()
        assert row is not None
        await admitting.execute("UPDATE vaults SET cash_usd = cash_usd - 2000 WHERE vault_id = %s", [floor.vault_id])
        await admitting.execute(
            "INSERT INTO positions (tenant_id, holder_id, symbol, qty) VALUES (%s, %s, %s, 10)",
            [floor.tenant_id, floor.vault_id, symbol],
        )
        marking = group.create_task(mark(floor, marks))
        waits = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        async with asyncio.timeout(60):
            while not await floor.rows(waits, row["pid"]):
                await asyncio.sleep(0.02)
    assert marking.result() == "marked"
    assert (await vault(floor))["nav_usd"] == 1_000_000


async def test_a_vault_that_never_had_a_nav_is_left_alone(floor: Floor, marks: MarkStore):
    await floor.rows("UPDATE vaults SET nav_usd = NULL, cash_usd = NULL WHERE vault_id = %s", floor.vault_id)
    assert await mark(floor, marks) == "unset"
    assert await told(floor) == []


async def test_cash_that_nobody_knows_any_more_is_a_nav_that_cannot_be_told(floor: Floor, marks: MarkStore):
    symbol = await new_symbol(floor)
    await ask(floor, symbol, qty="10", meta={"reference_price": "100"})
    await ask(floor, symbol, "sell", qty="10")
    assert await cash(floor) is None
    assert await mark(floor, marks) == "unknown"
    [(_, payload)] = await told(floor)
    assert payload == {"code": "missing-nav", "missing": [], "stale": []}


async def test_marks_are_no_new_versions_of_the_vault_but_orders_are(floor: Floor, marks: MarkStore):
    async def versions() -> int:
        [row] = await floor.rows("SELECT count(*) AS n FROM row_history WHERE entity_id = %s", floor.vault_id)
        return int(row["n"])

    symbol = await new_symbol(floor, "200")
    before = await versions()
    await ask(floor, symbol, qty="1000")
    assert await versions() == before + 1
    await set_price(floor, symbol, "300")
    assert await mark(floor, marks) == "told"
    assert await versions() == before + 1


async def test_every_open_vault_is_marked_whosever_it_is(floor: Floor, marks: MarkStore):
    assert (floor.tenant_id, floor.vault_id) in await marks.vaults()
    await floor.rows("UPDATE vaults SET status = 'closed' WHERE vault_id = %s", floor.vault_id)
    assert (floor.tenant_id, floor.vault_id) not in await marks.vaults()

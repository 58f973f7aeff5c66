"""What admission counts and compares in Postgres: the vault's pace, and the same order again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.database import Database
from adapters.store.registry import Registry
from domain.mirroring import Admission
from settings import Settings
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import UNLIMITED, Floor, Pause, SpiedDatabase, admission_store, manager_order

Place = Callable[..., Awaitable[Admission]]


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def profile(floor: Floor, **limits: Any) -> None:
    await floor.registry.update_vault(floor.tenant_id, floor.vault_id, {"risk_profile": limits}, actor=ACTOR)


async def place(floor: Floor, *, store: AdmissionStore | None = None, **more: Any) -> Admission:
    order = manager_order(floor.tenant_id, floor.vault_id, **more)
    return await (store or admission_store(floor.database)).admit(order, datetime.now(UTC))


async def age(settings: Settings, mo_id: str, seconds: int) -> None:
    assert settings.postgres.owner_dsn is not None
    async with await psycopg.AsyncConnection.connect(settings.postgres.owner_dsn.get_secret_value()) as connection:
        await connection.execute(
            "UPDATE manager_orders SET created_at = created_at - %s * interval '1 second' WHERE mo_id = %s",
            [seconds, mo_id],
        )


async def test_opens_beyond_the_vaults_rate_are_refused_and_reductions_pass(floor: Floor) -> None:
    await profile(floor, max_orders_per_minute=2)
    assert (await place(floor)).accepted
    assert (await place(floor, side="sell", qty="4")).accepted
    refused = await place(floor)
    assert (refused.code, refused.field) == ("message-rate", "vault_id")
    assert (await place(floor, side="sell", qty="4")).accepted


async def test_the_platforms_rate_counts_where_it_is_tighter(floor: Floor) -> None:
    await profile(floor, max_orders_per_minute=50)
    tight = AdmissionStore(
        floor.database, UNLIMITED, page_size=500, max_notional_usd=10**7, max_qty=10**6, max_orders_per_minute=1,  # type: ignore[arg-type]
    )  # fmt: skip
    assert (await place(floor, store=tight)).accepted
    assert (await place(floor, store=tight)).code == "message-rate"


async def test_what_was_refused_and_what_is_older_than_a_minute_does_not_count(
    floor: Floor, settings: Settings
) -> None:
    await profile(floor, max_orders_per_minute=1)
    assert (await place(floor, side="sell")).code == "nothing-held"
    first = await place(floor)
    assert first.accepted
    assert (await place(floor)).code == "message-rate"
    await age(settings, first.mo_id, 61)
    assert (await place(floor)).accepted


async def test_the_same_order_under_another_key_is_refused_by_the_earlier_ones_id(floor: Floor) -> None:
    await profile(floor, duplicate_window_s=30)
    first = await place(floor, qty="5")
    again = await place(floor, qty="5.0")
    assert (again.code, again.field) == ("duplicate-intent", "meta.allow_duplicate")
    assert first.mo_id in (again.reason or "")
    assert (await place(floor, qty="5", meta={"allow_duplicate": True})).accepted


@pytest.mark.parametrize(
    "other", [{"qty": "6"}, {"symbol": "WAVEC"}, {"type": "limit", "limit_price": "200"}, {"side": "sell", "qty": "3"}]
)
async def test_an_order_that_differs_in_anything_is_no_duplicate(floor: Floor, other: dict[str, Any]) -> None:
    await profile(floor, duplicate_window_s=30)
    assert (await place(floor, qty="5")).accepted
    assert (await place(floor, **{"qty": "5", **other})).accepted


async def test_after_the_window_or_without_one_the_same_order_passes(floor: Floor, settings: Settings) -> None:
    await profile(floor, duplicate_window_s=30)
    first = await place(floor)
    await age(settings, first.mo_id, 31)
    assert (await place(floor)).accepted
    assert (await place(floor)).code == "duplicate-intent"
    await profile(floor, duplicate_window_s=0)
    assert (await place(floor)).accepted


async def test_the_same_order_twice_at_once_is_admitted_once(floor: Floor) -> None:
    """The second waits for the first one's lock, and must then see what the first has written."""
    await profile(floor, duplicate_window_s=30, max_orders_per_minute=50)
    pause = Pause("INSERT INTO manager_orders")
    slow = admission_store(SpiedDatabase(floor.database, pause))  # type: ignore[arg-type]
    first = asyncio.create_task(place(floor, store=slow))
    await asyncio.wait_for(pause.reached.wait(), 30)
    second = asyncio.create_task(place(floor))
    await _blocked_by(floor, pause.pid)
    pause.go_on.set()
    assert (await first).accepted
    assert (await second).code == "duplicate-intent"


async def test_two_exits_at_once_are_not_both_exits(floor: Floor) -> None:
    await place(floor, qty="10")
    pause = Pause("INSERT INTO manager_orders")
    slow = admission_store(SpiedDatabase(floor.database, pause))  # type: ignore[arg-type]
    first = asyncio.create_task(place(floor, store=slow, side="sell", qty="10"))
    await asyncio.wait_for(pause.reached.wait(), 30)
    second = asyncio.create_task(place(floor, side="sell", qty="10"))
    await _blocked_by(floor, pause.pid)
    pause.go_on.set()
    assert (await first).accepted
    assert (await second).code == "nothing-held"


async def test_an_order_outside_the_vaults_session_is_refused(floor: Floor) -> None:
    today = datetime.now(UTC)
    other_day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(today.weekday() + 3) % 7]
    hours = {"time_zone": "UTC", "days": [other_day], "open": "09:00", "close": "10:00"}
    assert (await place(floor)).accepted
    await profile(floor, trading_hours=hours)
    assert (await place(floor)).code == "outside-session"
    assert (await place(floor, side="sell", qty="10")).accepted


async def _blocked_by(floor: Floor, pid: int) -> None:
    async with asyncio.timeout(60):
        while not await floor.rows("SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", pid):
            await asyncio.sleep(0.01)


async def test_a_vault_is_changed_once_and_told_so(floor: Floor) -> None:
    await profile(floor, max_order_qty="5")
    await profile(floor, max_order_qty="5")
    found = await floor.rows(
        "SELECT payload FROM audit_events WHERE entity = 'vault' AND entity_id = %s AND action = 'updated'",
        floor.vault_id,
    )
    [told] = [row["payload"]["changes"] for row in found]
    assert told == {"risk_profile": {"from": {"duplicate_window_s": 0},
                                     "to": {"duplicate_window_s": 0, "max_order_qty": "5"}}}  # fmt: skip


async def test_null_takes_a_limit_away_and_what_is_wrong_changes_nothing(floor: Floor) -> None:
    await profile(floor, max_order_qty="5", max_orders_per_minute=9)
    await profile(floor, max_order_qty=None)
    vault = await floor.registry.get_vault(floor.tenant_id, floor.vault_id)
    assert vault.risk_profile == {"duplicate_window_s": 0, "max_orders_per_minute": 9}

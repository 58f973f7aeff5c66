"""The inbox of payment events on the real Postgres: nothing is lost, whoever dies."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from adapters.store.database import Database
from adapters.store.inbox import Inbox
from domain.billing import Provider
from domain.payment_events import EventState, PaymentEvent
from settings import Settings
from temporal.orders import EngineUnavailable
from temporal.payment_events import Drain
from tests.conftest import owner_dsn

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
Execute = Callable[..., Awaitable[list[dict[str, Any]]]]


@dataclass
class Workflows:
    """Those that were told. `away`: the engine is not there."""

    told: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    async def tell(self, tenant_id: str, subscription_id: str) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise EngineUnavailable("away", taken=False)
        self.told.append((tenant_id, subscription_id))


@dataclass
class Clock:
    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
async def execute(settings: Settings) -> AsyncIterator[Execute]:
    async with await psycopg.AsyncConnection.connect(
        owner_dsn(settings), autocommit=True, row_factory=psycopg.rows.dict_row
    ) as owner:

        async def run(statement: str, *values: Any) -> list[dict[str, Any]]:
            done = await owner.execute(statement, values)
            return await done.fetchall() if done.description else []

        await run("DELETE FROM payment_events")
        yield run


async def subscription(execute: Execute, tenant: str, **columns: str) -> str:
    made = f"SUB-{uuid.uuid4().hex.upper()[:26]}"
    given = {"subscription_id": made, "tenant_id": tenant, "plan_id": "pro", "status": "canceled", **columns}
    names, places = ", ".join(given), ", ".join(["%s"] * len(given))
    await execute(f"INSERT INTO subscriptions ({names}, entitlements) VALUES ({places}, '{{}}')", *given.values())
    return made


def event(object_ref: str | None = None, subject_ref: str | None = None, at: datetime = NOW) -> PaymentEvent:
    return PaymentEvent(Provider.STRIPE, f"evt_{uuid.uuid4().hex}", "invoice.paid", object_ref, subject_ref, at)


async def state_of(execute: Execute, told: PaymentEvent) -> tuple[str, int]:
    [row] = await execute("SELECT state, tries FROM payment_events WHERE event_id = %s", told.event_id)
    return row["state"], row["tries"]


async def test_whose_an_event_is_follows_from_any_id_that_it_names(
    database: Database, tenant: str, execute: Execute
) -> None:
    inbox, workflows = Inbox(database), Workflows()
    refs = {name: f"{name}_{uuid.uuid4().hex}" for name in ("sub", "cus")}
    mine = await subscription(execute, tenant, provider_ref=refs["sub"], customer_ref=refs["cus"])
    await subscription(execute, tenant, provider="btcpay", customer_ref=refs["cus"])
    events = [event(refs["sub"]), event("in_1", refs["cus"]), event(None, mine), event("in_1", refs["sub"])]
    for one in events:
        assert await inbox.store(one, EventState.PENDING, NOW)
        assert not await inbox.store(one, EventState.PENDING, NOW)
    assert await Drain(inbox, workflows.tell, now=Clock()).pump() == len(events)
    assert workflows.told == [(tenant, mine)] * len(events)
    assert {await state_of(execute, one) for one in events} == {("done", 1)}
    assert await inbox.left() == {}


async def test_one_event_is_acted_on_at_once_and_once(database: Database, tenant: str, execute: Execute) -> None:
    inbox, workflows = Inbox(database), Workflows()
    mine = await subscription(execute, tenant)
    first, second = event(None, mine), event(None, mine)
    for one in (first, second):
        await inbox.store(one, EventState.PENDING, NOW)
    drain = Drain(inbox, workflows.tell, now=Clock())
    await drain.wake(second.event_id)
    await drain.wake(second.event_id)
    assert len(workflows.told) == 1
    assert await state_of(execute, first) == ("pending", 0)


async def test_what_cannot_be_told_waits_for_the_engine(database: Database, tenant: str, execute: Execute) -> None:
    inbox, workflows, clock = Inbox(database), Workflows(away=True), Clock()
    told = event(None, await subscription(execute, tenant))
    await inbox.store(told, EventState.PENDING, NOW)
    drain = Drain(inbox, workflows.tell, now=clock)
    await drain.wake(told.event_id)
    for _ in range(12):
        clock.at += timedelta(minutes=5)
        assert await drain.pump() == 1
    assert (await state_of(execute, told))[0] == "pending"
    workflows.away = False
    clock.at += timedelta(seconds=5)
    assert await drain.pump() == 1
    assert len(workflows.told) == 1
    assert (await state_of(execute, told))[0] == "done"


async def test_an_event_that_is_before_its_subscription_finds_it_later(
    database: Database, tenant: str, execute: Execute
) -> None:
    inbox, workflows, clock = Inbox(database), Workflows(), Clock()
    customer = f"cus_{uuid.uuid4().hex}"
    early = event("cs_1", customer)
    await inbox.store(early, EventState.PENDING, NOW)
    drain = Drain(inbox, workflows.tell, now=clock)
    for _ in range(3):
        await drain.pump()
        clock.at += timedelta(seconds=10)
    assert (await state_of(execute, early))[0] == "pending"
    mine = await subscription(execute, tenant, customer_ref=customer)
    clock.at += timedelta(minutes=1)
    await drain.pump()
    assert workflows.told == [(tenant, mine)]


async def test_after_a_day_an_event_is_nobodys(
    database: Database, execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    inbox, workflows, clock = Inbox(database), Workflows(), Clock()
    strange = event("in_strange")
    await inbox.store(strange, EventState.PENDING, NOW)
    drain, looks = Drain(inbox, workflows.tell, now=clock), 0
    while clock.at <= NOW + timedelta(hours=26):
        looks += await drain.pump()
        clock.at += timedelta(minutes=30)
    assert (await state_of(execute, strange))[0] == "orphaned"
    assert looks < 20
    assert "is nobody's" in caplog.text
    assert await inbox.left() == {("stripe", "orphaned"): 1}
    assert workflows.told == []


async def test_two_who_drain_at_once_share_the_work_and_one_that_dies_leaves_its_own(
    database: Database, tenant: str, execute: Execute
) -> None:
    inbox, clock = Inbox(database), Clock()
    mine = await subscription(execute, tenant)
    events = [event(None, mine) for _ in range(120)]
    for one in events:
        await inbox.store(one, EventState.PENDING, NOW)
    # This one dies with what it has taken.
    lost = await inbox.take(NOW, most=20)
    workflows = [Workflows(), Workflows()]
    drains = [Drain(inbox, each.tell, now=clock) for each in workflows]
    for _ in range(3):
        await asyncio.gather(*(drain.pump() for drain in drains))
    assert sum(len(each.told) for each in workflows) == 100
    assert all(each.told for each in workflows)
    clock.at += timedelta(seconds=31)
    assert await drains[0].pump() == len(lost)
    assert {await state_of(execute, one) for one in events} == {("done", 1), ("done", 2)}


async def test_one_who_was_too_slow_does_not_put_off_what_another_has_taken(
    database: Database, tenant: str, execute: Execute
) -> None:
    inbox = Inbox(database)
    told = event("in_1")
    await inbox.store(told, EventState.PENDING, NOW)
    [slow] = await inbox.take(NOW, most=1)
    [quick] = await inbox.take(NOW + timedelta(seconds=31), most=1)
    await inbox.later(slow, NOW + timedelta(hours=5), "late")
    await inbox.later(quick, NOW + timedelta(seconds=40), "in time")
    assert len(await inbox.take(NOW + timedelta(seconds=41), most=1)) == 1

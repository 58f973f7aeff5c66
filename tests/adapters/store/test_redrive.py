"""What a redrive does in the database: everything at once, or nothing but an event that says why not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.letters import DeadLetterStore
from adapters.store.redrive import RedriveStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from domain import ids
from domain.mirroring import RedriveRequest, RedriveVerdict
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome
from domain.replay import rebuild
from domain.requests import Once
from models import Price
from settings import Settings
from tests.adapters.store.orders import EQUITY, UNLIMITED, Floor
from tests.adapters.store.subscribers import CORE, subscribe, subscriber

F = FollowerState
FAIL = SendOutcome(OutcomeKind.RETRYABLE, "http_503", "HTTP 503", 503)
SILENT = SendOutcome(OutcomeKind.AMBIGUOUS, "no_answer")
ACK = SendOutcome(OutcomeKind.ACK, "ack", "", 200)
OPS = "user:ops"


@dataclass
class Dead:
    """A follower's order that was given up after five attempts, and its letter."""

    floor: Floor
    mo_id: str
    fo_id: str
    follower_id: str
    letter: int

    async def row(self) -> dict[str, Any]:
        [row] = await self.floor.rows("SELECT * FROM follower_orders WHERE fo_id = %s", self.fo_id)
        return row

    async def letters(self) -> list[dict[str, Any]]:
        return await self.floor.rows("SELECT * FROM dead_letters WHERE fo_id = %s ORDER BY 1", self.fo_id)

    async def events(self) -> list[dict[str, Any]]:
        return await self.floor.rows("SELECT * FROM audit_events WHERE mo_id = %s ORDER BY event_id", self.mo_id)

    async def live(self) -> bool:
        [row] = await self.floor.rows("SELECT live FROM manager_orders WHERE mo_id = %s", self.mo_id)
        return bool(row["live"])

    async def redrive(self, letter: int | None = None) -> RedriveVerdict:
        store = RedriveStore(self.floor.database, UNLIMITED)
        wanted = RedriveRequest(letter or self.letter, OPS)
        return await store.redrive(self.floor.tenant_id, self.fo_id, wanted, datetime.now(UTC))

    async def attempt(self, outcome: SendOutcome) -> FollowerState:
        store = DispatchStore(self.floor.database)
        order = await store.take(self.floor.tenant_id, self.fo_id, datetime.now(UTC))
        if order.state is not F.SENT:
            return order.state
        [change] = await store.record(self.floor.tenant_id, [(order, outcome)])
        return change.target

    async def refused(self) -> str:
        """The code of a refusal, once it is shown to have changed nothing but the log."""
        before, told = await self.row(), await self.events()
        verdict = await self.redrive()
        assert (verdict.redriven, verdict.state) == (False, F.DEAD_LETTER)
        assert await self.row() == before
        [letter] = await self.letters()
        assert letter["redriven_at"] is None
        [event] = (await self.events())[len(told) :]
        assert (event["action"], event["actor"], event["entity_id"]) == ("redrive_refused", OPS, self.fo_id)
        assert event["payload"] == {
            "dead_letter_id": self.letter, "code": verdict.code, "reason": verdict.reason,
            "follower_id": self.follower_id,
        }  # fmt: skip
        assert verdict.code is not None
        return verdict.code


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def dead(floor: Floor, outcomes: Sequence[SendOutcome] = (FAIL,) * 5, **terms: Any) -> Dead:
    order = terms.pop("order", {})
    follower = terms.pop("follower", None) or await floor.follower(**terms)
    mo_id = (await floor.admit(**order)).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    found = Dead(floor, mo_id, ids.follower_order_id(mo_id, follower), follower, 0)
    for outcome in outcomes:
        state = await found.attempt(outcome)
    assert state is F.DEAD_LETTER
    await SettlementStore(floor.database).settle(floor.tenant_id, mo_id)
    await floor.rows("UPDATE manager_orders SET live = false WHERE mo_id = %s", mo_id)
    [letter] = await found.letters()
    found.letter = letter["dead_letter_id"]
    return found


async def test_a_redrive_reopens_the_order_closes_the_letter_and_says_so(floor: Floor) -> None:
    order = await dead(floor)
    verdict = await order.redrive()
    assert verdict == RedriveVerdict(order.letter, order.fo_id, redriven=True, state=F.RETRY, attempts=5)
    row, [letter] = await order.row(), await order.letters()
    assert (row["state"], row["dispatch_attempts"], row["attempts_base"]) == ("retry", 5, 5)
    assert (letter["redriven_by"], letter["redriven_at"] is not None, letter["purged_at"]) == (OPS, True, None)
    assert await order.live()
    event = (await order.events())[-1]
    assert (event["action"], event["actor"], event["payload"]["from"]) == ("retry", OPS, "dead_letter")
    assert (event["payload"]["dead_letter_id"], event["payload"]["reason"]) == (order.letter, "redriven")


async def test_it_has_five_attempts_anew_and_then_a_new_letter(floor: Floor) -> None:
    order = await dead(floor)
    await order.redrive()
    assert [await order.attempt(FAIL) for _ in range(5)] == [F.RETRY] * 4 + [F.DEAD_LETTER]
    assert (await order.row())["dispatch_attempts"] == 10
    first, second = await order.letters()
    assert (first["dead_letter_id"], second["redriven_at"]) == (order.letter, None)
    assert len(second["context"]["attempts"]) == 10
    again = await order.redrive()
    assert (again.redriven, again.code) == (False, "already_redriven")
    assert (await order.redrive(second["dead_letter_id"])).redriven
    assert await order.attempt(ACK) is F.CONFIRMED
    rebuilt = rebuild(await order.events())[order.fo_id]
    assert (rebuilt.state, rebuilt.dispatch_attempts, rebuilt.booked) == (F.CONFIRMED, 11, Decimal(10))


async def test_the_manager_order_is_live_while_something_of_it_is_under_way(floor: Floor) -> None:
    order = await dead(floor)
    store = RedriveStore(floor.database, UNLIMITED)
    await order.redrive()
    assert await store.close(floor.tenant_id, order.fo_id) is None
    assert await order.live()
    assert await order.attempt(ACK) is F.CONFIRMED
    for _ in range(2):  # a repeat that has lost the answer gets it again
        assert await store.close(floor.tenant_id, order.fo_id) == order.mo_id
    assert not await order.live()


async def test_an_attempt_that_may_have_arrived_is_reopened_as_unknown(floor: Floor) -> None:
    order = await dead(floor, [SILENT, FAIL, FAIL, FAIL, FAIL])
    assert (await order.redrive()).state is F.UNKNOWN
    assert await order.attempt(ACK) is F.CONFIRMED
    stopped = await dead(floor, [FAIL, FAIL, FAIL, FAIL, SILENT])
    assert (await stopped.redrive()).state is F.UNKNOWN
    await floor.rows("UPDATE followers SET kill_switch = true WHERE follower_id = %s", stopped.follower_id)
    assert await stopped.attempt(ACK) is F.DEAD_LETTER


async def test_of_many_redrives_at_once_one_acts(floor: Floor) -> None:
    order = await dead(floor)
    verdicts = await asyncio.gather(*(order.redrive() for _ in range(6)))
    assert all(verdict.redriven for verdict in verdicts)  # the owner is one workflow, and its repeats take it up
    assert [event["action"] for event in await order.events()].count("dead_letter") == 1
    reopened = [e for e in await order.events() if e["payload"].get("from") == "dead_letter"]
    assert len(reopened) == 1
    assert (await order.row())["attempts_base"] == 5


async def test_an_older_letter_does_not_take_up_an_order_that_a_newer_one_has_reopened(floor: Floor) -> None:
    order = await dead(floor)
    await order.redrive()
    for _ in range(5):
        await order.attempt(FAIL)
    newer = (await order.letters())[-1]["dead_letter_id"]
    assert (await order.redrive(newer)).redriven
    verdict = await order.redrive()
    assert (verdict.redriven, verdict.code, verdict.state) == (False, "already_redriven", F.RETRY)


async def test_a_purged_letter_is_not_redriven_and_a_redriven_one_not_purged(floor: Floor) -> None:
    order, other = await dead(floor), await dead(floor)
    letters = DeadLetterStore(floor.database)
    await other.redrive()
    numbers = [order.letter, other.letter]
    done = await letters.purge(floor.tenant_id, numbers, "by hand", actor=OPS, once=Once("purge", "k", "f"))
    assert done.results[order.letter] is None
    assert (refusal := done.results[other.letter]) is not None
    assert refusal.code == "already_redriven"
    verdict = await order.redrive()
    assert (verdict.redriven, verdict.code) == (False, "purged")
    assert (await order.row())["state"] == "dead_letter"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE followers SET kill_switch = true WHERE vault_id = %s", "kill_switch"),
        ("UPDATE vaults SET maintenance = true WHERE vault_id = %s", "vault_maintenance"),
        ("UPDATE vaults SET halt = 'halt_opens' WHERE vault_id = %s", "vault_halt_opens"),
        ("UPDATE manager_orders SET state = 'cancelled' WHERE vault_id = %s", "manager_order_cancelled"),
        ("UPDATE manager_orders SET expires_at = now() WHERE vault_id = %s", "expired"),
        ("UPDATE followers SET endpoint_disabled_at = now() WHERE vault_id = %s", "endpoint_disabled"),
        ("UPDATE followers SET max_pos_usd = 1999 WHERE vault_id = %s", "size"),
        ("UPDATE followers SET scale = 0.5 WHERE vault_id = %s", "size"),
        ("UPDATE followers SET funds_usd = 1999, funds_asof = now() WHERE vault_id = %s", "size"),
    ],
)
async def test_everything_is_looked_at_anew(floor: Floor, change: str, code: str) -> None:
    order = await dead(floor)
    await floor.rows(change, floor.vault_id)
    assert await order.refused() == code


async def test_money_that_the_order_itself_has_reserved_is_its_own(floor: Floor, settings: Settings) -> None:
    follower = await floor.follower()
    await floor.rows(
        "UPDATE followers SET funds_usd = 2000, funds_asof = now() - interval '1 hour' WHERE follower_id = %s", follower
    )
    order = await dead(floor, follower=follower)
    assert (await order.redrive()).redriven


async def test_a_subscriber_that_is_not_active_opens_nothing(floor: Floor, settings: Settings) -> None:
    order = await dead(floor)
    await floor.rows("UPDATE tenants SET status = 'suspended' WHERE tenant_id = %s", floor.tenant_id)
    assert await order.refused() == "not_entitled"


async def test_a_subscriber_may_be_another_tenant(floor: Floor, registry: Registry) -> None:
    subscriber = "5ab5c81b-0000-4000-8000-000000000001"
    await registry.ensure_tenant(subscriber, "Subscriber", actor="user:test")
    order = await dead(floor, subscriber_tenant_id=subscriber)
    assert (await order.redrive()).redriven


async def test_the_present_price_is_held_against_the_orders(floor: Floor, registry: Registry) -> None:
    order = await dead(floor)
    try:
        await _price(registry, 211)
        assert await order.refused() == "price_collar"
        await _price(registry, 210)
        assert (await order.redrive()).redriven
    finally:
        await _price(registry, 200)


async def test_a_reduction_sells_no_more_than_is_held_now(floor: Floor) -> None:
    follower = await floor.follower()
    bought = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, bought, 0)
    held = Dead(floor, bought, ids.follower_order_id(bought, follower), follower, 0)
    assert await held.attempt(ACK) is F.CONFIRMED
    order = await dead(floor, follower=follower, order={"side": "sell"})
    await floor.rows("UPDATE positions SET qty = 9 WHERE holder_id = %s", follower)
    assert await order.refused() == "size"
    await floor.rows("UPDATE positions SET qty = 10 WHERE holder_id = %s", follower)
    await floor.rows("UPDATE vaults SET halt = 'halt_opens' WHERE vault_id = %s", floor.vault_id)
    assert (await order.redrive()).redriven
    assert await order.attempt(ACK) is F.CONFIRMED


async def test_what_other_orders_are_buying_takes_its_room(floor: Floor) -> None:
    order = await dead(floor, max_pos_usd=Decimal(2_500))
    other = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, other, 0)
    assert await order.refused() == "size"


async def test_an_order_that_a_disabled_endpoint_has_killed_goes_when_it_is_back(floor: Floor) -> None:
    follower = await floor.follower()
    mo_id = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    await floor.rows("UPDATE followers SET endpoint_disabled_at = now() WHERE follower_id = %s", follower)
    order = Dead(floor, mo_id, ids.follower_order_id(mo_id, follower), follower, 0)
    assert await order.attempt(ACK) is F.DEAD_LETTER
    [letter] = await order.letters()
    order.letter = letter["dead_letter_id"]
    assert letter["reason"] == "endpoint_disabled"
    assert await order.refused() == "endpoint_disabled"
    await floor.rows("UPDATE followers SET endpoint_disabled_at = NULL WHERE follower_id = %s", follower)
    assert (await order.redrive()).redriven
    assert await order.attempt(ACK) is F.CONFIRMED
    assert (await order.row())["dispatch_attempts"] == 1


async def test_an_open_waits_until_its_subscriber_may_have_it_again(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry)
    order = await dead(floor, subscriber_tenant_id=tenant, persona="ares")
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    assert await order.refused() == "not_entitled"
    assert (await order.redrive()).reason == "the subscription allows reductions only"
    await subscribe(floor.database, tenant, "active", plan=CORE)
    assert (await order.redrive()).reason == "its subscriber may not use persona ares"
    await subscribe(floor.database, tenant, "active", plan=replace(CORE, personas=("ares",), followers=0))
    assert (await order.redrive()).reason == "older followers of its subscriber are as many as it may have"
    await subscribe(floor.database, tenant, "active", plan=replace(CORE, personas=("ares",)))
    assert (await order.redrive()).redriven


async def test_a_reduction_is_redriven_whatever_its_subscriber_has(floor: Floor) -> None:
    tenant = await subscriber(floor.database, floor.registry)
    follower = await floor.follower(subscriber_tenant_id=tenant)
    bought = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, bought, 0)
    held = Dead(floor, bought, ids.follower_order_id(bought, follower), follower, 0)
    assert await held.attempt(ACK) is F.CONFIRMED
    order = await dead(floor, follower=follower, order={"side": "sell"})
    await subscribe(floor.database, tenant, "unpaid", close_only=True)
    assert (await order.redrive()).redriven


async def _price(registry: Registry, price: int) -> None:
    await registry.upsert_price(Price(symbol=EQUITY, price=Decimal(price), asof=datetime.now(UTC), source="test"))


async def test_a_letter_of_another_order_is_none_of_this_one(floor: Floor) -> None:
    order, other = await dead(floor), await dead(floor)
    with pytest.raises((AssertionError, psycopg.Error)):
        await order.redrive(other.letter)

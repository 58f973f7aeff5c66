"""Whose accounts are streamed, and what is written of them, on the real Postgres."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.enrolment import credential_ref
from adapters.store.registry import Registry
from adapters.store.streams import StreamStore
from adapters.store.waves import WaveStore
from domain.dispatch import Change
from domain.enrolment import BrokerAccount
from domain.orders import FollowerState
from domain.streams import StreamAccount
from tests.adapters.store.orders import Floor

F = FollowerState
ALPACA = BrokerAccount("alpaca", "AK", "secret")


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def account(floor: Floor, follower_id: str) -> StreamAccount | None:
    listed = await StreamStore(floor.database).accounts("alpaca")
    found = [a for a in listed if a.cred_ref == credential_ref(follower_id, "alpaca")]
    assert len(found) <= 1
    return found[0] if found else None


async def bridged(floor: Floor) -> tuple[str, StreamAccount]:
    follower_id = await floor.follower(equities=ALPACA, crypto=ALPACA)
    found = await account(floor, follower_id)
    assert found is not None
    return follower_id, found


async def order_of(floor: Floor, follower_id: str) -> str:
    """An order of his that has been sent."""
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id, "alpaca")
    opened = await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
    return next(order.fo_id for order in opened if order.follower_id == follower_id)


async def move(floor: Floor, fo_id: str, *path: FollowerState) -> None:
    store = DispatchStore(floor.database)
    async with store.locked(floor.tenant_id, fo_id) as (cursor, order):
        await store.change(cursor, Change(fo_id, order.state, path, reason="test", broker_order_ref="ref-1"))


async def events(floor: Floor, follower_id: str) -> list[tuple[str, str]]:
    rows = await floor.rows(
        "SELECT action, payload ->> 'code' AS code FROM audit_events WHERE entity_id = %s AND action LIKE 'stream%%' "
        "ORDER BY event_id",
        follower_id,
    )
    return [(row["action"], row["code"]) for row in rows]


async def test_accounts_of_all_tenants_are_listed_without_any_secret(floor: Floor):
    _, found = await bridged(floor)
    webhook = await floor.follower()
    assert found.tenant_id == floor.tenant_id
    assert await account(floor, webhook) is None
    assert found.revision == 1
    key = await StreamStore(floor.database).key(found)
    assert key is not None
    assert (key.venue, key.key.ref) == ("alpaca", found.cred_ref)


async def test_followers_with_the_same_key_are_on_the_same_line(floor: Floor):
    (_, one), (_, same) = await bridged(floor), await bridged(floor)
    live = await floor.follower(equities=replace(ALPACA, environment="live"))
    other = await account(floor, live)
    assert other is not None
    assert one.line == same.line != other.line
    await floor.rows("UPDATE credentials SET line = NULL WHERE cred_ref = %s", one.cred_ref)
    assert (await account(floor, one.cred_ref.split("/")[1])) == replace(one, line=one.cred_ref)


async def test_another_credential_is_another_revision_and_an_inactive_one_is_not_listed(floor: Floor):
    follower_id, found = await bridged(floor)
    await floor.rows("UPDATE credentials SET version = version + 1 WHERE cred_ref = %s", found.cred_ref)
    changed = await account(floor, follower_id)
    assert changed is not None
    assert changed.revision != found.revision
    await floor.rows("UPDATE credentials SET status = 'broken' WHERE cred_ref = %s", found.cred_ref)
    assert await account(floor, follower_id) is None
    assert await StreamStore(floor.database).key(found) is None


async def test_a_closed_vaults_account_is_listed_while_an_order_of_it_is_open(floor: Floor):
    follower_id, found = await bridged(floor)
    fo_id = await order_of(floor, follower_id)
    await floor.rows("UPDATE vaults SET status = 'closed' WHERE vault_id = %s", floor.vault_id)
    assert await account(floor, follower_id) == found
    await move(floor, fo_id, F.REJECTED)
    assert await account(floor, follower_id) is None


async def test_an_order_has_its_owner_only_in_the_account_that_it_went_to(floor: Floor):
    store = StreamStore(floor.database)
    (follower_id, mine), (_, other) = await bridged(floor), await bridged(floor)
    fo_id = await order_of(floor, follower_id)
    owner = await store.owner(mine, "alpaca", fo_id)
    assert owner is not None
    assert (owner.follower_id, owner.leg, owner.state, owner.dead_letter_id) == (follower_id, 0, F.SENT, None)
    assert await store.owner(other, "alpaca", fo_id) is None
    assert await store.owner(mine, "tradier", fo_id) is None
    assert await store.owner(mine, "alpaca", "unknown") is None


async def test_an_order_that_was_redriven_has_the_owner_of_its_dead_letter(floor: Floor):
    store = StreamStore(floor.database)
    follower_id, mine = await bridged(floor)
    fo_id = await order_of(floor, follower_id)
    await move(floor, fo_id, F.UNKNOWN, F.DEAD_LETTER)
    await floor.rows("UPDATE dead_letters SET redriven_at = now() WHERE fo_id = %s", fo_id)
    [letter] = await floor.rows("SELECT dead_letter_id FROM dead_letters WHERE fo_id = %s", fo_id)
    owner = await store.owner(mine, "alpaca", fo_id)
    assert owner is not None
    assert owner.dead_letter_id == letter["dead_letter_id"]


async def test_what_a_look_back_asks_for_is_open_and_not_on_the_wire(floor: Floor):
    store = StreamStore(floor.database)
    follower_id, mine = await bridged(floor)
    fo_id = await order_of(floor, follower_id)
    assert await store.open_orders(mine, "alpaca") == []
    await move(floor, fo_id, F.ACK)
    assert [order.fo_id for order in await store.open_orders(mine, "alpaca")] == [fo_id]
    await move(floor, fo_id, F.CANCELLED)
    assert await store.open_orders(mine, "alpaca") == []


async def test_a_stream_that_is_refused_is_an_event_once_for_each_credential_and_so_is_its_end(floor: Floor):
    store = StreamStore(floor.database)
    follower_id, mine = await bridged(floor)
    assert not await store.resumed(mine, "alpaca")
    assert await store.refused(mine, "alpaca", "forbidden", "not allowed")
    assert not await store.refused(mine, "alpaca", "forbidden", "not allowed")
    newer = replace(mine, revision=2)
    assert await store.refused(newer, "alpaca", "forbidden", "not allowed")
    assert await store.resumed(newer, "alpaca")
    assert not await store.resumed(newer, "alpaca")
    assert await events(floor, follower_id) == [
        ("stream_refused", "forbidden"), ("stream_refused", "forbidden"), ("stream_resumed", None),
    ]  # fmt: skip


async def test_a_key_that_a_stream_proves_wrong_is_broken_for_everything(floor: Floor):
    store = StreamStore(floor.database)
    follower_id, mine = await bridged(floor)
    assert await store.refused(mine, "alpaca", "bad_credentials", "no such key")
    assert not await store.refused(mine, "alpaca", "bad_credentials", "no such key")
    assert await account(floor, follower_id) is None
    [row] = await floor.rows("SELECT status, broken_reason FROM credentials WHERE cred_ref = %s", mine.cred_ref)
    assert (row["status"], row["broken_reason"]) == ("broken", "bad_credentials")
    told = await floor.rows("SELECT actor FROM audit_events WHERE entity_id = %s AND action = 'broken'", mine.cred_ref)
    assert [event["actor"] for event in told] == ["system:streams"]

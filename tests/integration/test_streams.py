"""Order streams on the real servers: quicker than polls, never their replacement."""

import time

from adapters.store.enrolment import credential_ref
from domain.ports import BrokerCredentials
from temporal import ids
from tests.streaming import ALPACA, POLL_AWAY_S, filled_between_polls, placed, streams_of
from tests.world import World


async def test_a_fill_that_is_streamed_ends_the_order_long_before_the_next_poll(world: World):
    async with streams_of(world) as streams:
        follower, mo_id, fo_id = await placed(world, streams)
        await filled_between_polls(world, mo_id, follower, fo_id)
        told = time.monotonic()
        await streams.broker.tell(follower, fo_id)
        owner = world.temporal.get_workflow_handle(ids.follower_order(mo_id, follower))
        assert await owner.result() == "confirmed"
        assert time.monotonic() - told < POLL_AWAY_S
    assert await world.holding(follower, ALPACA.symbol) == 10
    events = await world.rows(
        "SELECT action, actor FROM audit_events WHERE entity_id = %s ORDER BY event_id DESC LIMIT 2", fo_id
    )
    assert {(e["action"], e["actor"]) for e in events} == {
        ("confirmed", "system:streams"), ("fill", "system:streams"),
    }  # fmt: skip


async def test_a_frame_that_was_dropped_is_found_by_the_poll(world: World):
    async with streams_of(world) as streams:
        follower, mo_id, fo_id = await placed(world, streams)
        await filled_between_polls(world, mo_id, follower, fo_id)
        await world.settled(mo_id)
        order = (await world.follower_orders(mo_id))[follower]
        assert (order["state"], order["filled_qty"]) == ("confirmed", 10)
        for _ in range(2):  # late, and told twice
            await streams.broker.tell(follower, fo_id)
        await streams.taken(follower)
    fills = await world.rows("SELECT source FROM fills WHERE fo_id = %s", fo_id)
    assert len(fills) == 1
    assert await world.holding(follower, ALPACA.symbol) == 10


async def test_what_happened_while_the_line_was_cut_is_found_when_it_stands_again(world: World):
    async with streams_of(world) as streams:
        follower, mo_id, fo_id = await placed(world, streams)
        await filled_between_polls(world, mo_id, follower, fo_id)
        cut = time.monotonic()
        streams.broker.break_line(follower)
        await world.settled(mo_id)
        assert time.monotonic() - cut < POLL_AWAY_S
    assert await world.holding(follower, ALPACA.symbol) == 10


async def test_a_worker_that_begins_later_finds_what_was_filled_before(world: World):
    follower, mo_id, fo_id = await placed(world, None)
    await filled_between_polls(world, mo_id, follower, fo_id)
    began = time.monotonic()
    async with streams_of(world) as streams:
        await streams.listen_to(follower)
        await world.settled(mo_id)
        assert time.monotonic() - began < POLL_AWAY_S
    assert await world.holding(follower, ALPACA.symbol) == 10


async def test_an_order_that_another_account_reports_is_not_its_own(world: World):
    async with streams_of(world) as streams:
        follower, mo_id, fo_id = await placed(world, streams)
        stranger = await world.bridged(await world.vault())
        await streams.listen_to(stranger)
        await filled_between_polls(world, mo_id, follower, fo_id)
        report = await streams.broker.look_up(_key(follower), fo_id)
        assert report is not None
        streams.broker.lines[stranger].put_nowait(report)
        await streams.taken(stranger)
        assert (await world.follower_orders(mo_id))[follower]["state"] == "ack"
        await streams.broker.tell(follower, fo_id)
        await world.settled(mo_id)


def _key(follower: str) -> BrokerCredentials:
    return BrokerCredentials(credential_ref(follower, "alpaca"), follower, f"secret-of-{follower}")

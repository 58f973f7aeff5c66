"""Orders outside their exchange's session on the real servers: refused, or held until it opens and sent then."""

from datetime import UTC, datetime, timedelta

from domain.orders import ManagerState
from tests.exchanges import listed
from tests.flattening import flattened, halt
from tests.world import World

SOON, LATER = timedelta(seconds=4), timedelta(hours=6)


async def test_an_order_that_waits_is_sized_and_sent_when_its_session_opens(world: World) -> None:
    symbol, vault = await listed(world, opens_in=SOON), await world.vault(outside_session="queue")
    hooked, bridged = await world.webhook(vault), await world.bridged(vault)
    taken = await world.submit(vault, "buy", 10, symbol)
    assert (taken.accepted, taken.state) == (True, ManagerState.RECEIVED)
    assert taken.waits_until is not None
    assert await world.holding(vault, symbol) == 0
    late = await world.webhook(vault)  # who joins while it waits takes part

    assert (await world.settled(taken.mo_id)).state is ManagerState.SETTLED
    orders = await world.follower_orders(taken.mo_id)
    assert {name: row["state"] for name, row in orders.items()} == dict.fromkeys((hooked, bridged, late), "confirmed")
    assert all(row["created_at"] >= taken.waits_until for row in orders.values())
    [snapshot] = await world.rows("SELECT taken_at FROM snapshots WHERE mo_id = %s", taken.mo_id)
    assert snapshot["taken_at"] >= taken.waits_until
    assert await world.holding(vault, symbol) == await world.holding(hooked, symbol) == 10


async def test_in_a_vault_that_refuses_opens_are_refused_and_reductions_wait_and_can_be_called_off(
    world: World,
) -> None:
    symbol, vault = await listed(world, opens_in=-LATER / 2), await world.vault()
    follower = await world.webhook(vault)
    await world.settled((await world.submit(vault, "buy", 10, symbol)).mo_id)
    closed = await listed(world, opens_in=LATER)
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE instruments SET calendar = %s WHERE symbol = %s", [closed, symbol])

    refused = await world.submit(vault, "buy", 5, symbol)
    assert (refused.accepted, refused.code) == (False, "market-closed")
    exits = await world.submit(vault, "sell", 10, symbol)
    assert exits.waits_until is not None
    assert exits.waits_until > datetime.now(UTC) + LATER / 2
    done = await world.orders.cancel(exits.mo_id, actor="user:test")
    assert done is not None
    assert done.state is ManagerState.CANCELLED
    assert (await world.settled(exits.mo_id)).state is ManagerState.CANCELLED
    assert await world.holding(vault, symbol) == await world.holding(follower, symbol) == 10


async def test_a_flatten_calls_off_what_waits_for_its_session(world: World) -> None:
    symbol, vault = await listed(world, opens_in=LATER), await world.vault(outside_session="queue")
    await world.webhook(vault)
    waits = await world.submit(vault, "buy", 10, symbol)
    assert waits.waits_until is not None
    await flattened(world, await halt(world, vault))
    assert (await world.settled(waits.mo_id)).state is ManagerState.CANCELLED
    assert await world.follower_orders(waits.mo_id) == {}

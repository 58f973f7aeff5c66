"""Orders rebuilt from the audit log, held against the tables."""

from typing import Any

from domain.expectation import ADOPTED
from domain.orders import FollowerState
from domain.replay import RebuiltOrder, rebuild
from tests.world import World

_COLUMNS = (
    "fo_id", "mo_id", "follower_id", "vault_id", "leg", "symbol", "side", "qty", "cap_applied", "carry", "route",
    "trace", "state", "reason", "dispatch_attempts", "attempts_base", "last_error", "broker_order_ref", "filled_qty",
    "avg_price",
)  # fmt: skip


async def events_of(world: World, mo_id: str) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM audit_events WHERE mo_id = %s ORDER BY event_id", mo_id)


async def check_rebuilt(world: World, mo_id: str) -> dict[str, RebuiltOrder]:
    """All legs of the manager order, from its events alone; `rebuild` raises for an illegal step or a gap."""
    rebuilt = rebuild(await events_of(world, mo_id))
    await equals(world, mo_id, rebuilt)
    return rebuilt


async def equals(world: World, mo_id: str, rebuilt: dict[str, RebuiltOrder]) -> None:
    rows = await world.rows("SELECT * FROM follower_orders WHERE mo_id = %s", mo_id)
    assert rebuilt.keys() == {row["fo_id"] for row in rows}
    for row in rows:
        order = rebuilt[row["fo_id"]]
        assert {name: getattr(order, name) for name in _COLUMNS} == {name: row[name] for name in _COLUMNS}
        assert {f.fill_id: (f.side, f.qty, f.price, f.source) for f in order.fills} == await _fills(world, order)
        assert order.states.count(FollowerState.SENT) == await _attempts(world, order)
        letters = "SELECT dead_letter_id FROM dead_letters WHERE fo_id = %s AND redriven_at IS NOT NULL ORDER BY 1"
        redriven = await world.rows(letters, order.fo_id)
        assert order.redriven == [letter["dead_letter_id"] for letter in redriven]


async def _attempts(world: World, order: RebuiltOrder) -> int:
    return len(await world.rows("SELECT 1 FROM attempts WHERE fo_id = %s", order.fo_id))


async def _fills(world: World, order: RebuiltOrder) -> dict[str, Any]:
    # What reconciliation has taken over is told by an event of the follower, see domain.replay.holdings.
    own = await world.rows("SELECT * FROM fills WHERE fo_id = %s AND source <> %s", order.fo_id, ADOPTED)
    return {f["fill_id"]: (f["side"], f["qty"], f["price"], f["source"]) for f in own}

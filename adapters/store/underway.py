"""What orders under way have already taken of a follower's position and money, when the next order is admitted.

An order that was admitted a moment ago may not have been stored for every follower yet: what it will come to follows
from its snapshot, by the same pure function.
"""

from decimal import Decimal
from typing import Any

from adapters.store.database import Cursor
from adapters.store.frozen import SizedOrder, Sizer, sized
from domain.orders import FollowerState, Side
from domain.sizing import plain

# Whatever can still become a fill.
OPEN_STATES = tuple(
    state.value
    for state in (
        FollowerState.SIZED, FollowerState.SENT, FollowerState.RETRY, FollowerState.UNKNOWN, FollowerState.ACK,
        FollowerState.PARTIALLY_FILLED,
    )
)  # fmt: skip

_LIVE = """
SELECT m.mo_id, m.symbol, m.side, m.qty, m.meta, m.shards, m.state, s.body
FROM manager_orders m JOIN snapshots s USING (mo_id)
WHERE m.vault_id = %(vault_id)s AND is_mine(m.tenant_id) AND m.live AND m.mo_id <> %(mo_id)s
"""
_STORED = """
SELECT follower_id, sum(qty - filled_qty) FILTER (WHERE side = 'buy') AS buying,
  sum(qty - filled_qty) FILTER (WHERE side = 'sell') AS selling
FROM follower_orders WHERE mo_id = ANY(%s) AND is_mine(tenant_id) AND symbol = %s AND state = ANY(%s)
GROUP BY follower_id
"""
_INCOMPLETE = """
SELECT p.shard, p.body, coalesce((SELECT array_agg(f.fo_id) FROM follower_orders f
  WHERE f.mo_id = p.mo_id AND f.shard = p.shard), '{}') AS there
FROM snapshot_pages p WHERE p.mo_id = %s AND is_mine(p.tenant_id)
"""

UnderWay = dict[str, list[str]]


async def read_under_way(cursor: Cursor, vault_id: str, mo_id: str, symbol: str) -> UnderWay:
    """Per follower: units being bought, units being sold, and USD of purchases that are not stored yet.

    Empty where no other order of the vault is live.
    """
    await cursor.execute(_LIVE, {"vault_id": vault_id, "mo_id": mo_id})
    live = await cursor.fetchall()
    if not live:
        return {}
    taken: dict[str, list[Decimal]] = {}
    await cursor.execute(_STORED, [[order["mo_id"] for order in live], symbol, list(OPEN_STATES)])
    for row in await cursor.fetchall():
        _add(taken, row["follower_id"], row["buying"] or Decimal(0), row["selling"] or Decimal(0), Decimal(0))
    for order in live:
        if order["state"] == "dispatching":  # of a cancelled one, nothing new is stored but as cancelled
            for unstored in await _unstored(cursor, order):
                _count(taken, unstored, order["body"], symbol)
    return {follower: [plain(part) for part in parts] for follower, parts in taken.items()}


async def _unstored(cursor: Cursor, order: dict[str, Any]) -> list[SizedOrder]:
    await cursor.execute(_INCOMPLETE, [order["mo_id"]])
    sizer, found = Sizer(order["mo_id"], order), []
    for page in await cursor.fetchall():
        there = set(page["there"])
        # Without a hedge every follower has one order at most, so that a full page need not be sized again.
        if order["body"].get("hedge") is not None or len(there) < len(page["body"]):
            found += [o for o in sized(sizer, page["body"]) if o.allotted and o.fo_id not in there]
    return found


def _count(taken: dict[str, list[Decimal]], order: SizedOrder, body: dict[str, Any], symbol: str) -> None:
    price = body["price"] if order.leg == 0 else (body["hedge"] or {}).get("price")
    buys = order.side is Side.BUY
    usd = order.qty * Decimal(price) if buys and price is not None else Decimal(0)
    here = order.qty if order.symbol == symbol else Decimal(0)
    _add(taken, order.follower_id, here if buys else Decimal(0), Decimal(0) if buys else here, usd)


def _add(taken: dict[str, list[Decimal]], follower_id: str, *parts: Decimal) -> None:
    sums = taken.setdefault(follower_id, [Decimal(0), Decimal(0), Decimal(0)])
    for n, part in enumerate(parts):
        sums[n] += part

"""The router-exit guard: what leaves for a manager order never exceeds what its expansion allotted (SPEC section 5).

A page's allotment follows from its snapshot alone. Every order is released once, in the transaction that claims its
first attempt, and the ledger has no room for more; whoever asks for more is a worker gone wrong, not a market.
"""

from collections.abc import Iterable
from decimal import Decimal

from adapters.store.database import Cursor
from adapters.store.frozen import SizedOrder
from domain.errors import ExitBreach
from domain.sizing import plain

_ALLOT = """
INSERT INTO allotments (mo_id, shard, tenant_id, allotted_orders, allotted_qty) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (mo_id, shard) DO NOTHING
"""
_RELEASE = """
UPDATE allotments SET released_orders = released_orders + %(orders)s, released_qty = released_qty + %(qty)s
WHERE mo_id = %(mo_id)s AND shard = %(shard)s AND released_orders + %(orders)s <= allotted_orders
  AND released_qty + %(qty)s <= allotted_qty
"""
# Orders of before the ledger go on without it.
_UNGUARDED = "SELECT body ->> 'sizing_version' = '1' AS old FROM snapshots WHERE mo_id = %s"


async def allot(cursor: Cursor, tenant_id: str, mo_id: str, shard: int, orders: Iterable[SizedOrder]) -> None:
    """Enter what the page's orders come to; a repeat finds the entry."""
    quantities = [order.qty for order in orders if order.allotted]
    await cursor.execute(_ALLOT, [mo_id, shard, tenant_id, len(quantities), sum(quantities, Decimal(0))])


async def release(cursor: Cursor, mo_id: str, shard: int, quantities: Iterable[Decimal]) -> None:
    """Let these orders leave, each for the first time. Raises ExitBreach where the page has no room for them."""
    wanted = list(quantities)
    qty = sum(wanted, Decimal(0))
    await cursor.execute(_RELEASE, {"mo_id": mo_id, "shard": shard, "orders": len(wanted), "qty": qty})
    if cursor.rowcount == 1:
        return
    await cursor.execute(_UNGUARDED, [mo_id])
    row = await cursor.fetchone()
    if row is None or not row["old"]:
        raise ExitBreach(mo_id, f"{len(wanted)} orders of {plain(qty)} units exceed what page {shard} was allotted")

"""The router-exit guard: what leaves for a manager order never exceeds what its expansion allotted (SPEC section 5).

A page's allotment follows from its snapshot alone. Every order is released once, in the transaction that claims its
first attempt, and the ledger has no room for more; whoever asks for more is a worker gone wrong, not a market.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal

from adapters.store.database import Cursor, Database
from adapters.store.entities import emit, require
from adapters.store.frozen import SizedOrder
from adapters.store.overlays import OverlayStore
from domain import ids
from domain.admission import Halt
from domain.errors import ExitBreach
from domain.flip_mode import StartOverlay
from domain.intents import fingerprint
from domain.overlays import MAX_REASON, NewOverlay, OverlayKind, Params
from domain.requests import Once
from domain.sizing import plain
from models import ManagerOrder

ACTOR = "system:router-exit"
_log = logging.getLogger("vanta.exits")

_ALLOT = """
INSERT INTO allotments (mo_id, shard, tenant_id, allotted_orders, allotted_qty) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (mo_id, shard) DO NOTHING
"""
_RELEASE = """
UPDATE allotments SET released_orders = released_orders + %(orders)s, released_qty = released_qty + %(qty)s
WHERE mo_id = %(mo_id)s AND shard = %(shard)s AND is_mine(tenant_id)
  AND released_orders + %(orders)s <= allotted_orders AND released_qty + %(qty)s <= allotted_qty
"""
# Orders of before the ledger go on without it.
_UNGUARDED = "SELECT body ->> 'sizing_version' = '1' AS old FROM snapshots WHERE mo_id = %s AND is_mine(tenant_id)"


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


@asynccontextmanager
async def guarded(database: Database, tenant_id: str) -> AsyncIterator[None]:
    """Halts the vault when what happens inside breaches the guard, and lets the breach go on to the worker.

    Outside of the transaction that claims: that one is rolled back with all that it was about to let go.
    """
    try:
        yield
    except ExitBreach as breach:
        _log.critical("vault halted: %s", breach)
        await _halt(database, tenant_id, breach)
        raise


async def _halt(database: Database, tenant_id: str, breach: ExitBreach) -> None:
    async with database.session(tenant_id) as session:
        order = await require(session, ManagerOrder, "manager_order", breach.mo_id)
        payload = {"vault_id": order.vault_id, "reason": str(breach)}
        await emit(session, tenant_id, "manager_order", breach.mo_id, "exit_breach", ACTOR, payload)
    # One halt for all that a runaway worker tries with this order.
    key = f"exit-breach/{breach.mo_id}"
    halt = NewOverlay(
        OverlayKind.HALT, order.vault_id, params=Params(level=Halt.HALT_ALL), reason=str(breach)[:MAX_REASON]
    )
    overlay_id = ids.overlay_id(tenant_id, key)
    once = Once("exit_breach", key, fingerprint({"mo_id": breach.mo_id}))
    await OverlayStore(database).start(StartOverlay(tenant_id, overlay_id, halt, once, ACTOR))

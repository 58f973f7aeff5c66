"""Followers' callbacks: whose keys must have signed one, and what it changes, in one transaction with its record."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from adapters.store.database import Cursor, Database
from adapters.store.dispatch import DispatchStore
from domain.confirmations import BookedFill, Confirmation, confirmed
from domain.dispatch import Change, PendingOrder, SealedKey
from domain.errors import IdempotencyKeyReused
from domain.orders import FollowerState
from domain.streams import OrderOwner

_NOBODY = str(UUID(int=0))
_TENANT = text("SELECT tenant_of_follower_order(:fo_id) AS tenant_id")
_KEYS = """
SELECT k.key_ref, k.key_id, k.sealed FROM follower_orders f JOIN followers w USING (follower_id)
JOIN webhook_keys k ON k.key_ref = w.webhook ->> 'hmac_key_ref'
WHERE f.fo_id = %s AND is_mine(f.tenant_id) AND f.route = 'webhook'
  AND (k.expires_at IS NULL OR k.expires_at > now())
ORDER BY k.version DESC
"""
_RECORD = """
INSERT INTO confirmations (fo_id, confirmation_id, tenant_id, digest) VALUES (%s, %s, %s, %s)
ON CONFLICT (fo_id, confirmation_id) DO NOTHING RETURNING fo_id
"""
_EARLIER = "SELECT digest FROM confirmations WHERE fo_id = %s AND confirmation_id = %s AND is_mine(tenant_id)"
_FILLS = "SELECT fill_id, qty, price FROM fills WHERE fo_id = %s AND is_mine(tenant_id)"
_LETTER = """
SELECT max(dead_letter_id) AS dead_letter_id FROM dead_letters
WHERE fo_id = %s AND is_mine(tenant_id) AND redriven_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose order it is, and the keys of its follower that are in force; none where there is no such order."""

    tenant_id: str
    keys: tuple[SealedKey, ...]


@dataclass(frozen=True, slots=True)
class Booked:
    """Where the order stands after a callback. `replayed`: it had been acted on before; `owner`: who follows it."""

    fo_id: str
    state: FollowerState
    qty: Decimal
    filled_qty: Decimal
    change: Change
    owner: OrderOwner
    replayed: bool = False


class ConfirmationStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._orders = DispatchStore(database)

    async def signer(self, fo_id: str) -> Signer:
        """The same statements for an order that there is and for one that there is not."""
        found = await self._database.lookup(_TENANT, {"fo_id": fo_id})
        tenant_id = _NOBODY if found is None or found["tenant_id"] is None else str(found["tenant_id"])
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_KEYS, [fo_id])
            rows = await cursor.fetchall()
        return Signer(tenant_id, tuple(SealedKey(r["key_ref"], r["key_id"], bytes(r["sealed"])) for r in rows))

    async def book(self, tenant_id: str, fo_id: str, told: Confirmation, digest: str) -> Booked:
        """Act on the callback once; what is refused leaves nothing. `digest` is SHA-256 of its body, in hex.

        Raises InvalidInput, Conflict, and IdempotencyKeyReused where its id came with another body before.
        """
        async with self._orders.locked(tenant_id, fo_id) as (cursor, order):
            owner = await _owner(cursor, order)
            if not await _is_first(cursor, order, told.confirmation_id, digest):
                unchanged = Change(order.fo_id, order.state)
                return _booked(order, unchanged, owner, replayed=True)
            change = confirmed(order, told, await _fills(cursor, fo_id))
            await self._orders.change(cursor, change, actor=f"follower:{order.follower_id}")
            return _booked(order, change, owner)


async def _is_first(cursor: Cursor, order: PendingOrder, confirmation_id: str, digest: str) -> bool:
    await cursor.execute(_RECORD, [order.fo_id, confirmation_id, order.tenant_id, digest])
    if await cursor.fetchone() is not None:
        return True
    await cursor.execute(_EARLIER, [order.fo_id, confirmation_id])
    earlier = await cursor.fetchone()
    if earlier is None or earlier["digest"] != digest:
        raise IdempotencyKeyReused("the webhook-id was already used for a callback with another body")
    return False


async def _fills(cursor: Cursor, fo_id: str) -> Mapping[str, BookedFill]:
    await cursor.execute(_FILLS, [fo_id])
    return {row["fill_id"]: BookedFill(row["qty"], row["price"]) for row in await cursor.fetchall()}


async def _owner(cursor: Cursor, order: PendingOrder) -> OrderOwner:
    await cursor.execute(_LETTER, [order.fo_id])
    row: dict[str, Any] | None = await cursor.fetchone()
    letter = None if row is None else row["dead_letter_id"]
    return OrderOwner(order.mo_id, order.follower_id, order.leg, order.state, letter)


def _booked(order: PendingOrder, change: Change, owner: OrderOwner, *, replayed: bool = False) -> Booked:
    filled = order.filled_qty if change.filled_qty is None else change.filled_qty
    return Booked(order.fo_id, change.target, order.qty, filled, change, owner, replayed)

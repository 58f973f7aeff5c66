"""The textbook's activities: each its own statement or request, in tables of its own beside the product's."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from temporalio import activity

from domain import ids, signing

if TYPE_CHECKING:
    import aiohttp
    from psycopg_pool import AsyncConnectionPool

    from adapters.secretbox import SecretBox

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE IF NOT EXISTS bench.follower_orders (
  order_id text, follower_id text, qty numeric NOT NULL, state text NOT NULL, PRIMARY KEY (order_id, follower_id)
);
CREATE TABLE IF NOT EXISTS bench.audit_events (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id text, follower_id text, action text NOT NULL,
  ts timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS audit_events_order ON bench.audit_events (order_id);
"""
_LIST = "SELECT follower_id FROM followers WHERE vault_id = %s ORDER BY follower_id LIMIT %s OFFSET %s"
_READ = "SELECT scale * %s, webhook ->> 'url' FROM followers WHERE follower_id = %s"
_INSERT = "INSERT INTO bench.follower_orders VALUES (%s, %s, %s, 'sized') ON CONFLICT DO NOTHING"
_KEY = "SELECT key_id, sealed FROM webhook_keys WHERE key_ref = %s ORDER BY version DESC LIMIT 1"
_CONFIRM = "UPDATE bench.follower_orders SET state = 'confirmed' WHERE order_id = %s AND follower_id = %s"
_AUDIT = "INSERT INTO bench.audit_events (order_id, follower_id, action) VALUES (%s, %s, 'confirmed')"

QTY = 1


@dataclass(frozen=True, slots=True)
class Order:
    """One parent's part of a manager order: `limit` followers of the vault, beyond the first `offset`."""

    order_id: str
    vault_id: str
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class Follower:
    order_id: str
    follower_id: str


@dataclass(frozen=True, slots=True)
class Sized:
    follower: Follower
    qty: str
    url: str


class TextbookActivities:
    """The pool of connections and the HTTP client are the process's. Database and HTTP errors fail the attempt."""

    def __init__(
        self, pool: "AsyncConnectionPool", session: "aiohttp.ClientSession", box: "SecretBox", body_bytes: int
    ) -> None:
        self._pool = pool
        self._session = session
        self._box = box
        self._body_bytes = body_bytes

    @activity.defn
    async def list_followers(self, order: Order) -> list[str]:
        async with self._pool.connection() as connection:
            found = await connection.execute(_LIST, [order.vault_id, order.limit, order.offset])
            return [row[0] for row in await found.fetchall()]

    @activity.defn
    async def size(self, follower: Follower) -> Sized:
        async with self._pool.connection() as connection:
            found = await connection.execute(_READ, [QTY, follower.follower_id])
            row = await found.fetchone()
            assert row is not None
            qty, url = row
            await connection.execute(_INSERT, [follower.order_id, follower.follower_id, qty])
        return Sized(follower, str(qty), url)

    @activity.defn
    async def dispatch(self, sized: Sized) -> None:
        key = await self._key(sized.follower.follower_id)
        body = self._body(sized)
        delivery_id = f"{sized.follower.order_id}-{sized.follower.follower_id}"
        headers = signing.headers([key], delivery_id, int(time.time()), body)
        async with self._session.post(sized.url, data=body, headers=headers, raise_for_status=True) as answer:
            await answer.read()

    @activity.defn
    async def confirm(self, follower: Follower) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(_CONFIRM, [follower.order_id, follower.follower_id])

    @activity.defn
    async def audit(self, follower: Follower) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(_AUDIT, [follower.order_id, follower.follower_id])

    async def _key(self, follower_id: str) -> bytes:
        ref = ids.webhook_key_ref(follower_id)
        async with self._pool.connection() as connection:
            found = await connection.execute(_KEY, [ref])
            row = await found.fetchone()
        assert row is not None
        key_id, sealed = row
        return self._box.open(key_id, sealed, aad=ref)

    def _body(self, sized: Sized) -> bytes:
        """As long as one of ours."""
        facts = {
            "ts": datetime.now(UTC).isoformat(),
            "follower_id": sized.follower.follower_id,
            "side": "buy",
            "qty_str": sized.qty,
            "meta": {"manager_order_id": sized.follower.order_id},
        }
        return orjson.dumps(facts).ljust(self._body_bytes)

"""The first wave's side of the store: orders that are sized, stored and claimed in one statement (ADR 0004).

Only what will be sent at once is stored here; everything else about a page is left to its expansion. Each query names
its rows by key, and none joins what was just written: a join's plan would hang on statistics that are not there yet.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store import exits
from adapters.store.calendars import market
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.expansion import CARRY, in_lock_order, read_page
from adapters.store.frozen import SizedOrder, Sizer, sized
from domain import guards
from domain.calendars import flags_of, read_market
from domain.credentials import Status
from domain.dispatch import WEBHOOK, PendingOrder, SealedKey
from domain.enrolment import ConfirmBy
from domain.guards import GuardFacts
from domain.orders import FollowerState, ManagerState, OrderType, Side, TimeInForce
from domain.overlays import in_force
from domain.sessions import trading_hours
from domain.sizing import Effect

ACTOR = "system:dispatch"

# Locked for reading until the batch is committed: a cancel either waits for the batch and counts it as sent, or comes
# first and is seen here.
_VAULT = f"""
SELECT m.state AS manager_state, v.maintenance, v.halt, t.halt AS tenant_halt,
  (SELECT array_agg(level) FROM platform_halts WHERE ended_at IS NULL) AS platform_halts,
  v.risk_profile -> 'trading_hours' AS trading_hours, i.flags, {market("i.calendar", "%(now)s")} AS market
FROM manager_orders m JOIN vaults v USING (vault_id) JOIN tenants t ON t.tenant_id = m.tenant_id
LEFT JOIN instruments i ON i.symbol = m.symbol
WHERE m.mo_id = %(mo_id)s AND is_mine(m.tenant_id) FOR SHARE OF m
"""

_HOSTS = """
SELECT follower_id, webhook ->> 'url' AS url FROM followers WHERE follower_id = ANY(%s) AND is_mine(tenant_id)
"""

_FOLLOWERS = """
SELECT follower_id, kill_switch, halt, maintenance, endpoint_disabled_at IS NOT NULL AS endpoint_disabled,
  consecutive_failures, webhook ->> 'url' AS url,
  webhook ->> 'hmac_key_ref' AS key_ref, webhook ->> 'confirm_by' AS confirm_by, bridged_brokers
FROM followers WHERE follower_id = ANY(%s) AND is_mine(tenant_id)
"""

_KEYS = """
SELECT key_ref, key_id, sealed FROM webhook_keys
WHERE key_ref = ANY(%s) AND is_mine(tenant_id) AND (expires_at IS NULL OR expires_at > now())
ORDER BY key_ref, version DESC
"""

_CREDENTIALS = """
SELECT cred_ref, key_id, sealed, version, environment, status FROM credentials
WHERE cred_ref = ANY(%s) AND is_mine(tenant_id) AND venue = %s AND status IN ('active', 'broken')
"""

_OPEN = f"""
WITH i AS (
  INSERT INTO follower_orders (fo_id, tenant_id, mo_id, follower_id, vault_id, shard, symbol, side, qty, cap_applied,
    carry, state, route, trace, audit, dispatch_attempts)
  SELECT x.fo_id, %(tenant_id)s, %(mo_id)s::text, x.follower_id, %(vault_id)s, %(shard)s, x.symbol, x.side, x.qty,
    x.cap_applied, x.carry, 'sent', x.route, x.trace, jsonb_build_object('dag_id', %(mo_id)s::text), 1
  FROM jsonb_to_recordset(%(rows)s) AS x(fo_id text, follower_id text, symbol text, side text, qty numeric,
    cap_applied bool, carry numeric, route text, trace jsonb)
  ON CONFLICT (fo_id) DO NOTHING
  RETURNING *
), t AS (
  INSERT INTO attempts (fo_id, attempt_no, tenant_id, via) SELECT fo_id, dispatch_attempts, tenant_id, 'wave' FROM i
), {CARRY}, e AS (
  SELECT tenant_id, 'follower_order' AS entity, fo_id AS entity_id, 'sized' AS action, %(actor)s AS actor, mo_id,
    jsonb_build_object('to', 'sized', 'follower_id', follower_id, 'vault_id', vault_id, 'symbol', symbol, 'side', side,
      'qty', qty::text, 'cap_applied', cap_applied, 'carry', carry::text, 'leg', leg, 'reason', reason, 'route', route,
      'trace', trace) AS payload, 1 AS n
  FROM i
  UNION ALL
  SELECT tenant_id, 'follower_order', fo_id, state, %(actor)s, mo_id,
    jsonb_build_object('from', 'sized', 'to', state, 'follower_id', follower_id, 'dispatch_attempts', dispatch_attempts,
      'reason', reason, 'last_error', last_error, 'broker_order_ref', broker_order_ref,
      'filled_qty', filled_qty::text, 'avg_price', avg_price::text, 'guards', '{guards.GUARDS_VERSION}'), 2
  FROM i
), {EMIT}
SELECT fo_id FROM i
"""


@dataclass(frozen=True, slots=True)
class WavePage:
    """A page of one route as the snapshot has it. `orders` are to be sent; `urls`: where webhooks go, by follower.

    `everything` is the page with all its routes and legs: what it is allotted. Hedges are not of the wave: each waits
    for the order that it hedges.
    """

    tenant_id: str
    mo_id: str
    shard: int
    route: str
    order: dict[str, Any]
    orders: tuple[SizedOrder, ...]
    urls: Mapping[str, str | None]
    everything: Sequence[SizedOrder] = ()

    def by_host(self) -> dict[str, deque[SizedOrder]]:
        """The orders by the destination whose capacity they take: a webhook's host and port, or the venue."""
        lines: dict[str, deque[SizedOrder]] = {}
        for order in self.orders:
            url = self.urls.get(order.follower_id) or ""
            # A query may follow the host at once.
            host = url.split("/", 3)[2].partition("?")[0].lower() if url.count("/") > 1 else self.route
            lines.setdefault(host, deque()).append(order)
        return lines

    def account(self, live: Mapping[str, Any]) -> str | None:
        """The reference of the follower's credential that serves the order's rail."""
        rail = "crypto_ref" if self.order["body"]["rail"] == "crypto" else "equities_ref"
        ref: str | None = (live["bridged_brokers"] or {}).get(rail)
        return ref

    def routed(self, order: PendingOrder, live: Mapping[str, Any]) -> bool:
        """Whether money may have to be changed for it: a purchase by an account that agrees to that."""
        crypto = not order.is_webhook and self.order["body"]["rail"] == "crypto"
        return crypto and order.side is Side.BUY and bool((live["bridged_brokers"] or {}).get("crypto_convert"))


class WaveStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: str, mo_id: str, shard: int, route: str) -> WavePage:
        """Size the page's followers that have this route; nothing is stored yet."""
        async with self._database.cursor(tenant_id) as cursor:
            order, page = await read_page(cursor, mo_id, shard)
            mine = [terms for terms in page if terms["route"] == route]
            urls: dict[str, str | None] = {}
            if route == WEBHOOK:
                await cursor.execute(_HOSTS, [[terms["follower_id"] for terms in mine]])
                urls = {row["follower_id"]: row["url"] for row in await cursor.fetchall()}
        everything = sized(Sizer(mo_id, order), page)
        due = tuple(o for o in everything if o.allotted and o.leg == 0 and o.terms["route"] == route)
        return WavePage(tenant_id, mo_id, shard, route, order, due, urls, everything)

    async def open(
        self, page: WavePage, orders: Sequence[SizedOrder], now: datetime, *, mark: int = 0, opens_held: bool = False
    ) -> list[PendingOrder]:
        """Store the orders as claimed by this attempt, and return those that may be sent now.

        What a guard stops is left to the order's owner, as is what may need money changed first, and what somebody else
        has stored is his. With `opens_held` nothing that opens is sent.
        """
        if opens_held and page.order["effect"] == Effect.OPEN:
            return []
        async with exits.guarded(self._database, page.tenant_id), self._database.cursor(page.tenant_id) as cursor:
            await cursor.execute(_VAULT, {"mo_id": page.mo_id, "now": now})
            vault = await cursor.fetchone()
            assert vault is not None, f"{page.mo_id} does not exist for this tenant"
            await cursor.execute(_FOLLOWERS, [[o.follower_id for o in orders]])
            live = {row["follower_id"]: row for row in await cursor.fetchall()}
            secrets = await _secrets(cursor, page, live.values())
            ready = [
                _pending(page, vault, live[o.follower_id], o, secrets, mark) for o in orders if o.follower_id in live
            ]
            ready = [
                o for o in ready if guards.check(o.guards, now) is None and not page.routed(o, live[o.follower_id])
            ]
            if not ready:
                return []
            claimed = {order.fo_id for order in ready}
            # In the order in which an expansion does it, so that neither can hold what the other waits for.
            await exits.allot(cursor, page.tenant_id, page.mo_id, page.shard, page.everything)
            await cursor.execute(_OPEN, _insertion(page, in_lock_order(o for o in orders if o.fo_id in claimed)))
            stored = {row["fo_id"] for row in await cursor.fetchall()}
            await exits.release(cursor, page.mo_id, page.shard, [o.qty for o in orders if o.fo_id in stored])
        return [order for order in ready if order.fo_id in stored]


def _insertion(page: WavePage, orders: Iterable[SizedOrder]) -> dict[str, Any]:
    order = page.order
    return {
        "tenant_id": page.tenant_id,
        "mo_id": page.mo_id,
        "shard": page.shard,
        "vault_id": order["vault_id"],
        "actor": ACTOR,
        "rows": jsonb([o.row() for o in orders]),
    }


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Keys by their reference; the environment of each broker account by the credential's; the broken ones."""

    keys: dict[str, tuple[SealedKey, ...]]
    environments: dict[str, str]
    broken: set[str]


async def _secrets(cursor: Cursor, page: WavePage, live: Iterable[dict[str, Any]]) -> _Sealed:
    keys: dict[str, list[SealedKey]] = {}
    environments: dict[str, str] = {}
    broken: set[str] = set()
    if page.route == WEBHOOK:
        await cursor.execute(_KEYS, [[row["key_ref"] for row in live if row["key_ref"]]])
        for row in await cursor.fetchall():
            keys.setdefault(row["key_ref"], []).append(SealedKey(row["key_ref"], row["key_id"], bytes(row["sealed"])))
    else:
        await cursor.execute(_CREDENTIALS, [[ref for row in live if (ref := page.account(row))], page.route])
        for row in await cursor.fetchall():
            if row["status"] == Status.BROKEN:
                broken.add(row["cred_ref"])
            else:
                sealed = SealedKey(row["cred_ref"], row["key_id"], bytes(row["sealed"]), row["version"])
                keys[row["cred_ref"]] = [sealed]
            environments[row["cred_ref"]] = row["environment"]
    return _Sealed({ref: tuple(found) for ref, found in keys.items()}, environments, broken)


def _pending(
    page: WavePage, vault: dict[str, Any], live: dict[str, Any], own: SizedOrder, secrets: _Sealed, mark: int
) -> PendingOrder:
    order, terms = page.order, own.terms
    account = page.account(live)
    price = order["body"]["price"]
    return PendingOrder(
        tenant_id=page.tenant_id,
        fo_id=own.fo_id,
        mo_id=page.mo_id,
        mark=mark,
        follower_id=own.follower_id,
        vault_id=order["vault_id"],
        symbol=order["symbol"],
        side=own.side,
        qty=own.qty,
        order_type=OrderType(order["order_type"]),
        limit_price=order["limit_price"],
        tif=TimeInForce(order["tif"]),
        state=FollowerState.SENT,
        attempts=1,
        last_error=None,
        route=page.route,
        broker_order_ref=None,
        filled_qty=Decimal(0),
        avg_price=None,
        price=None if price is None else Decimal(price),
        scale=Decimal(terms["scale"]),
        max_pos_usd=None if terms["max_pos_usd"] is None else Decimal(terms["max_pos_usd"]),
        persona=terms["persona"],
        meta=order["meta"],
        guards=GuardFacts(
            kill_switch=live["kill_switch"],
            maintenance=vault["maintenance"] or live["maintenance"],
            halt=in_force(vault["halt"], vault["tenant_halt"], live["halt"], *vault["platform_halts"] or ()),
            manager_state=ManagerState(vault["manager_state"]),
            effect=Effect(order["effect"]),
            expires_at=order["expires_at"],
            endpoint_disabled=live["endpoint_disabled"],
            hours=trading_hours(vault),
            credential_broken=account in secrets.broken,
            market=read_market(vault["market"]),
            flags=flags_of(vault["flags"]),
            order_type=OrderType(order["order_type"]),
        ),
        url=live["url"],
        keys=secrets.keys.get(live["key_ref"], ()) if page.route == WEBHOOK else (),
        credential=next(iter(secrets.keys.get(account or "", ())), None),
        environment=secrets.environments.get(account or "", "paper"),
        endpoint_failures=live["consecutive_failures"],
        calls_back=live["confirm_by"] == ConfirmBy.CALLBACK,
    )

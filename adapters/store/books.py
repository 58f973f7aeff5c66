"""Reads a page of followers with all that reconciliation needs of them: orders, fills, positions, sealed accounts."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.store.database import Cursor, Database
from domain.books import NOT_MEANT, BrokerKey, FollowerBooks, SymbolBooks
from domain.dispatch import SealedKey
from domain.execution import Execution, slippage_bps
from domain.expectation import ADOPTED, CORRECTION, ZERO, FillFact, OrderFact
from domain.orders import FollowerState, Side
from domain.reconciliation import Policy
from domain.sizing import floor_to

# Followers of mode shadow send nothing and hold nothing. `stopped` is what keeps every order away, not opens alone.
_FOLLOWERS = """
SELECT f.follower_id, f.scale, f.fractional, f.reconcile_policy, f.created_at, f.webhook IS NOT NULL AS is_webhook,
  v.nav_usd * f.scale AS base_usd,
  f.kill_switch OR f.maintenance OR v.maintenance OR EXISTS (
    SELECT 1 FROM unnest(ARRAY[f.halt, v.halt, t.halt, (SELECT max(level) FROM platform_halts WHERE ended_at IS NULL)])
      AS h(level) WHERE h.level IS NOT NULL) AS stopped,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('venue', c.venue, 'ref', c.cred_ref, 'key_id', c.key_id,
     'sealed', encode(c.sealed, 'hex'), 'environment', c.environment) ORDER BY c.venue), '[]')
   FROM credentials c WHERE c.status = 'active'
     AND c.cred_ref IN (f.bridged_brokers ->> 'equities_ref', f.bridged_brokers ->> 'crypto_ref')) AS accounts
FROM followers f JOIN vaults v USING (vault_id) JOIN tenants t ON t.tenant_id = f.tenant_id
WHERE f.tenant_id = %(tenant)s AND f.vault_id = %(vault)s AND f.follower_id > %(after)s AND f.mode <> 'shadow'
ORDER BY f.follower_id LIMIT %(limit)s
"""

# The quantity before any limit is the result of the trace's step to the instrument's size.
_ORDERS = """
SELECT o.fo_id, o.follower_id, o.symbol, o.side, o.qty, o.filled_qty, o.avg_price, o.state, o.reason, o.cap_applied,
  o.leg, o.route, o.created_at, o.updated_at, m.kind, m.qty AS manager_qty, m.effect, m.expires_at,
  s.body ->> 'position' AS vault_qty,
  (CASE WHEN o.leg = 0 THEN s.body ->> 'price' ELSE s.body #>> '{hedge,price}' END)::numeric AS price,
  (SELECT (t.step ->> 'result')::numeric FROM jsonb_array_elements(o.trace) AS t(step)
   WHERE t.step ->> 'rule' = 'step' LIMIT 1) AS stepped,
  o.trace @> '[{"rule": "no_crossing"}]' AS closes,
  (SELECT min(a.started_at) FROM attempts a WHERE a.fo_id = o.fo_id) AS sent_at
FROM follower_orders o JOIN manager_orders m USING (mo_id) LEFT JOIN snapshots s USING (mo_id)
WHERE o.tenant_id = %(tenant)s AND o.follower_id = ANY(%(followers)s) AND o.state <> 'shadowed'
"""

# Corrections that were turned away at the door, so that they are not tried again with every run.
_TURNED_AWAY = """
SELECT mo_id, only_follower_id AS follower_id, symbol, side, qty, created_at FROM manager_orders
WHERE tenant_id = %(tenant)s AND vault_id = %(vault)s AND kind = 'correction' AND state IN ('rejected', 'expired')
  AND only_follower_id = ANY(%(followers)s)
"""

_FILLS = """
SELECT l.fill_id, l.fo_id, l.follower_id, l.symbol, l.side, l.qty, l.price, l.source, l.ts
FROM fills l JOIN follower_orders o USING (fo_id)
WHERE o.tenant_id = %(tenant)s AND o.follower_id = ANY(%(followers)s)
"""

_POSITIONS = """
SELECT holder_id AS follower_id, symbol, qty FROM positions
WHERE tenant_id = %(tenant)s AND holder_id = ANY(%(followers)s)
"""

_INSTRUMENTS = """
SELECT i.symbol, i.qty_step, i.fine_step, p.price FROM instruments i LEFT JOIN prices p USING (symbol)
WHERE i.symbol = ANY(%s)
"""

_Row = dict[str, Any]
_Key = tuple[str, str]  # follower, symbol


class BooksStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant_id: str, vault_id: str, *, after: str, limit: int, since: datetime, stale_before: datetime
    ) -> list[FollowerBooks]:
        """Up to `limit` followers beyond `after`, by id.

        Orders that filled after `since` are measured; those that are open and untouched since `stale_before` are
        nobody's any more.
        """
        async with self._database.cursor(tenant_id) as cursor:
            given: _Row = {"tenant": tenant_id, "vault": vault_id, "after": after, "limit": limit}
            followers = await _all(cursor, _FOLLOWERS, given)
            given["followers"] = [row["follower_id"] for row in followers]
            orders = await _all(cursor, _ORDERS, given)
            turned_away = await _all(cursor, _TURNED_AWAY, given)
            fills = await _all(cursor, _FILLS, given)
            positions = await _all(cursor, _POSITIONS, given)
            symbols = sorted({row["symbol"] for row in (*orders, *positions)})
            instruments = {row["symbol"]: row for row in await _all(cursor, _INSTRUMENTS, [symbols])}
        page = _Page(orders, turned_away, fills, positions, instruments, since, stale_before)
        return [page.follower(row) for row in followers]


async def _all(cursor: Cursor, statement: str, given: Any) -> list[_Row]:
    await cursor.execute(statement, given)
    return await cursor.fetchall()


class _Page:
    """The page's rows by follower and symbol."""

    def __init__(
        self,
        orders: list[_Row],
        turned_away: list[_Row],
        fills: list[_Row],
        positions: list[_Row],
        instruments: dict[str, _Row],
        since: datetime,
        stale_before: datetime,
    ) -> None:
        self._orders, self._turned_away, self._fills = _by_key(orders), _by_key(turned_away), _by_key(fills)
        self._booked = {(row["follower_id"], row["symbol"]): row["qty"] for row in positions}
        self._instruments = instruments
        self._since, self._stale_before = since, stale_before

    def follower(self, row: _Row) -> FollowerBooks:
        mine = row["follower_id"]
        keys = sorted(k for k in {*self._orders, *self._booked} if k[0] == mine and k[1] in self._instruments)
        return FollowerBooks(
            follower_id=mine,
            policy=Policy(row["reconcile_policy"]),
            stopped=row["stopped"],
            is_webhook=row["is_webhook"],
            base_usd=row["base_usd"],
            bound_at=row["created_at"],
            accounts=tuple(_account(given) for given in row["accounts"]),
            symbols=tuple(self._symbol(key, row) for key in keys),
            executions=tuple(e for key in keys for e in self._executions(key)),
        )

    def _symbol(self, key: _Key, follower: _Row) -> SymbolBooks:
        instrument = self._instruments[key[1]]
        step = instrument["fine_step"] if follower["fractional"] else instrument["qty_step"]
        orders = [self._fact(row, follower["scale"], step) for row in self._orders[key]]
        orders += [_refused(row) for row in self._turned_away[key]]
        routes = [row["route"] for row in sorted(self._orders[key], key=lambda row: row["created_at"])]
        fills = tuple(
            FillFact(r["fill_id"], r["ts"], Side(r["side"]).sign * r["qty"], r["price"], r["source"])
            for r in self._fills[key]
        )
        return SymbolBooks(
            key[1],
            self._booked.get(key, ZERO),
            step,
            instrument["price"],
            routes[-1] if routes else None,
            tuple(orders),
            fills,
        )

    def _fact(self, row: _Row, scale: Decimal, step: Decimal) -> OrderFact:
        state = FollowerState(row["state"])
        return OrderFact(
            row["fo_id"],
            row["created_at"],
            Side(row["side"]),
            _wanted(row, scale, step),
            row["qty"],
            row["filled_qty"],
            state,
            kind=row["kind"],
            reason=row["reason"],
            capped=row["cap_applied"],
            fraction=_fraction(row),
            price=row["price"],
            expires_at=row["expires_at"],
            is_stale=row["updated_at"] < self._stale_before,
        )

    def _executions(self, key: _Key) -> Iterable[Execution]:
        fills = sorted((row for row in self._fills[key] if row["source"] != ADOPTED), key=lambda row: row["ts"])
        last = {row["fo_id"]: row["ts"] for row in fills}
        for row in self._orders[key]:
            filled_at = last.get(row["fo_id"])
            if filled_at is None or filled_at <= self._since:
                continue
            took = None if row["sent_at"] is None else filled_at - row["sent_at"]
            yield Execution(
                row["fo_id"],
                row["follower_id"],
                slippage_bps(Side(row["side"]), row["price"], row["avg_price"]),
                None if took is None else max(0, round(took.total_seconds() * 1000)),
            )


def _wanted(row: _Row, scale: Decimal, step: Decimal) -> Decimal:
    """The quantity that the follower was meant to get before a cap, a kill or a fault took it away."""
    qty: Decimal = row["qty"]
    if row["kind"] == CORRECTION:
        return Decimal(row["manager_qty"])
    if row["effect"] == "reduce" or row["leg"] or row["closes"] or row["reason"] in NOT_MEANT:
        return qty
    if row["stepped"] is not None:
        return max(qty, Decimal(row["stepped"]))
    # Killed before it was sized: by the follower's present scale, the nearest to what it would have got.
    return floor_to(Decimal(row["manager_qty"]) * scale, step) if qty == 0 else qty


def _fraction(row: _Row) -> Decimal | None:
    if row["effect"] != "reduce":
        return None
    vault_qty = abs(Decimal(row["vault_qty"] or 0))
    if row["kind"] == "flatten" or vault_qty == 0:
        return Decimal(1)
    return min(Decimal(1), Decimal(row["manager_qty"]) / vault_qty)


def _refused(row: _Row) -> OrderFact:
    return OrderFact(
        row["mo_id"], row["created_at"], Side(row["side"]), row["qty"], ZERO, ZERO, FollowerState.REJECTED,
        kind=CORRECTION, turned_away=True,
    )  # fmt: skip


def _account(given: _Row) -> BrokerKey:
    key = SealedKey(given["ref"], given["key_id"], bytes.fromhex(given["sealed"]))
    return BrokerKey(given["venue"], key, given["environment"])


def _by_key(rows: list[_Row]) -> defaultdict[_Key, list[_Row]]:
    found: defaultdict[_Key, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row["follower_id"], row["symbol"]].append(row)
    return found

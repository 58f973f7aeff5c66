"""What reconciliation found of a follower, recorded and acted on in our books; what it alerts of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.store import changes, money
from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.dispatch import DispatchStore
from domain.books import SymbolBooks
from domain.dispatch import new_fills, reported
from domain.expectation import ADOPTED
from domain.orders import FOLLOWER_ENDS
from domain.ports import VenueAccount, VenueOrder
from domain.reconciliation import Action, ActionKind, DriftFinding
from domain.runs import OpenedRun

ACTOR = "system:reconciliation"
_FUNDS_FRESH = timedelta(minutes=30)

# A finding that the previous run had as well is recorded, as each run is whole, but it is no news.
_FIND = f"""
WITH d AS (
  INSERT INTO drifts (run_id, follower_id, symbol, tenant_id, vault_id, expected_qty, booked_qty, actual_qty, drift_bps,
    cause, evidence, action)
  VALUES (%(run)s, %(follower)s, %(symbol)s, %(tenant)s, %(vault)s, %(expected)s, %(booked)s, %(actual)s, %(bps)s,
    %(cause)s, %(evidence)s, %(action)s)
  ON CONFLICT (run_id, follower_id, symbol) DO NOTHING RETURNING *
), e AS (
  SELECT d.tenant_id, 'follower' AS entity, d.follower_id AS entity_id, 'drift_found' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n,
    jsonb_build_object('run_id', d.run_id, 'vault_id', d.vault_id, 'symbol', d.symbol, 'cause', d.cause,
      'expected_qty', d.expected_qty::text, 'booked_qty', d.booked_qty::text, 'actual_qty', d.actual_qty::text,
      'drift_bps', d.drift_bps::text, 'action', d.action, 'evidence', d.evidence) AS payload
  FROM d WHERE NOT EXISTS (
    SELECT 1 FROM drifts p WHERE p.run_id = %(previous)s AND is_mine(p.tenant_id)
      AND p.follower_id = d.follower_id AND p.symbol = d.symbol
      AND (p.cause, p.expected_qty, p.booked_qty) = (d.cause, d.expected_qty, d.booked_qty)
      AND (p.actual_qty, p.action) IS NOT DISTINCT FROM (d.actual_qty, d.action))
), {EMIT}
SELECT count(*) FROM d
"""

# Held until the finding is recorded, so that a run cannot be given up in between.
_UNDER_WAY = "SELECT 1 FROM reconciliations WHERE run_id = %s AND is_mine(tenant_id) AND state = 'running' FOR SHARE"

# Orders that came, moved or filled since the books were read make them another matter: the next run's.
_UNMOVED = """
SELECT count(*) AS orders, coalesce(sum(filled_qty), 0) AS filled,
  count(*) FILTER (WHERE state <> ALL(%(ends)s)) AS open,
  coalesce((SELECT qty FROM positions WHERE tenant_id = %(tenant)s AND holder_id = %(follower)s
    AND symbol = %(symbol)s FOR UPDATE), 0) AS booked
FROM follower_orders
WHERE tenant_id = %(tenant)s AND follower_id = %(follower)s AND symbol = %(symbol)s AND state <> 'shadowed'
"""

_ADOPT = f"""
WITH n AS (
  INSERT INTO fills (fill_id, tenant_id, fo_id, follower_id, symbol, side, qty, price, source)
  SELECT %(fill_id)s, tenant_id, fo_id, follower_id, symbol, %(side)s, %(qty)s, %(price)s, '{ADOPTED}'
  FROM follower_orders WHERE fo_id = %(fo_id)s AND is_mine(tenant_id)
  ON CONFLICT (fill_id) DO NOTHING RETURNING *
), p AS (
  UPDATE positions h SET qty = h.qty + (CASE n.side WHEN 'buy' THEN n.qty ELSE -n.qty END), updated_at = now(),
    avg_price = CASE WHEN h.qty + (CASE n.side WHEN 'buy' THEN n.qty ELSE -n.qty END) = 0 THEN NULL ELSE h.avg_price END
  FROM n WHERE h.tenant_id = n.tenant_id AND h.holder_id = n.follower_id AND h.symbol = n.symbol
), e AS (
  SELECT tenant_id, 'follower' AS entity, follower_id AS entity_id, 'position_adopted' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n,
    jsonb_build_object('run_id', %(run)s::text, 'fill_id', fill_id, 'fo_id', fo_id, 'symbol', symbol, 'side', side,
      'qty', qty::text, 'price', price::text) AS payload
  FROM n
), {EMIT}
SELECT count(*) FROM n
"""

# Only what has changed, or is old by now: each change of the row is kept by its history.
_FUNDS = """
UPDATE followers SET funds_usd = %(funds)s, funds_asof = now()
WHERE follower_id = %(follower)s AND is_mine(tenant_id)
  AND (funds_usd IS DISTINCT FROM %(funds)s OR funds_asof IS NULL OR funds_asof < now() - %(fresh)s)
"""

_ALERT = f"""
WITH e AS (
  SELECT %(tenant)s::uuid AS tenant_id, 'follower' AS entity, x.follower_id AS entity_id, 'drift_alert' AS action,
    %(actor)s AS actor, NULL::text AS mo_id, 1 AS n,
    jsonb_build_object('run_id', %(run)s::text, 'vault_id', %(vault)s::text, 'drift_bps', x.bps,
      'threshold_bps', %(threshold)s::text) AS payload
  FROM jsonb_to_recordset(%(alerts)s) AS x(follower_id text, bps text)
), {EMIT}
SELECT count(*) FROM a
"""


class FindingStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._dispatch = DispatchStore(database)

    async def record(
        self, tenant_id: str, vault_id: str, run: OpenedRun, books: SymbolBooks, finding: DriftFinding
    ) -> bool:
        """Record a drift, and do to our books what it asks for.

        False where its orders have moved meanwhile, or the run was taken for abandoned and another one has begun.
        """
        given = {"tenant": tenant_id, "follower": finding.follower_id, "symbol": finding.symbol}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_UNDER_WAY, [run.run_id])
            if await cursor.fetchone() is None or not await _unmoved(cursor, given, books):
                return False
            await cursor.execute(_FIND, {**given, **_row(run, finding), "vault": vault_id, "actor": ACTOR})
            if finding.action is not None and finding.action.kind is ActionKind.ADOPT:
                await cursor.execute(_ADOPT, _adoption(run, books, finding.action))
        if finding.action is not None:
            for report in finding.action.fills:
                await self._book(tenant_id, report)
        return True

    async def _book(self, tenant_id: str, report: VenueOrder) -> None:
        """What the venue reports of one order of ours, counted from the order as it is now; a repeat books nothing."""
        async with self._dispatch.locked(tenant_id, report.client_order_id) as (cursor, order):
            if order.state not in FOLLOWER_ENDS:
                await changes.apply(cursor, [reported(order, report, source=order.route)], actor=ACTOR)
            elif fills := new_fills(order, report, order.route):
                await changes.book_late(cursor, order, fills, report, actor=ACTOR)

    async def keep_funds(
        self, tenant_id: str, follower_id: str, account: VenueAccount, balances: Mapping[str, Decimal] | None = None
    ) -> None:
        """What the account can still spend, for sizing; and in which currencies, where money may be changed."""
        given = {"follower": follower_id, "funds": account.buying_power, "fresh": _FUNDS_FRESH}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_FUNDS, given)
            if balances is not None:
                await money.keep(cursor, follower_id, balances, datetime.now(UTC))

    async def alert(
        self, tenant_id: str, vault_id: str, run: OpenedRun, alerts: Sequence[dict[str, str]], threshold: str
    ) -> None:
        """Tell of followers whose result has left its path since the previous run."""
        given = {
            "tenant": tenant_id, "vault": vault_id, "run": run.run_id, "alerts": jsonb(list(alerts)),
            "threshold": threshold, "actor": ACTOR,
        }  # fmt: skip
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_ALERT, given)


async def _unmoved(cursor: Cursor, given: dict[str, Any], books: SymbolBooks) -> bool:
    await cursor.execute(_UNMOVED, {**given, "ends": [state.value for state in FOLLOWER_ENDS]})
    row = await cursor.fetchone()
    assert row is not None
    mine = [order for order in books.orders if not order.turned_away]
    return (row["orders"], row["filled"], row["open"], row["booked"]) == (
        len(mine), sum(order.filled for order in mine), sum(not order.is_over for order in mine), books.booked,
    )  # fmt: skip


def _row(run: OpenedRun, finding: DriftFinding) -> dict[str, Any]:
    assert finding.cause is not None
    return {
        "run": run.run_id,
        "previous": run.previous_run_id,
        "expected": finding.expected,
        "booked": finding.booked,
        "actual": finding.actual,
        "bps": finding.drift_bps,
        "cause": finding.cause.value,
        "evidence": jsonb(finding.evidence),
        "action": None if finding.action is None else finding.action.kind.value,
    }


def _adoption(run: OpenedRun, books: SymbolBooks, action: Action) -> dict[str, Any]:
    latest = max((o for o in books.orders if not o.turned_away), key=lambda o: (o.at, o.fo_id))
    return {
        "fill_id": f"{latest.fo_id}:{ADOPTED}:{run.run_id}",
        "fo_id": latest.fo_id,
        "side": "buy" if action.qty > 0 else "sell",
        "qty": abs(action.qty),
        "price": books.mark,
        "run": run.run_id,
        "actor": ACTOR,
    }

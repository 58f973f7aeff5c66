"""What followers' accounts can spend by currency, and what of that is promised to orders under way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.store.database import Cursor, jsonb
from domain import routing
from domain.orders import OrderType, Side
from domain.routing import NoPlan, Plan, RouteFacts, RoutingTerms

# Funds that sibling orders of the account have been promised are not free. A change that a sibling began before the
# balances were read may or may not be in them, and what it has done since is not.
_PROMISED = """
SELECT currency, sum(amount) AS amount FROM (
  SELECT l.source AS currency, l.amount FROM order_legs l JOIN follower_orders f USING (fo_id)
  WHERE l.follower_id = %(follower_id)s AND is_mine(l.tenant_id) AND l.fo_id <> %(fo_id)s AND l.kind = 'convert'
    AND (l.state = 'committing' OR (l.state IN ('planned', 'quoted') AND f.state IN ('sized', 'retry'))
      OR (l.state = 'done' AND l.updated_at > %(asked_at)s))
  UNION ALL
  SELECT l.source, l.amount FROM order_legs l JOIN follower_orders f USING (fo_id)
  WHERE l.follower_id = %(follower_id)s AND is_mine(l.tenant_id) AND l.fo_id <> %(fo_id)s AND l.kind = 'trade'
    AND f.side = 'buy'
    AND (f.state IN ('sized', 'retry', 'sent', 'unknown') OR f.updated_at > %(asked_at)s)
    AND NOT EXISTS (SELECT 1 FROM order_legs n WHERE n.fo_id = l.fo_id AND n.plan > l.plan)
) promised GROUP BY currency
"""
_KEEP = """
WITH gone AS (
  UPDATE follower_balances SET amount = 0, asof = %(asof)s
  WHERE follower_id = %(follower_id)s AND is_mine(tenant_id) AND NOT currency = ANY(%(currencies)s)
)
INSERT INTO follower_balances (tenant_id, follower_id, currency, amount, asof)
SELECT tenant_id, follower_id, x.currency, x.amount, %(asof)s
FROM followers, jsonb_to_recordset(%(rows)s) AS x(currency text, amount numeric)
WHERE follower_id = %(follower_id)s AND is_mine(tenant_id)
ON CONFLICT (follower_id, currency) DO UPDATE SET amount = excluded.amount, asof = excluded.asof
"""
_KNOWN = """
SELECT currency, amount, asof FROM follower_balances
WHERE follower_id = %s AND is_mine(tenant_id) ORDER BY currency
"""
_CONSENT = """
SELECT coalesce((bridged_brokers ->> 'crypto_convert')::bool, false) AS given FROM followers
WHERE follower_id = %s AND is_mine(tenant_id)
"""
_PEG = "SELECT price FROM prices WHERE symbol = %s AND asof > now() - %s"


@dataclass(frozen=True, slots=True)
class Peg:
    """`symbol` is priced as USDC in USD; a price that is older than `max_age` is none."""

    symbol: str = "USDC-USD"
    max_age: timedelta = timedelta(hours=1)

    async def read(self, cursor: Cursor) -> Decimal | None:
        await cursor.execute(_PEG, [self.symbol, self.max_age])
        row = await cursor.fetchone()
        return None if row is None else row["price"]


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """How an order would be paid for, by the balances of `asof`; None: none are known, so only the order is planned."""

    currency: str
    converts: bool
    balances: Mapping[str, Decimal]
    asof: datetime | None
    plan: Plan | None
    refusal: NoPlan | None


@dataclass(frozen=True, slots=True)
class RoutePreviews:
    """Plans as the owner of an order would, but from the balances last known and a symbol's own quote currency."""

    terms: RoutingTerms = field(default=RoutingTerms())
    peg: Peg = field(default=Peg())

    async def of(
        self, cursor: Cursor, follower_id: str, order: Mapping[str, Any], price: Decimal | None
    ) -> PlannedRoute | None:
        """`order` has symbol, side, qty and order_type; None where no price is known."""
        if price is None or price <= 0:
            return None
        await cursor.execute(_CONSENT, [follower_id])
        row = await cursor.fetchone()
        converts = row is not None and row["given"]
        balances, asof = await known(cursor, follower_id)
        free = {} if asof is None else await free_of(cursor, follower_id, "", balances, asof)
        facts = RouteFacts(
            symbol=order["symbol"],
            side=order["side"],
            qty=order["qty"],
            price=price,
            limited=order["order_type"] is OrderType.LIMIT,
            quote_currency=routing.quote_of(order["symbol"]),
            balances=free,
            converts=converts,
            peg=await self.peg.read(cursor),
        )
        # Without consent nobody looks at the account's money before the order is sent.
        looked_at = converts and asof is not None and facts.side is Side.BUY
        made = routing.plan(facts, self.terms) if looked_at else routing.direct(facts, self.terms)
        plan, refusal = (None, made) if isinstance(made, NoPlan) else (made, None)
        return PlannedRoute(facts.quote_currency, converts, balances, asof, plan, refusal)


async def known(cursor: Cursor, follower_id: str) -> tuple[dict[str, Decimal], datetime | None]:
    """The balances that were read last, and when."""
    await cursor.execute(_KNOWN, [follower_id])
    rows = await cursor.fetchall()
    return {row["currency"]: row["amount"] for row in rows}, max((row["asof"] for row in rows), default=None)


async def keep(cursor: Cursor, follower_id: str, balances: Mapping[str, Decimal], asof: datetime) -> None:
    rows = [{"currency": name, "amount": amount} for name, amount in balances.items()]
    given = {"follower_id": follower_id, "asof": asof, "currencies": list(balances), "rows": jsonb(rows)}
    await cursor.execute(_KEEP, given)


async def free_of(
    cursor: Cursor, follower_id: str, fo_id: str, balances: Mapping[str, Decimal], asked_at: datetime
) -> dict[str, Decimal]:
    """What no other order than `fo_id` has been promised."""
    await cursor.execute(_PROMISED, {"follower_id": follower_id, "fo_id": fo_id, "asked_at": asked_at})
    promised = {row["currency"]: row["amount"] for row in await cursor.fetchall()}
    return {name: max(left - promised.get(name, Decimal(0)), Decimal(0)) for name, left in balances.items()}

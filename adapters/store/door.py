"""What is asked of a vault, its instrument and its prices before an order, and what that comes to.

Admission and preview read the same facts by the same statement; only the cursor differs, see `adapters.store.asof`.
"""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, Required, TypedDict, Unpack

from adapters.store.calendars import market
from adapters.store.database import Cursor
from adapters.store.marks import HOLDINGS, read_holding
from adapters.store.steps import whole_step
from domain import admission
from domain.admission import Intent, MarketFacts, VaultFacts
from domain.calendars import flags_of, outside_session, read_market
from domain.errors import InvalidInput
from domain.mirroring import MirrorOrderInput
from domain.overlays import in_force
from domain.pacing import Pace
from domain.personas import PERSONAS_VERSION
from domain.risk_profile import count_of
from domain.sessions import trading_hours
from domain.sizing import SIZING_VERSION, Effect, plain
from domain.valuation import Holding, Valuation, value

Facts = dict[str, Any]

# Accepted ones are those with an effect; what the platform itself orders (a flatten, a correction) is not the manager's
# pace. A duplicate of an order that was called off is meant.
_FACTS = f"""
SELECT v.status, v.maintenance, v.halt, t.halt AS tenant_halt,
       ARRAY(SELECT level FROM platform_halts WHERE ended_at IS NULL) AS platform_halts, v.cash_usd, v.risk_profile,
       v.personas,
       coalesce(h.qty, 0) AS position, i.venue, i.rail, {whole_step("i")} AS qty_step, i.fine_step, i.min_qty,
       i.min_notional, i.tradable, i.symbol AS known, i.flags, {market("i.calendar", "%(now)s")} AS market,
       p.price, p.asof, p.source,
       CASE WHEN e.rail = i.rail THEN jsonb_build_object('symbol', e.symbol,
         'ratio', v.risk_profile #>> '{{hedge,ratio}}', 'price', ep.price::text, 'qty_step', ({whole_step("e")})::text,
         'fine_step', e.fine_step::text, 'min_qty', e.min_qty::text, 'min_notional', e.min_notional::text) END AS hedge,
       {HOLDINGS} AS holdings,
       ARRAY(SELECT m.created_at FROM manager_orders m
         WHERE m.vault_id = v.vault_id AND m.kind = 'order' AND m.effect IS NOT NULL
           AND m.created_at > %(now)s - interval '60 seconds'
         ORDER BY m.created_at DESC LIMIT %(most)s) AS recent,
       (SELECT m.mo_id FROM manager_orders m
         WHERE m.vault_id = v.vault_id AND m.kind = 'order' AND m.effect IS NOT NULL
           AND %(window)s > 0 AND m.created_at > %(now)s - %(window)s * interval '1 second'
           AND m.state NOT IN ('cancelled', 'expired') AND m.symbol = %(symbol)s AND m.side = %(side)s
           AND m.qty = %(qty)s AND m.order_type = %(order_type)s AND m.limit_price IS NOT DISTINCT FROM %(limit_price)s
         ORDER BY m.created_at DESC LIMIT 1) AS twin
FROM vaults v JOIN tenants t ON t.tenant_id = v.tenant_id
LEFT JOIN positions h ON h.tenant_id = v.tenant_id AND h.holder_id = v.vault_id AND h.symbol = %(symbol)s
LEFT JOIN instruments i ON i.symbol = %(symbol)s
LEFT JOIN prices p ON p.symbol = %(symbol)s
LEFT JOIN instruments e ON e.symbol = v.risk_profile #>> '{{hedge,symbol}}' AND e.symbol <> %(symbol)s
LEFT JOIN prices ep ON ep.symbol = e.symbol
WHERE v.vault_id = %(vault_id)s AND is_mine(v.tenant_id)
"""


class Limits(TypedDict, total=False):
    """The platform's, which a vault can only tighten; except for `duplicate_window_s`, for which it may have its own.

    Opens are sized, and NAV is told, by prices that are at most `max_price_age` old.
    """

    max_notional_usd: Required[Decimal]
    max_qty: Required[Decimal]
    max_orders_per_minute: int
    duplicate_window_s: int
    max_price_age: timedelta


class GuardsConfig(Protocol):
    """What `settings.GuardSettings` offers."""

    @property
    def max_notional_usd(self) -> Decimal: ...
    @property
    def max_qty(self) -> Decimal: ...
    @property
    def max_orders_per_minute(self) -> int: ...
    @property
    def duplicate_window_s(self) -> int: ...


def limits_of(guards: GuardsConfig, *, max_price_age_s: int) -> Limits:
    return Limits(
        max_notional_usd=guards.max_notional_usd,
        max_qty=guards.max_qty,
        max_orders_per_minute=guards.max_orders_per_minute,
        duplicate_window_s=guards.duplicate_window_s,
        max_price_age=timedelta(seconds=max_price_age_s),
    )


class Door:
    def __init__(self, **limits: Unpack[Limits]) -> None:
        self._max_notional = limits["max_notional_usd"]
        self._max_qty = limits["max_qty"]
        self._max_per_minute = limits.get("max_orders_per_minute", 600)
        self._duplicate_window_s = limits.get("duplicate_window_s", 10)
        self._max_price_age = limits.get("max_price_age", timedelta(days=1))

    async def facts(self, cursor: Cursor, intent: Intent, profile: dict[str, Any], now: datetime) -> Facts:
        """Of a vault that is there, with its risk profile. Raises InvalidInput for a symbol that is not."""
        pace = self._pace(profile)
        bound = {**asdict(intent), "most": pace.most_per_minute, "window": pace.window_s, "now": now}
        await cursor.execute(_FACTS, bound)
        facts = await cursor.fetchone()
        assert facts is not None, "the vault is there"
        if facts["known"] is None:
            raise InvalidInput("symbol", f"{intent.symbol} is not a known instrument")
        return {**facts, "pace": replace(pace, recent=tuple(facts["recent"]), twin=facts["twin"])}

    def worth(self, facts: Facts, intent: Intent, now: datetime) -> Valuation:
        """The vault's NAV before the order, at the prices of this moment."""
        holdings = [self._holding(read_holding(row), intent, now) for row in facts["holdings"]]
        return value(facts["cash_usd"], holdings, now, self._max_price_age)

    def vault(self, facts: Facts, worth: Valuation) -> VaultFacts:
        profile = facts["risk_profile"]
        return VaultFacts(
            open=facts["status"] == "open",
            maintenance=facts["maintenance"],
            halt=in_force(facts["halt"], facts["tenant_halt"], *facts["platform_halts"]),
            nav_usd=worth.nav_usd,
            position=facts["position"],
            allow_short=bool(profile.get("allow_short", False)),
            max_order_notional_usd=_tighter(self._max_notional, profile.get("max_order_notional_usd")),
            max_order_qty=_tighter(self._max_qty, profile.get("max_order_qty")),
            unpriced=worth.missing,
            stale=worth.stale,
            hours=trading_hours(profile),
            pace=facts["pace"],
            outside=outside_session(profile),
        )

    def market(self, facts: Facts) -> MarketFacts:
        return MarketFacts(
            venue=facts["venue"],
            tradable=facts["tradable"],
            step=facts["qty_step"],
            price=facts["price"],
            collar_bps=Decimal(str(facts["risk_profile"].get("price_collar_bps", 500))),
            price_asof=facts["asof"],
            max_price_age=self._max_price_age,
            market=read_market(facts["market"]),
            flags=flags_of(facts["flags"]),
        )

    def _pace(self, profile: dict[str, Any]) -> Pace:
        window = count_of(profile, "duplicate_window_s")
        most = min(self._max_per_minute, count_of(profile, "max_orders_per_minute") or self._max_per_minute)
        return Pace(most_per_minute=most, window_s=self._duplicate_window_s if window is None else window)

    def _holding(self, held: Holding, intent: Intent, now: datetime) -> Holding:
        """Where the price of the order's symbol is missing or old, the one that its author states is taken.

        A limit is not: it says what the author would pay, not what the position is worth.
        """
        old = held.asof is None or now - held.asof > self._max_price_age
        if held.symbol == intent.symbol and intent.reference_price and old:
            return replace(held, price=intent.reference_price, asof=now)
        return held


def snapshot_body(
    facts: Facts, order: MirrorOrderInput, worth: Valuation, effect: Effect, price: Decimal | None, now: datetime
) -> dict[str, Any]:
    """Everything sizing needs besides followers and overlays, numbers as exact strings.

    `nav_asof` is the time of the oldest price in the NAV, `price_asof` that of the order's price.
    """
    numbers = ("position", "qty_step", "fine_step", "min_qty", "min_notional")
    stated = admission.price_source(order.intent)
    price_asof = now if stated else facts["asof"]
    return {
        "taken_at": now.isoformat(),
        "sizing_version": SIZING_VERSION,
        "effect": effect.value,
        "rail": facts["rail"],
        "price": None if price is None else plain(price),
        "price_source": stated or facts["source"],
        "price_asof": None if price_asof is None else price_asof.isoformat(),
        "nav_usd": None if worth.nav_usd is None else plain(worth.nav_usd),
        "nav_asof": (worth.price_asof or now).isoformat(),
        "personas": facts["personas"],
        "kind": order.kind,
        "personas_version": PERSONAS_VERSION,
        "hedge": facts["hedge"],
        **{name: None if facts[name] is None else plain(facts[name]) for name in numbers},
    }


def _tighter(platform: Decimal, vault: Any) -> Decimal:
    return platform if vault is None else min(platform, Decimal(str(vault)))

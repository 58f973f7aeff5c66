"""May this manager order run at all, and what does it do to the vault? (SPEC section 5.1)"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from domain.calendars import Market, Outside, barred
from domain.errors import OrderRefused
from domain.orders import OrderType, Side, TimeInForce
from domain.pacing import Pace, check_duplicate, check_rate
from domain.sessions import TradingHours
from domain.sizing import Effect, floor_to, plain
from domain.venues import Flag

_WANTS_PRICES = frozenset({"missing-price", "stale-price", "missing-nav", "stale-nav"})
PRICES_COME_WITHIN = timedelta(minutes=10)
_LOOK_AGAIN = timedelta(seconds=20)


class Halt(StrEnum):
    HALT_OPENS = "halt_opens"
    HALT_ALL = "halt_all"
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True)
class Intent:
    """A manager order as its author wrote it, fields already typed."""

    vault_id: str
    symbol: str
    side: Side
    qty: Decimal
    tif: TimeInForce = TimeInForce.DAY
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    venue: str | None = None
    reference_price: Decimal | None = None
    expires_at: datetime | None = None
    allow_duplicate: bool = False
    outside_session: Outside | None = None  # the vault's policy, for this order


@dataclass(frozen=True, slots=True)
class VaultFacts:
    """The vault at the moment of admission. `position` is signed, before this order; `halt` the strictest in force.

    `nav_usd` is at the prices of that moment; `unpriced` and `stale` are held symbols with no price, or an old one.
    """

    open: bool
    maintenance: bool
    halt: Halt | None
    nav_usd: Decimal | None
    position: Decimal
    allow_short: bool
    max_order_notional_usd: Decimal
    max_order_qty: Decimal
    unpriced: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    hours: TradingHours | None = None
    pace: Pace = Pace()  # noqa: RUF009  frozen
    outside: Outside = Outside.REFUSE


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """The instrument and its last known price, which opens are sized by until it is older than `max_price_age`.

    `market` is None for an instrument that trades at all times; `flags` are its venue's.
    """

    venue: str
    tradable: bool
    step: Decimal
    price: Decimal | None
    collar_bps: Decimal
    price_asof: datetime | None = None
    max_price_age: timedelta = timedelta(days=1)
    market: Market | None = None
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """An order that is admitted: what it does to the vault, and until when it waits for a session; None: it starts."""

    effect: Effect
    waits_until: datetime | None = None


def effect_of(side: Side, qty: Decimal, position: Decimal) -> Effect:
    """Open or reduce; an order that would cross zero is refused, as it is two orders.

    Raises OrderRefused `crosses-zero`.
    """
    if position * side.sign >= 0:
        return Effect.OPEN
    if qty > abs(position):
        raise OrderRefused(
            "crosses-zero",
            f"the vault holds {plain(position)}; {side} {plain(qty)} would cross zero. "
            f"Send the exit of {plain(abs(position))} and the new position as two orders",
            "qty",
        )
    return Effect.REDUCE


def admit(intent: Intent, vault: VaultFacts, market: MarketFacts, now: datetime) -> Decision:
    """The order's effect, or OrderRefused with a stable code, the field at fault and what to do.

    Reductions pass where only opens are stopped: nothing may strand a position (`halt_opens`, expiry, missing NAV,
    message rate, trading session). While the exchange is closed they wait for it, whatever the vault's policy says of
    opens. An order that waits is judged again when it is released, and by its prices only then.

    The limits are on the manager's order; what a persona or a flip makes of it for one follower is bounded by the
    persona's clamp and the follower's own cap, where it is sized.
    """
    _check_instrument(intent, market)
    effect = effect_of(intent.side, intent.qty, vault.position)
    _check_flags(intent, market, effect)
    _check_vault(vault, effect)
    _check_limits(intent, vault, market, effect)
    check_duplicate(vault.pace, allowed=intent.allow_duplicate)
    if effect is Effect.OPEN and intent.expires_at is not None and intent.expires_at <= now:
        raise OrderRefused("expired", f"expired at {intent.expires_at.isoformat()}", "meta.expires_at")
    waits_until = waits_for(intent, vault, market.market, effect, now)
    if effect is Effect.OPEN:
        check_rate(vault.pace)
        if intent.side is Side.SELL and not vault.allow_short and waits_until is not None:
            raise _no_shorts()
        if waits_until is None:
            _check_worth(intent, vault, market, now)
    return Decision(effect, waits_until)


def admit_released(intent: Intent, vault: VaultFacts, market: MarketFacts, now: datetime) -> Decision:
    """An order whose session has begun, judged anew. Raises OrderRefused.

    What its author said of the price was said before: he is held to it by the collar, but it sizes nothing. The pace
    was counted when the order came.
    """
    if effect_of(intent.side, intent.qty, vault.position) is Effect.OPEN:
        _check_collar(intent, market)
    return admit(as_released(intent), replace(vault, pace=Pace()), market, now)


def waits_for_prices(refusal: OrderRefused, market: Market | None, now: datetime) -> datetime | None:
    """When to look again at an order that was refused at its session's opening for want of fresh prices; None: never.

    The last prices are those of the evening before, on a Monday of the week before, until the first ones of the session
    have come.
    """
    opened_at = None if market is None else market.opened_at
    if refusal.code not in _WANTS_PRICES or opened_at is None or now - opened_at >= PRICES_COME_WITHIN:
        return None
    return now + _LOOK_AGAIN


def as_released(intent: Intent) -> Intent:
    """Without the price that its author stated as the present one when he gave the order."""
    return replace(intent, reference_price=None)


def waits_for(
    intent: Intent, vault: VaultFacts, market: Market | None, effect: Effect, now: datetime
) -> datetime | None:
    """When the order may start; None: now. Raises OrderRefused where it is not to wait, or nobody knows how long.

    Opens keep to the vault's own hours too; a vault that queues has them wait for these as well.
    """
    if market is not None and not market.is_known:
        raise OrderRefused(
            "calendar-unknown",
            f"the sessions of {market.calendar} are not stored for this time; bring them up to date with: "
            "vanta calendars refresh",
            "symbol",
        )
    at, refused = None, None
    if market is not None and not market.is_open:
        at = market.opens_at
        assert at is not None, "a closed market that is known opens at some time"
        refused = "market-closed", f"{market.calendar} is closed; it opens at {at.isoformat()}", "symbol"
    elif effect is Effect.OPEN and vault.hours is not None and not vault.hours.is_open(now):
        at = vault.hours.opens_after(now)
        refused = "outside-session", f"outside the vault's trading hours, which begin at {at.isoformat()}", "vault_id"
    if at is None or refused is None:
        return None
    _check_may_wait(intent, vault, effect, at, refused)
    return at


def _check_may_wait(
    intent: Intent, vault: VaultFacts, effect: Effect, at: datetime, refused: tuple[str, str, str]
) -> None:
    code, reason, field = refused
    if intent.tif in {TimeInForce.IOC, TimeInForce.FOK}:
        raise OrderRefused(code, f"{reason}, and an order with tif {intent.tif} does not wait", field)
    policy = Outside.QUEUE if effect is Effect.REDUCE else vault.outside
    if (intent.outside_session or policy) is not Outside.QUEUE:
        raise OrderRefused(code, reason, field)
    if effect is Effect.OPEN and intent.expires_at is not None and intent.expires_at <= at:
        raise OrderRefused(
            "expires-before-open",
            f"{reason}, and the order expires before that, at {intent.expires_at.isoformat()}",
            "meta.expires_at",
        )


def admit_correction(intent: Intent, held: Decimal, vault: VaultFacts, market: MarketFacts) -> Effect:
    """A correction of one follower, who holds `held`: it closes what is held or opens. Raises OrderRefused.

    The limits of managers do not count for it; halts, maintenance, the instrument's flags, and a price and an open
    exchange for what opens do. It never waits: the next reconciliation finds what is still to be corrected.
    """
    effect = Effect.REDUCE if held * intent.side.sign < 0 else Effect.OPEN
    _check_flags(intent, market, effect)
    if effect is Effect.OPEN and market.market is not None and not market.market.is_open:
        raise OrderRefused("market-closed", f"{market.market.calendar} is closed", "symbol")
    _check_vault(vault, effect)
    price = order_price(intent, market)
    if effect is Effect.OPEN and (price is None or price <= 0):
        raise OrderRefused("missing-price", "no price is known", "meta.reference_price")
    return effect


def order_price(intent: Intent, market: MarketFacts) -> Decimal | None:
    """The price that sizes and caps the order: the author's reference, else the limit, else the last price."""
    return intent.reference_price or intent.limit_price or market.price


def price_source(intent: Intent) -> str | None:
    """Which of the author's prices `order_price` is; None where it is the last one known."""
    return "reference_price" if intent.reference_price else "limit_price" if intent.limit_price else None


def _check_instrument(intent: Intent, market: MarketFacts) -> None:
    if intent.venue is not None and intent.venue != market.venue:
        raise OrderRefused("wrong-venue", f"{intent.symbol} trades on {market.venue}", "venue")
    if not market.tradable:
        raise OrderRefused("not-tradable", f"{intent.symbol} is not tradable now", "symbol")
    if floor_to(intent.qty, market.step) != intent.qty:
        raise OrderRefused("qty-step", f"quantity must be a multiple of {plain(market.step)}", "qty")


def _check_flags(intent: Intent, market: MarketFacts, effect: Effect) -> None:
    bar = barred(market.flags, effect, intent.order_type)
    if bar is not None:
        raise OrderRefused(bar.code.replace("_", "-"), f"{intent.symbol} {bar.reason}", "symbol")


def _check_vault(vault: VaultFacts, effect: Effect) -> None:
    if not vault.open:
        raise OrderRefused("vault-closed", "the vault is closed", "vault_id")
    if vault.maintenance:
        raise OrderRefused("vault-maintenance", "the vault is in maintenance; try again when it is lifted", "vault_id")
    if vault.halt is Halt.HALT_ALL or (vault.halt is not None and effect is Effect.OPEN):
        raise OrderRefused("vault-halted", f"the vault is halted ({vault.halt})", "vault_id")


def _check_limits(intent: Intent, vault: VaultFacts, market: MarketFacts, effect: Effect) -> None:
    if intent.qty > vault.max_order_qty:
        raise OrderRefused("max-qty", f"above the limit of {plain(vault.max_order_qty)} per order", "qty")
    price = order_price(intent, market)
    if effect is Effect.OPEN and price is not None and intent.qty * price > vault.max_order_notional_usd:
        limit = plain(vault.max_order_notional_usd)
        raise OrderRefused("max-notional", f"worth more than the limit of {limit} USD per order", "qty")


def _check_worth(intent: Intent, vault: VaultFacts, market: MarketFacts, now: datetime) -> None:
    """What an open that starts now is sized by."""
    _check_nav(vault)
    _check_price(intent, market, now)
    if intent.side is Side.SELL and not vault.allow_short:
        raise _no_shorts()
    _check_collar(intent, market)


def _no_shorts() -> OrderRefused:
    return OrderRefused("nothing-held", "the vault holds none and its risk profile does not allow shorts", "side")


def _check_nav(vault: VaultFacts) -> None:
    if vault.unpriced:
        reason = f"the vault holds {_listed(vault.unpriced)}, which has no price, so that its NAV is not known"
        raise OrderRefused("missing-nav", reason, "vault_id")
    if vault.nav_usd is None or vault.nav_usd <= 0:
        raise OrderRefused("missing-nav", "the vault has no NAV; opens are refused until it has one", "vault_id")
    if vault.stale:
        reason = f"the price of {_listed(vault.stale)}, which the vault holds, is too old to tell its NAV"
        raise OrderRefused("stale-nav", reason, "vault_id")


def _check_price(intent: Intent, market: MarketFacts, now: datetime) -> None:
    """A price that the author states is as fresh as the order."""
    price = order_price(intent, market)
    if price is None or price <= 0:
        raise OrderRefused(
            "missing-price",
            "no price is known; give meta.reference_price or a limit_price",
            "meta.reference_price",
        )
    if intent.reference_price or intent.limit_price or market.price_asof is None:
        return
    if now - market.price_asof > market.max_price_age:
        raise OrderRefused(
            "stale-price",
            f"the last price is of {market.price_asof.isoformat()}, more than {market.max_price_age} ago; "
            "give meta.reference_price or a limit_price",
            "meta.reference_price",
        )


def _listed(symbols: tuple[str, ...]) -> str:
    shown = ", ".join(symbols[:5])
    return shown if len(symbols) <= 5 else f"{shown} and {len(symbols) - 5} more"


def _check_collar(intent: Intent, market: MarketFacts) -> None:
    """A stated price far from the last known one is a typing error until proven otherwise."""
    for name, stated in (
        ("meta.reference_price", intent.reference_price),
        ("limit_price", intent.limit_price),
    ):
        if stated is None or market.price is None or market.price <= 0:
            continue
        off_bps = abs(stated - market.price) / market.price * 10_000
        if off_bps > market.collar_bps:
            raise OrderRefused(
                "price-collar",
                f"{plain(stated)} is {plain(off_bps.quantize(Decimal(1)))} bps from the last price "
                f"{plain(market.price)}; the collar is {plain(market.collar_bps)} bps",
                name,
            )

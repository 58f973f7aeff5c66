"""How large a follower's child order is (SPEC section 5.3): one pure function, used wherever a size is needed.

Opens are scaled: floor(manager_qty × scale × multiplier) at the instrument's step, then capped on the projected
position. Reductions follow the position: the follower's holding falls by the manager's fraction, and a full exit sells
what is held. Quantities are in units of the instrument, signed positions are long > 0 > short, money is in USD.
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Context, Decimal, localcontext
from enum import StrEnum

from domain.orders import Side

SIZING_VERSION = "1"
# Wide enough that a product of three 20-digit decimals is exact; the ambient context must not matter.
_CONTEXT = Context(prec=60, rounding=ROUND_DOWN)
ZERO = Decimal(0)
WHOLE = Decimal(1)


class Mode(StrEnum):
    PROPORTIONAL = "proportional"
    CAPPED = "capped"
    SHADOW = "shadow"


class Effect(StrEnum):
    """What a manager order does to the vault's position; an order that would do both is refused at admission."""

    OPEN = "open"
    REDUCE = "reduce"


class SkipReason(StrEnum):
    MISSING_PRICE = "missing_price"
    MISSING_CAP = "missing_cap"
    BELOW_MINIMUM = "below_minimum"
    AT_CAP = "at_cap"
    NOTHING_HELD = "nothing_held"
    KILL_SWITCH = "kill_switch"
    NO_ROUTE = "no_route"
    ENDPOINT_DISABLED = "endpoint_disabled"


@dataclass(frozen=True, slots=True)
class Instrument:
    """`qty_step` is the quantity step for whole-unit accounts, `fine_step` for accounts that take fractions."""

    symbol: str
    qty_step: Decimal
    fine_step: Decimal
    min_qty: Decimal
    min_notional: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The manager's order as sizing sees it; `vault_qty` is the vault's signed position before it."""

    side: Side
    qty: Decimal
    effect: Effect
    vault_qty: Decimal
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class FollowerTerms:
    """A follower as frozen in the snapshot; `holding` is the signed mirrored position."""

    mode: Mode
    scale: Decimal
    holding: Decimal
    max_pos_usd: Decimal | None = None
    multiplier: Decimal = WHOLE
    fractional: bool = False
    kill_switch: bool = False


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One factor, cap or rounding: what it did, in numbers and in plain words."""

    rule: str
    value: str
    result: str
    why: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """A size, or a skip with its reason. `trace` lists every step in order."""

    qty: Decimal
    cap_applied: bool
    skip: SkipReason | None
    trace: tuple[TraceStep, ...]


@dataclass(slots=True)
class _Trace:
    steps: list[TraceStep] = field(default_factory=list)

    def add(self, rule: str, value: object, result: Decimal, why: str) -> None:
        self.steps.append(TraceStep(rule, plain(value), plain(result), why))

    def skip(self, reason: SkipReason, why: str) -> Sizing:
        self.steps.append(TraceStep("skip", reason.value, "0", why))
        return Sizing(ZERO, cap_applied=reason is SkipReason.AT_CAP, skip=reason, trace=tuple(self.steps))


def plain(value: object) -> str:
    """A decimal without exponent or trailing zeros; anything else as text."""
    if not isinstance(value, Decimal):
        return str(value)
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def size(order: OrderTerms, follower: FollowerTerms, instrument: Instrument) -> Sizing:
    """The child order's quantity for one follower, with its trace.

    Never raises for a state of the world: what cannot be sized is a skip. Raises ValueError for terms that admission
    must have refused (non-positive quantity or step, a reduction that is larger than the position).
    """
    with localcontext(_CONTEXT):
        _check(order, follower, instrument)
        trace = _Trace()
        if follower.kill_switch:
            return trace.skip(SkipReason.KILL_SWITCH, "the follower's kill switch is on")
        if order.effect is Effect.REDUCE:
            return _reduce(order, follower, instrument, trace)
        return _open(order, follower, instrument, trace)


def _check(order: OrderTerms, follower: FollowerTerms, instrument: Instrument) -> None:
    if order.qty <= 0 or follower.scale < 0 or follower.multiplier < 0:
        raise ValueError("quantity must be positive, scale and multiplier not negative")
    if instrument.qty_step <= 0 or instrument.fine_step <= 0:
        raise ValueError("instrument steps must be positive")
    if order.effect is Effect.REDUCE and order.qty > abs(order.vault_qty):
        raise ValueError("a reduction cannot exceed the vault's position")


def _step(follower: FollowerTerms, instrument: Instrument) -> Decimal:
    return instrument.fine_step if follower.fractional else instrument.qty_step


def floor_to(qty: Decimal, step: Decimal) -> Decimal:
    """`qty` rounded toward zero to a multiple of `step`."""
    return (qty / step).to_integral_value(rounding=ROUND_DOWN) * step


def _open(order: OrderTerms, follower: FollowerTerms, instrument: Instrument, trace: _Trace) -> Sizing:
    step = _step(follower, instrument)
    raw = order.qty * follower.scale * follower.multiplier
    trace.add("manager_qty", order.qty, order.qty, "the manager's quantity")
    trace.add("scale", follower.scale, order.qty * follower.scale, "times the follower's scale")
    trace.add("multiplier", follower.multiplier, raw, "times the persona multiplier")
    qty = floor_to(raw, step)
    trace.add("step", step, qty, "rounded toward zero to the quantity step")
    capped = False
    if follower.max_pos_usd is None and follower.mode is Mode.CAPPED:
        return trace.skip(SkipReason.MISSING_CAP, "mode capped needs max_pos_usd")
    if follower.max_pos_usd is not None:
        if order.price is None or order.price <= 0:
            return trace.skip(SkipReason.MISSING_PRICE, "a cap in USD needs a price above zero, and none is known")
        room = _room(order, follower, order.price)
        limit = floor_to(max(room, ZERO), step)
        if limit < qty:
            qty, capped = limit, True
        why = "units that the projected position may still grow by under max_pos_usd"
        trace.add("max_pos_usd", follower.max_pos_usd, qty, f"{why}: {plain(limit)}")
        if capped and qty == 0:
            return trace.skip(SkipReason.AT_CAP, "the position is at its cap")
    return _finish(qty, order, instrument, trace, capped=capped)


def _room(order: OrderTerms, follower: FollowerTerms, price: Decimal) -> Decimal:
    """Units by which the position may grow in the order's direction until its value reaches the cap."""
    assert follower.max_pos_usd is not None
    return follower.max_pos_usd / price - follower.holding * order.side.sign


def _reduce(order: OrderTerms, follower: FollowerTerms, instrument: Instrument, trace: _Trace) -> Sizing:
    # Only a holding on the side that the order closes counts: a short is not "held" when the manager sells.
    held = max(-follower.holding * order.side.sign, ZERO)
    trace.add("held", follower.holding, held, "what the follower holds on the side being closed")
    if held == 0:
        return trace.skip(SkipReason.NOTHING_HELD, "nothing is held, so there is nothing to reduce")
    if order.qty == abs(order.vault_qty):
        trace.add("full_exit", order.vault_qty, held, "the manager exits in full: all that is held goes")
        return Sizing(held, cap_applied=False, skip=None, trace=tuple(trace.steps))
    raw = held * order.qty / abs(order.vault_qty)
    fraction = f"{plain(order.qty)}/{plain(abs(order.vault_qty))}"
    trace.add("fraction", fraction, raw, "the manager's fraction of the vault's position")
    qty = min(floor_to(raw, _step(follower, instrument)), held)
    trace.add("step", _step(follower, instrument), qty, "rounded toward zero to the quantity step")
    return _finish(qty, order, instrument, trace, capped=False)


def _finish(qty: Decimal, order: OrderTerms, instrument: Instrument, trace: _Trace, *, capped: bool) -> Sizing:
    if qty <= 0 or qty < instrument.min_qty:
        return trace.skip(SkipReason.BELOW_MINIMUM, f"below the minimum quantity {plain(instrument.min_qty)}")
    if order.price is not None and qty * order.price < instrument.min_notional:
        return trace.skip(SkipReason.BELOW_MINIMUM, f"below the minimum of {plain(instrument.min_notional)} USD")
    return Sizing(qty, cap_applied=capped, skip=None, trace=tuple(trace.steps))

"""How large a follower's child order is (SPEC section 5.3): one pure function, used wherever a size is needed.

Opens are scaled: floor(manager_qty × scale × multiplier + residue) at the instrument's step, then capped on the
projected position, orders in flight included. Reductions follow the position: what the follower holds falls by the
manager's fraction, and a full exit sells what is held. No order crosses zero. What rounding leaves over is carried to
the follower's next order in the symbol, so that neither drift nor oscillation builds up. A subscriber's rights decide
whether a follower may open, and never about what reduces.

Quantities are in units of the instrument; signed ones (position, residue, carry) are long > 0 > short; money is in USD.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal, localcontext

from domain.orders import Side
from domain.personas import multiplier
from domain.terms import WHOLE, ZERO, Effect, FollowerTerms, Hedge, Instrument, Mode, OrderTerms, SkipReason
from domain.trace import Trace, TraceStep, plain

__all__ = [
    "Effect", "FollowerTerms", "Hedge", "Instrument", "Mode", "OrderTerms", "Sizing", "SkipReason", "TraceStep",
    "floor_to", "plain", "size",
]  # fmt: skip

SIZING_VERSION = "3"
# Wide enough that a product of three 20-digit decimals is exact; the ambient context must not matter.
CONTEXT = Context(prec=60, rounding=ROUND_DOWN)
_CARRY_STEP = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class Sizing:
    """A size, or a skip with its reason. `trace` lists every step in order.

    `carry` is what this order adds to the follower's residue in the symbol.
    """

    qty: Decimal
    cap_applied: bool
    skip: SkipReason | None
    trace: tuple[TraceStep, ...]
    side: Side = Side.BUY
    carry: Decimal = ZERO


@dataclass(slots=True)
class Draft:
    """An order in the making: what it wants before rounding, and what has been taken from it so far."""

    side: Side
    trace: Trace
    qty: Decimal = ZERO
    carry: Decimal = ZERO
    capped: bool = False
    carries: bool = True

    def limit(self, rule: str, value: object, most: Decimal, why: str) -> bool:
        """Take at most `most`; what a limit takes away is not carried. Whether it took anything."""
        taken = most < self.qty
        if taken:
            self.qty, self.capped, self.carry = max(most, ZERO), True, ZERO
        self.trace.add(rule, value, self.qty, why)
        return taken

    def skip(self, reason: SkipReason, why: str) -> Sizing:
        self.trace.steps.append(TraceStep("skip", reason.value, "0", why))
        capped = reason is SkipReason.AT_CAP
        return Sizing(ZERO, capped, reason, tuple(self.trace.steps), self.side, self.carry)

    def done(self) -> Sizing:
        return Sizing(self.qty, self.capped, None, tuple(self.trace.steps), self.side, self.carry)

    def finish(self, instrument: Instrument, price: Decimal | None) -> Sizing:
        if self.qty <= 0 or self.qty < instrument.min_qty:
            return self._below(f"below the minimum quantity {plain(instrument.min_qty)}")
        if price is not None and self.qty * price < instrument.min_notional:
            return self._below(f"below the minimum of {plain(instrument.min_notional)} USD")
        return self.done()

    def _below(self, why: str) -> Sizing:
        if self.carries and not self.capped:
            self.carry += self.qty * self.side.sign  # not traded after all, so still owed
        return self.skip(SkipReason.BELOW_MINIMUM, why if self.carry == 0 else f"{why}; carried to the next order")


def size(order: OrderTerms, follower: FollowerTerms, instrument: Instrument) -> Sizing:
    """The child order's side and quantity for one follower, with its trace.

    Never raises for a state of the world: what cannot be sized is a skip. Raises ValueError for terms that admission
    must have refused (non-positive quantity or step, a reduction that is larger than the position).
    """
    with localcontext(CONTEXT):
        _check(order, follower, instrument)
        draft = Draft(order.side, Trace())
        if follower.kill_switch:
            return draft.skip(SkipReason.KILL_SWITCH, "the follower's kill switch is on")
        if order.effect is Effect.REDUCE:
            return _reduce(order, follower, instrument, draft)
        return _open(order, follower, instrument, draft)


def _check(order: OrderTerms, follower: FollowerTerms, instrument: Instrument) -> None:
    if order.qty <= 0 or follower.scale < 0 or min(follower.buying, follower.selling) < 0:
        raise ValueError("quantity must be positive, scale and orders under way not negative")
    if instrument.qty_step <= 0 or instrument.fine_step <= 0:
        raise ValueError("instrument steps must be positive")
    if order.effect is Effect.REDUCE and not order.exit and not order.exact and order.qty > abs(order.vault_qty):
        raise ValueError("a reduction cannot exceed the vault's position")


def step_of(follower: FollowerTerms, instrument: Instrument) -> Decimal:
    return instrument.fine_step if follower.fractional else instrument.qty_step


def floor_to(qty: Decimal, step: Decimal) -> Decimal:
    """`qty` rounded toward zero to a multiple of `step`."""
    return (qty / step).to_integral_value(rounding=ROUND_DOWN) * step


def _open(order: OrderTerms, follower: FollowerTerms, instrument: Instrument, draft: Draft) -> Sizing:
    if follower.max_pos_usd is None and follower.mode is Mode.CAPPED:
        return draft.skip(SkipReason.MISSING_CAP, "mode capped needs max_pos_usd")
    _want(order, follower, step_of(follower, instrument), draft)
    if (refused := barred(follower, follower.holding, draft)) is not None:
        return refused
    if (refused := _within_position(follower, draft)) is not None:
        return refused
    if (refused := _within_money(order, follower, step_of(follower, instrument), draft)) is not None:
        return refused
    return draft.finish(instrument, order.price)


def _want(order: OrderTerms, follower: FollowerTerms, step: Decimal, draft: Draft) -> None:
    """Side and quantity before any limit, and the residue that rounding leaves."""
    trace = draft.trace
    trace.add("manager_qty", order.qty, order.qty, "the manager's quantity")
    if order.exact:
        draft.qty = floor_to(order.qty, step)
        trace.add("step", step, draft.qty, "a correction; rounded toward zero to the quantity step")
        return
    trace.add("scale", follower.scale, order.qty * follower.scale, "times the follower's scale")
    factor = multiplier(follower.character, order.score, dict(order.overrides), trace)
    asked = order.qty * follower.scale * factor * order.side.sign
    trace.add("multiplier", factor, abs(asked), "times the persona multiplier")
    if asked * order.side.sign < 0:
        draft.side = Side.SELL if order.side is Side.BUY else Side.BUY
        trace.add("inverted", draft.side.value, abs(asked), "the persona takes the other side")
    wanted = max((asked + follower.residue) * draft.side.sign, ZERO)
    if follower.residue != 0:
        why = "what rounding has left over from earlier orders"
        trace.add("residue", follower.residue * draft.side.sign, wanted, why)
    draft.qty = floor_to(wanted, step)
    trace.add("step", step, draft.qty, "rounded toward zero to the quantity step")
    draft.carry = _carry(asked - draft.qty * draft.side.sign)


def barred(follower: FollowerTerms, holding: Decimal, draft: Draft) -> Sizing | None:
    """By the subscriber's rights, unless it closes some of `holding` of its symbol: that passes whatever they are."""
    if holding * draft.side.sign < 0 or not (follower.close_only or follower.lacks):
        return None
    draft.carry = ZERO
    if follower.close_only:
        return draft.skip(SkipReason.CLOSE_ONLY, "the subscription allows reductions only")
    return draft.skip(SkipReason.NOT_ENTITLED, follower.lacks)


def _within_position(follower: FollowerTerms, draft: Draft) -> Sizing | None:
    """No order crosses zero, and none opens a short where the follower wants none."""
    opposite = -follower.holding * draft.side.sign
    if opposite > 0:
        free = max(opposite - follower.ahead(draft.side), ZERO)
        if draft.qty > free:
            draft.limit("no_crossing", follower.holding, free, "closes what is held on the other side, and no more")
            if free == 0:
                return draft.skip(SkipReason.NOTHING_HELD, "orders under way already close what is held")
    elif draft.side is Side.SELL and not follower.allow_short:
        draft.carry = ZERO
        return draft.skip(SkipReason.SHORT_NOT_ALLOWED, "it would open a short, which the follower does not allow")
    return None


def _within_money(order: OrderTerms, follower: FollowerTerms, step: Decimal, draft: Draft) -> Sizing | None:
    """The cap on the projected position, then what the account can pay."""
    cap, funds = follower.max_pos_usd, follower.funds_usd
    if follower.holding * draft.side.sign < 0:
        funds = None  # closing costs nothing
    if cap is None and funds is None:
        return None
    if order.price is None or order.price <= 0:
        draft.carry = ZERO
        return draft.skip(SkipReason.MISSING_PRICE, "a limit in USD needs a price above zero, and none is known")
    if cap is not None:
        persona = follower.character.in_force()
        if persona is not None and persona.cap_factor != 1:
            cap *= persona.cap_factor
        room = floor_to(max(_room(cap / order.price, follower, draft.side), ZERO), step)
        why = "units that the projected position may still grow by under max_pos_usd"
        if draft.limit("max_pos_usd", cap, room, f"{why}: {plain(room)}") and draft.qty == 0:
            return draft.skip(SkipReason.AT_CAP, "the position is at its cap")
    if funds is not None:
        payable = floor_to(max(funds, ZERO) / order.price, step)
        why = "what the account can pay for, orders under way already paid"
        if draft.limit("funds_usd", funds, payable, why) and draft.qty == 0:
            return draft.skip(SkipReason.NO_FUNDS, "the account has no free money for it")
    return None


def _room(cap_qty: Decimal, follower: FollowerTerms, side: Side) -> Decimal:
    """Units by which the position may grow on this side until its value reaches the cap, orders under way counted."""
    return cap_qty - follower.holding * side.sign - follower.ahead(side)


def _reduce(order: OrderTerms, follower: FollowerTerms, instrument: Instrument, draft: Draft) -> Sizing:
    """A follower may hold the other side of the vault's position (a contrarian does): it falls by the same fraction."""
    trace, held = draft.trace, abs(follower.holding)
    if follower.holding != 0:
        draft.side = Side.SELL if follower.holding > 0 else Side.BUY
    sign = -draft.side.sign  # of the position that is closed
    free = max(held - follower.ahead(draft.side), ZERO)
    trace.add("held", follower.holding, free, "what the follower holds and no order under way is closing")
    if order.exact:
        draft.qty = min(order.qty, free) if draft.side is order.side else ZERO
        trace.add("correction", order.qty, draft.qty, "exactly this, but never more than is held")
        return draft.done() if draft.qty > 0 else draft.skip(SkipReason.NOTHING_HELD, "nothing is left to correct")
    full = order.exit or order.qty == abs(order.vault_qty)
    fraction = WHOLE if full else order.qty / abs(order.vault_qty)
    if free == 0:
        draft.carry = _carry(-follower.residue * fraction)
        return draft.skip(SkipReason.NOTHING_HELD, "nothing is held, so there is nothing to reduce")
    if full:
        draft.qty, draft.carry = free, -follower.residue
        trace.add("full_exit", order.vault_qty, free, "the manager exits in full: all that is held goes")
        return draft.done()
    _reduce_in_part(order, follower, step_of(follower, instrument), draft, free, sign)
    return draft.finish(instrument, order.price)


def _reduce_in_part(
    order: OrderTerms, follower: FollowerTerms, step: Decimal, draft: Draft, free: Decimal, sign: int
) -> None:
    # What is being bought belongs to the position that the manager reduces, though only what is held can be sold.
    opening = follower.ahead(Side.BUY if sign > 0 else Side.SELL)
    base, residue, vault = free + opening, follower.residue * sign, abs(order.vault_qty)
    falls = (base + residue) * order.qty / vault
    words = f"{plain(order.qty)}/{plain(vault)}"
    draft.trace.add("fraction", words, base * order.qty / vault, "the manager's fraction of the vault's position")
    wanted = falls - residue
    if residue != 0:
        draft.trace.add("residue", residue, max(wanted, ZERO), "what rounding has left over from earlier orders")
    draft.qty = floor_to(max(wanted, ZERO), step)
    draft.trace.add("step", step, draft.qty, "rounded toward zero to the quantity step")
    # The residue is what the position should be (it falls with the manager's) less what it will be.
    draft.carry = _carry((draft.qty - falls) * sign)
    if draft.qty > free:
        draft.limit("held", free, free, "no more than is held")


def _carry(amount: Decimal) -> Decimal:
    return amount.quantize(_CARRY_STEP, rounding=ROUND_DOWN)

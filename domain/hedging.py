"""The hedge leg of a hedged persona: with an open a part of its value on the other side, unwound as the position falls.

`domain.sizing.size` has sized the order itself; this sizes what goes with it. Units are the hedge instrument's.
"""

from decimal import localcontext

from domain.orders import Side
from domain.sizing import CONTEXT, Draft, Sizing, barred, floor_to, step_of
from domain.terms import ZERO, Effect, FollowerTerms, Hedge, OrderTerms, SkipReason
from domain.trace import Trace, plain


def hedge_leg(order: OrderTerms, follower: FollowerTerms, main: Sizing) -> Sizing | None:
    """The second leg, or None where there is nothing to hedge or to unwind. A leg that cannot be sized is a skip."""
    hedge = order.hedge
    if hedge is None or main.qty == 0 or order.exact:
        return None
    with localcontext(CONTEXT):
        if order.effect is Effect.REDUCE or main.side is not order.side:
            return _unwind(hedge, follower, main) if follower.hedge_qty != 0 else None
        persona = follower.character.in_force()
        return _add(order, hedge, follower, main) if persona is not None and persona.hedges else None


def _add(order: OrderTerms, hedge: Hedge, follower: FollowerTerms, main: Sizing) -> Sizing:
    side = Side.SELL if main.side is Side.BUY else Side.BUY
    draft = Draft(side, Trace(), carries=False)
    if (refused := barred(follower, follower.hedge_holding, draft)) is not None:
        return refused
    if order.price is None or hedge.price is None or hedge.price <= 0:
        return draft.skip(SkipReason.MISSING_PRICE, f"no price of the hedge {hedge.instrument.symbol} is known")
    value = main.qty * order.price
    draft.trace.add("hedged", value, main.qty, "the value in USD of the order that is hedged")
    raw = value * hedge.ratio / hedge.price
    draft.trace.add("hedge_ratio", hedge.ratio, raw, f"times the vault's hedge ratio, in {hedge.instrument.symbol}")
    draft.qty = floor_to(raw, step_of(follower, hedge.instrument))
    draft.trace.add("step", step_of(follower, hedge.instrument), draft.qty, "rounded toward zero to the quantity step")
    opposite = -follower.hedge_holding * side.sign
    if opposite > 0:
        draft.limit("no_crossing", follower.hedge_holding, opposite, "closes what is held on the other side at most")
    elif side is Side.SELL and not follower.allow_short:
        return draft.skip(SkipReason.SHORT_NOT_ALLOWED, "the hedge would be a short, which the follower does not allow")
    return draft.finish(hedge.instrument, hedge.price)


def _unwind(hedge: Hedge, follower: FollowerTerms, main: Sizing) -> Sizing:
    """What is held against the symbol falls as the follower's position does; a full exit unwinds all of it."""
    side = Side.SELL if follower.hedge_qty > 0 else Side.BUY
    draft = Draft(side, Trace(), carries=False)
    held = min(abs(follower.hedge_qty), max(-follower.hedge_holding * side.sign, ZERO))
    draft.trace.add("hedge_held", follower.hedge_qty, held, "what is held against the position")
    if held == 0:
        return draft.skip(SkipReason.NOTHING_HELD, "the hedge is not held any more")
    before = abs(follower.holding)
    if main.qty >= before:
        draft.qty = held
        draft.trace.add("full_exit", before, held, "the position is closed, and with it its hedge")
        return draft.done()
    raw = held * main.qty / before
    draft.trace.add("fraction", f"{plain(main.qty)}/{plain(before)}", raw, "the fraction by which the position falls")
    draft.qty = floor_to(raw, step_of(follower, hedge.instrument))
    draft.trace.add("step", step_of(follower, hedge.instrument), draft.qty, "rounded toward zero to the quantity step")
    return draft.finish(hedge.instrument, hedge.price)

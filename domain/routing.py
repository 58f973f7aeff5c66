"""How an order is paid for: which money is changed before it, USD⇄USDC⇄asset. Pure.

Amounts are in units of their currency. USD and USDC are changed at par less the venue's fee; what the venue really
gives is known from its quote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from domain.errors import IllegalTransition
from domain.orders import Side
from domain.sizing import plain

CENT = Decimal("0.01")
ZERO = Decimal(0)
_BPS = Decimal(10_000)
_PAIR = {"USD": "USDC", "USDC": "USD"}


class LegKind(StrEnum):
    CONVERT = "convert"
    TRADE = "trade"


class LegState(StrEnum):
    """Of a conversion. `committing` means that it may have been carried out: only the venue knows.

    A trade is told of by the follower order itself; its leg stays `planned`.
    """

    PLANNED = "planned"
    QUOTED = "quoted"  # its reference is known and stored; nothing has moved
    COMMITTING = "committing"
    DONE = "done"
    FAILED = "failed"


_S = LegState
LEG_TRANSITIONS: dict[LegState, frozenset[LegState]] = {
    _S.PLANNED: frozenset({_S.QUOTED, _S.FAILED}),
    _S.QUOTED: frozenset({_S.COMMITTING, _S.FAILED}),
    _S.COMMITTING: frozenset({_S.DONE, _S.FAILED}),
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),  # a redrive plans anew, from what the account holds then
}


def check_leg(source: LegState, target: LegState) -> None:
    """Raise IllegalTransition unless the table has it."""
    if target not in LEG_TRANSITIONS[source]:
        raise IllegalTransition("order_leg", source, target)


@dataclass(frozen=True, slots=True)
class RoutingTerms:
    """What is reckoned with before the venue has said it; all in basis points.

    `slippage_bps`: how much more a market order may cost than its price says. `max_depeg_bps`: how far USDC may be from
    1 USD for money to be changed.
    """

    conversion_fee_bps: Decimal = ZERO
    trade_fee_bps: Decimal = Decimal(120)
    slippage_bps: Decimal = Decimal(100)
    max_depeg_bps: Decimal = Decimal(50)


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """An order and the account that is to pay for it.

    `price` is the limit where there is one, else the best that is known, in `quote_currency` and above zero. `balances`
    are what may be spent, by currency. `peg` is the price of USDC in USD; None where none is known.
    """

    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    limited: bool
    quote_currency: str
    balances: Mapping[str, Decimal]
    converts: bool
    peg: Decimal | None


@dataclass(frozen=True, slots=True)
class Leg:
    """`amount` of `source` is given at most, for `expected` of `target`; the order cannot do with less than `least`.

    `fee` is an estimate, in the trade's quote currency.
    """

    leg_no: int
    kind: LegKind
    source: str
    target: str
    amount: Decimal
    expected: Decimal
    least: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class Plan:
    """The legs in their order; the last is the trade."""

    legs: tuple[Leg, ...]

    @property
    def fee(self) -> Decimal:
        return sum((leg.fee for leg in self.legs), ZERO)

    @property
    def conversions(self) -> tuple[Leg, ...]:
        return tuple(leg for leg in self.legs if leg.kind is LegKind.CONVERT)


@dataclass(frozen=True, slots=True)
class NoPlan:
    """`code`: depegged, peg_unknown, insufficient_funds or no_route; `reason` is for people."""

    code: str
    reason: str


def plan(facts: RouteFacts, terms: RoutingTerms) -> Plan | NoPlan:
    """Change what the order lacks and no more; nothing is changed for an order that can be sent without.

    An order needs its cost and fee (`_least`); a market order is given some more, as far as there is money for that.
    """
    if facts.side is Side.SELL:
        return Plan((_sale(facts, terms),))
    least, wanted = _least(facts, terms), _wanted(facts, terms)
    have = max(facts.balances.get(facts.quote_currency, ZERO), ZERO)
    if have >= wanted:
        return Plan((_purchase(facts, terms, 1, wanted),))
    conversion = _conversion(facts, terms, _up(wanted - have), max(least - have, ZERO))
    if conversion is not None and conversion.expected >= conversion.least:
        unsafe = _unsafe(facts, terms)
        if unsafe is None:
            budget = min(have + conversion.expected, wanted)
            return Plan((conversion, _purchase(facts, terms, 2, budget)))
        if have < least:
            return unsafe
    if have >= least:
        return Plan((_purchase(facts, terms, 1, have),))
    return _too_poor(facts, least, have)


def direct(facts: RouteFacts, terms: RoutingTerms) -> Plan:
    """The order alone, without a look at the account's money."""
    if facts.side is Side.SELL:
        return Plan((_sale(facts, terms),))
    return Plan((_purchase(facts, terms, 1, _wanted(facts, terms)),))


def quote_of(symbol: str) -> str:
    """The currency that a product's id names: `USDC` of `BTC-USDC`; else USD."""
    return symbol.rpartition("-")[2] if "-" in symbol else "USD"


def quote_fault(leg: Leg, received: Decimal, fee: Decimal, terms: RoutingTerms) -> str | None:
    """Why a venue's quote for a conversion is not taken; None where it is."""
    rate = (received + fee) / leg.amount
    if abs(rate - 1) * _BPS > terms.max_depeg_bps:
        return f"the venue gives {plain(rate.quantize(Decimal('0.0001')))} {leg.target} for 1 {leg.source}"
    if received < leg.least:
        gives = f"the venue gives {money(received, leg.target)} for {money(leg.amount, leg.source)}"
        return f"{gives}, and {money(leg.least, leg.target)} are needed"
    return None


def money(amount: Decimal, currency: str) -> str:
    """For people: to the cent, with the thousands told apart."""
    return f"{amount:,.2f} {currency}"


def leg_id(fo_id: str, number: int, leg_no: int) -> str:
    """The id of a leg of an order's plan: at most 48 characters of `[A-Za-z0-9-]`."""
    return f"{fo_id}-{number}-{leg_no}"


def _least(facts: RouteFacts, terms: RoutingTerms) -> Decimal:
    return _up(facts.qty * facts.price * _more(terms.trade_fee_bps))


def _wanted(facts: RouteFacts, terms: RoutingTerms) -> Decimal:
    slack = ZERO if facts.limited else terms.slippage_bps
    return _up(facts.qty * facts.price * _more(slack) * _more(terms.trade_fee_bps))


def _conversion(facts: RouteFacts, terms: RoutingTerms, missing: Decimal, least: Decimal) -> Leg | None:
    """As much of what is missing as the other currency gives; None where nothing can be changed."""
    source = _PAIR.get(facts.quote_currency)
    if source is None or not facts.converts:
        return None
    kept = 1 - terms.conversion_fee_bps / _BPS
    amount = min(_up(missing / kept), _down(facts.balances.get(source, ZERO)))
    received = _down(amount * kept)
    if received <= 0:
        return None
    return Leg(1, LegKind.CONVERT, source, facts.quote_currency, amount, received, least, amount - received)


def _purchase(facts: RouteFacts, terms: RoutingTerms, leg_no: int, budget: Decimal) -> Leg:
    fee = _up(facts.qty * facts.price * terms.trade_fee_bps / _BPS)
    return Leg(leg_no, LegKind.TRADE, facts.quote_currency, asset(facts), budget, facts.qty, facts.qty, fee)


def _sale(facts: RouteFacts, terms: RoutingTerms) -> Leg:
    """A sale needs no money."""
    value = facts.qty * facts.price
    fee = _up(value * terms.trade_fee_bps / _BPS)
    slack = ZERO if facts.limited else terms.slippage_bps
    least = _down(max(value * (1 - slack / _BPS) - fee, ZERO))
    return Leg(1, LegKind.TRADE, asset(facts), facts.quote_currency, facts.qty, least, least, fee)


def asset(facts: RouteFacts) -> str:
    """`BTC` of `BTC-USDC`."""
    return facts.symbol.removesuffix(f"-{facts.quote_currency}")


def _unsafe(facts: RouteFacts, terms: RoutingTerms) -> NoPlan | None:
    if facts.peg is None:
        return NoPlan("peg_unknown", "no present price of USDC in USD is known, so no money is changed")
    off = abs(facts.peg - 1) * _BPS
    if off <= terms.max_depeg_bps:
        return None
    most = plain(terms.max_depeg_bps)
    return NoPlan(
        "depegged",
        f"USDC is at {plain(facts.peg)} USD, {plain(off.quantize(CENT))} bps off its peg; "
        f"beyond {most} bps no money is changed",
    )


def _too_poor(facts: RouteFacts, least: Decimal, have: Decimal) -> NoPlan:
    needs = f"the order needs {money(least, facts.quote_currency)}, and the account has"
    others = {name: left for name, left in facts.balances.items() if left > 0 and name in _PAIR}
    others.pop(facts.quote_currency, None)
    rest = "".join(f" and {money(left, name)}" for name, left in sorted(others.items()))
    reason = f"{needs} {money(have, facts.quote_currency)}{rest}"
    if others and (facts.quote_currency not in _PAIR or not facts.converts):
        return NoPlan("no_route", f"{reason}, which cannot be changed there")
    return NoPlan("insufficient_funds", reason)


def _more(bps: Decimal) -> Decimal:
    return 1 + bps / _BPS


def _up(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_CEILING)


def _down(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_FLOOR)

"""What was changed for an order, leg by leg, and where the money is. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from domain.orders import FOLLOWER_ENDS, FollowerState
from domain.routing import LegKind, LegState, money
from domain.sizing import plain

Row = Mapping[str, Any]


def sentences(legs: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """A sentence for each leg, oldest plan first; a plan that another has replaced says so."""
    newest = max((leg["plan"] for leg in legs), default=0)
    for leg in legs:
        of = max(other["leg_no"] for other in legs if other["plan"] == leg["plan"])
        replaced = "" if leg["plan"] == newest else " (of a plan that was replaced)"
        yield leg, f"Leg {leg['leg_no']} of {of}{replaced}: {told(leg, leg['state'])}"


def told(leg: Row, state: str) -> str:
    """What a leg in this state has come to, as a sentence's end. `leg` is a row or an audit event's payload."""
    gives = money(Decimal(str(leg["amount"])), leg["source"])
    if leg["kind"] == LegKind.TRADE:
        return _trade(leg, gives)
    known = leg["expected"] if leg["received"] is None else leg["received"]
    takes = money(Decimal(str(known)), leg["target"])
    fee = f"for a fee of {money(Decimal(str(leg['fee'])), leg['target'])}"
    if state == LegState.FAILED:
        return f"{gives} were not changed into {leg['target']}: {leg['reason']}."
    return {
        LegState.PLANNED: f"{gives} are to be changed into {takes}.",
        LegState.QUOTED: f"the venue offers {takes} for {gives}, {fee}.",
        LegState.COMMITTING: f"{gives} are being changed into {takes}.",
        LegState.DONE: f"{gives} were changed into {takes}, {fee}.",
    }[LegState(state)]


def _trade(leg: Row, most: str) -> str:
    if leg["received"] is None:
        return f"the order itself, for at most {most}."
    got = f"{plain(Decimal(str(leg['received'])))} {leg['target']}"
    return f"the order itself brought {got}, for a fee of {money(Decimal(str(leg['fee'])), leg['source'])}."


def left(order: Row, legs: Sequence[Row]) -> str | None:
    """Where the money is that was changed for an order which is over without having spent it; None: there is none."""
    done = [leg for leg in legs if leg["state"] == LegState.DONE]
    if not done or order["state"] not in FOLLOWER_ENDS or order["state"] == FollowerState.CONFIRMED:
        return None
    got = sum((Decimal(str(leg["received"])) for leg in done), Decimal(0))
    filled = Decimal(str(order["filled_qty"]))
    if filled <= 0:
        return f"The account holds {money(got, done[0]['target'])} that were changed for it."
    spent = filled * Decimal(str(order["avg_price"] or 0))
    rest = money(max(got - spent, Decimal(0)), done[0]["target"])
    return f"Of the {money(got, done[0]['target'])} that were changed for it, the account holds about {rest}."

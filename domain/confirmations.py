"""What a follower's signed callback means for its order (SPEC sections 5.5 and 6). Pure.

A callback tells fills, how the order ended, or both. Fills are known by their ids, so that telling one again, in an
answer or a callback, books nothing; an end that is known already is no contradiction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.dispatch import Change, NewFill, PendingOrder
from domain.errors import Conflict, InvalidInput
from domain.orders import FOLLOWER_ENDS, FollowerState
from domain.ports import ReportedFill
from domain.sizing import plain

SOURCE = "callback"
_F = FollowerState
# The attempt's answer may be under way yet, or lost: who calls back has the order.
_WITH_THE_FOLLOWER = frozenset({_F.SENT, _F.RETRY, _F.UNKNOWN, _F.ACK, _F.PARTIALLY_FILLED})


class Final(StrEnum):
    """How the follower says that his order ended. What was filled before it was rejected stays filled."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """`confirmation_id` is the callback's own id; `executed_at` are the follower's times of his fills, by fill id."""

    confirmation_id: str
    fills: tuple[ReportedFill, ...] = ()
    final: Final | None = None
    reason: str = ""
    executed_at: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class BookedFill:
    qty: Decimal
    price: Decimal | None


def booked_id(fo_id: str, fill_id: str) -> str:
    """The id that a follower's fill is booked under, whichever way he tells it."""
    return f"{fo_id}:{fill_id}"


def confirmed(order: PendingOrder, told: Confirmation, booked: Mapping[str, BookedFill]) -> Change:
    """The order's change; its path is empty where nothing of this is new. `booked`: the order's fills by their ids.

    Raises InvalidInput where more was filled than was ordered, or the end does not go with the fills; Conflict where
    what is said contradicts what is known.
    """
    fills = _new(order, told, booked)
    if order.state in FOLLOWER_ENDS:
        _check_same_end(order, told, fills)
        return Change(order.fo_id, order.state)
    if order.state not in _WITH_THE_FOLLOWER:
        raise Conflict("order-not-sent", f"the order is {order.state}: it has not been sent", "fo_id")
    filled = order.filled_qty + sum((fill.qty for fill in fills), Decimal(0))
    _check_sum(order, told, filled)
    if told.final is Final.CONFIRMED and not filled:
        # As with a bare 2xx: all of it, at the price of the order's snapshot.
        fills, filled = [NewFill(booked_id(order.fo_id, "ack"), order.qty, order.price, "ack")], order.qty
    path = _path(order, told, filled, news=bool(fills))
    detail: dict[str, Any] = {"code": SOURCE, "confirmation_id": told.confirmation_id}
    if told.executed_at:
        detail["executed_at"] = dict(told.executed_at)
    return Change(
        order.fo_id,
        order.state,
        path,
        reason=(told.reason or "rejected_by_follower") if path and path[-1] in {_F.REJECTED, _F.CANCELLED} else None,
        filled_qty=filled if fills else None,
        avg_price=_average(order, fills, filled) if fills else None,
        fills=tuple(fills),
        detail=detail,
    )


def _new(order: PendingOrder, told: Confirmation, booked: Mapping[str, BookedFill]) -> list[NewFill]:
    new = []
    for fill in told.fills:
        fill_id = booked_id(order.fo_id, fill.fill_id)
        known = booked.get(fill_id)
        if known is None:
            new.append(NewFill(fill_id, fill.qty, fill.price, SOURCE))
        elif (known.qty, known.price) != (fill.qty, fill.price):
            raise Conflict("fill-differs", f"the fill {fill.fill_id} is booked with another qty or price", "fills")
    return new


def _check_same_end(order: PendingOrder, told: Confirmation, news: Sequence[NewFill]) -> None:
    same = {
        None: True,
        Final.CONFIRMED: order.state is _F.CONFIRMED,
        Final.REJECTED: order.state in {_F.REJECTED, _F.CANCELLED},
    }
    if news or not same[told.final]:
        raise Conflict("order-ended", f"the order is over: {order.state}", "fo_id")


def _check_sum(order: PendingOrder, told: Confirmation, filled: Decimal) -> None:
    words = f"{plain(filled)} of {plain(order.qty)}"
    if filled > order.qty:
        raise InvalidInput("fills", f"come to {words}: more than was ordered")
    if told.final is Final.CONFIRMED and 0 < filled < order.qty:
        raise InvalidInput("status", f"the fills come to {words}: tell the rest, or that it is rejected")
    if told.final is Final.REJECTED and filled == order.qty:
        raise InvalidInput("status", f"the fills come to {words}: there is nothing left to reject")


def _path(order: PendingOrder, told: Confirmation, filled: Decimal, *, news: bool) -> tuple[FollowerState, ...]:
    # What was taken for absent is there after all.
    steps = [_F.UNKNOWN] if order.state is _F.RETRY else []
    if told.final is Final.REJECTED and not filled:
        return (*steps, _F.REJECTED)
    if order.state not in {_F.ACK, _F.PARTIALLY_FILLED} and (news or told.final):
        steps.append(_F.ACK)
    if filled == order.qty:
        return (*steps, _F.CONFIRMED)
    if news:
        steps.append(_F.PARTIALLY_FILLED)
    if told.final is Final.REJECTED:
        # Who rejects what he had begun to fill has in effect cancelled the rest.
        return (*steps, _F.CANCELLED)
    return tuple(steps) if news else ()


def _average(order: PendingOrder, fills: Sequence[NewFill], filled: Decimal) -> Decimal | None:
    """None where a price is unknown."""
    if order.filled_qty and order.avg_price is None:
        return None
    value = order.filled_qty * (order.avg_price or 0)
    for fill in fills:
        if fill.price is None:
            return None
        value += fill.qty * fill.price
    return value / filled

"""Follower orders rebuilt from their audit events alone (SPEC section 10); must equal what the database says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.orders import FollowerState, check_follower

FILL = "fill"
# What is told of an order without changing it.
NOTES = frozenset({"redrive_refused", "dead_letter_purged"})
_STARTS = frozenset({FollowerState.SIZED, FollowerState.SKIPPED, FollowerState.SHADOWED, FollowerState.KILLED})


@dataclass(slots=True)
class RebuiltOrder:
    """One follower order. `states` is its whole path, `booked` the sum of its fill events."""

    fo_id: str
    mo_id: str
    follower_id: str
    vault_id: str
    symbol: str
    side: str
    qty: Decimal
    cap_applied: bool
    route: str
    trace: list[dict[str, str]]
    states: list[FollowerState]
    reason: str | None
    dispatch_attempts: int = 0
    last_error: str | None = None
    broker_order_ref: str | None = None
    filled_qty: Decimal = field(default=Decimal(0))
    avg_price: Decimal | None = None
    booked: Decimal = field(default=Decimal(0))

    @property
    def state(self) -> FollowerState:
        return self.states[-1]


def rebuild(events: Iterable[Mapping[str, Any]]) -> dict[str, RebuiltOrder]:
    """Follower orders by `fo_id`, from audit events in the order of `event_id`; other entities' events are passed over.

    Raises IllegalTransition, and ValueError where the log has a gap: no first event, or an event that does not follow
    the one before it.
    """
    orders: dict[str, RebuiltOrder] = {}
    for event in events:
        if event["entity"] != "follower_order" or event["action"] in NOTES:
            continue
        fo_id, payload = event["entity_id"], event["payload"]
        order = orders.get(fo_id)
        if order is None:
            orders[fo_id] = _first(event)
        elif event["action"] == FILL:
            order.booked += Decimal(payload["qty"])
            if "filled_qty" in payload:  # booked after the order was over, so that no change of state says it
                _fill(order, payload)
        else:
            _move(order, FollowerState(event["action"]), payload)
    return orders


def _first(event: Mapping[str, Any]) -> RebuiltOrder:
    payload = event["payload"]
    if event["action"] not in _STARTS:
        raise ValueError(f"{event['entity_id']}: the log begins with {event['action']}")
    return RebuiltOrder(
        fo_id=event["entity_id"],
        mo_id=event["mo_id"],
        follower_id=payload["follower_id"],
        vault_id=payload["vault_id"],
        symbol=payload["symbol"],
        side=payload["side"],
        qty=Decimal(payload["qty"]),
        cap_applied=payload["cap_applied"],
        route=payload["route"],
        trace=payload["trace"],
        states=[FollowerState(event["action"])],
        reason=payload["reason"],
    )


def _move(order: RebuiltOrder, target: FollowerState, payload: Mapping[str, Any]) -> None:
    if payload["from"] != order.state:
        raise ValueError(f"{order.fo_id}: a change from {payload['from']} follows {order.state}")
    check_follower(order.state, target)
    order.states.append(target)
    order.reason = payload["reason"]
    order.dispatch_attempts = payload["dispatch_attempts"]
    order.last_error = payload["last_error"]
    _fill(order, payload)


def _fill(order: RebuiltOrder, payload: Mapping[str, Any]) -> None:
    order.broker_order_ref = payload["broker_order_ref"]
    order.filled_qty = Decimal(payload["filled_qty"])
    order.avg_price = None if payload["avg_price"] is None else Decimal(payload["avg_price"])

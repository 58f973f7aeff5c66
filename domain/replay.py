"""Follower orders rebuilt from their audit events alone (SPEC section 10); must equal what the database says.

With them everything that is summed up from orders: what each follower holds, and what rounding still owes it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.orders import FollowerState, Side, check_follower

FILL = "fill"
# What is told of an order without changing it.
NOTES = frozenset({"redrive_refused", "dead_letter_purged"})
_STARTS = frozenset({FollowerState.SIZED, FollowerState.SKIPPED, FollowerState.SHADOWED, FollowerState.KILLED})


_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RebuiltFill:
    """`qty` and `price` are this fill's own; `price` is None where nobody knew one."""

    fill_id: str
    qty: Decimal
    price: Decimal | None
    side: str
    source: str


@dataclass(slots=True)
class RebuiltOrder:
    """One follower order. `states` is its whole path.

    `leg` 1 is a hedge; `carry` is what the order added to its follower's residue; `redriven` are the dead letters that
    sent it again, and `attempts_base` is how many attempts there had been when the last of them did.
    """

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
    leg: int = 0
    carry: Decimal = field(default=_ZERO)
    dispatch_attempts: int = 0
    attempts_base: int = 0
    redriven: list[int] = field(default_factory=list)
    last_error: str | None = None
    broker_order_ref: str | None = None
    filled_qty: Decimal = field(default=_ZERO)
    avg_price: Decimal | None = None
    fills: list[RebuiltFill] = field(default_factory=list)

    @property
    def booked(self) -> Decimal:
        """The sum of its fill events."""
        return sum((fill.qty for fill in self.fills), _ZERO)

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
            order.fills.append(_booked(payload))
            if "filled_qty" in payload:  # booked after the order was over, so that no change of state says it
                _fill(order, payload)
        else:
            _move(order, FollowerState(event["action"]), payload)
    return orders


def holdings(orders: Iterable[RebuiltOrder]) -> dict[tuple[str, str], Decimal]:
    """What their fills leave each follower of each symbol, signed; zeros are left out.

    What reconciliation has taken over from an account is an event of the follower and not of an order: it is not here.
    """
    held: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for order in orders:
        for fill in order.fills:
            held[order.follower_id, order.symbol] += fill.qty * Side(fill.side).sign
    return {key: qty for key, qty in held.items() if qty != 0}


def residues(orders: Iterable[RebuiltOrder]) -> dict[tuple[str, str], Decimal]:
    """What rounding owes each follower of each symbol, signed; zeros are left out."""
    owed: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for order in orders:
        owed[order.follower_id, order.symbol] += order.carry
    return {key: qty for key, qty in owed.items() if qty != 0}


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
        # Events from before there were hedges and residues do not have them.
        leg=payload.get("leg", 0),
        carry=Decimal(payload.get("carry", 0)),
    )


def _move(order: RebuiltOrder, target: FollowerState, payload: Mapping[str, Any]) -> None:
    if payload["from"] != order.state:
        raise ValueError(f"{order.fo_id}: a change from {payload['from']} follows {order.state}")
    check_follower(order.state, target)
    order.states.append(target)
    order.reason = payload["reason"]
    order.dispatch_attempts = payload["dispatch_attempts"]
    if "redriven_by" in payload:
        order.redriven.append(payload["dead_letter_id"])
        order.attempts_base = order.dispatch_attempts
    order.last_error = payload["last_error"]
    _fill(order, payload)


def _fill(order: RebuiltOrder, payload: Mapping[str, Any]) -> None:
    order.broker_order_ref = payload["broker_order_ref"]
    order.filled_qty = Decimal(payload["filled_qty"])
    order.avg_price = None if payload["avg_price"] is None else Decimal(payload["avg_price"])


def _booked(payload: Mapping[str, Any]) -> RebuiltFill:
    price = None if payload["price"] is None else Decimal(payload["price"])
    return RebuiltFill(payload["fill_id"], Decimal(payload["qty"]), price, payload["side"], payload["source"])

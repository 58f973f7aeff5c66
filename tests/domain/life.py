"""What the store does with a Change, in memory."""

from dataclasses import replace

from domain.dispatch import Change, NewFill, PendingOrder
from domain.orders import FollowerState


def follow(
    order: PendingOrder, change: Change, booked: dict[str, NewFill], states: list[FollowerState]
) -> PendingOrder:
    """The order after the change; its fills go to `booked` once per fill id, the states it passed to `states`."""
    assert change.source is order.state
    if not change.path:
        return order
    states.extend(change.path)
    for fill in change.fills:
        booked.setdefault(fill.fill_id, fill)
    return replace(
        order,
        state=change.target,
        attempts=order.attempts if change.attempts is None else change.attempts,
        last_error=change.last_error or order.last_error,
        broker_order_ref=change.broker_order_ref or order.broker_order_ref,
        filled_qty=order.filled_qty if change.filled_qty is None else change.filled_qty,
        avg_price=order.avg_price if change.avg_price is None else change.avg_price,
    )

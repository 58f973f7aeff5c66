from decimal import Decimal
from typing import Any

import pytest

from domain.errors import IllegalTransition
from domain.orders import FollowerState
from domain.replay import rebuild

F = FollowerState
FIRST = {
    "follower_id": "F_1", "vault_id": "V_1", "symbol": "AAPL", "side": "buy", "qty": "10", "cap_applied": False,
    "route": "webhook", "trace": [], "reason": None,
}  # fmt: skip


def _event(action: str, payload: dict[str, Any], entity: str = "follower_order") -> dict[str, Any]:
    return {"entity": entity, "entity_id": "FO-1", "action": action, "mo_id": "M-1", "payload": payload}


def _move(source: str, target: str, **payload: Any) -> dict[str, Any]:
    rest = {
        "reason": None, "dispatch_attempts": 1, "last_error": None, "broker_order_ref": None, "filled_qty": "0",
        "avg_price": None,
    }  # fmt: skip
    return _event(target, {"from": source, **rest, **payload})


SIZED = _event("sized", FIRST)


def test_an_order_is_rebuilt_with_its_path_and_fills():
    fill = _event("fill", {"qty": "10"})
    done = {"filled_qty": "10", "avg_price": "200.5"}
    events = [
        _event("dispatching", {}, "manager_order"), SIZED, _move("sized", "sent"), _move("sent", "ack", **done),
        _move("ack", "confirmed", **done), fill,
    ]  # fmt: skip
    [order] = rebuild(events).values()
    assert order.states == [F.SIZED, F.SENT, F.ACK, F.CONFIRMED]
    assert order.state is F.CONFIRMED
    assert order.filled_qty == order.booked == 10
    assert order.avg_price == Decimal("200.5")


def test_a_dead_letter_is_rebuilt_through_its_redrive_and_what_was_only_noted():
    events = [
        SIZED, _move("sized", "dead_letter"), _event("redrive_refused", {"code": "kill_switch"}),
        _event("dead_letter_purged", {"reason": "settled by hand"}), _move("dead_letter", "unknown"),
        _move("unknown", "sent"),
    ]  # fmt: skip
    [order] = rebuild(events).values()
    assert order.states == [F.SIZED, F.DEAD_LETTER, F.UNKNOWN, F.SENT]


def test_a_log_with_an_illegal_step_is_refused():
    with pytest.raises(IllegalTransition):
        rebuild([SIZED, _move("sized", "confirmed")])


def test_a_log_with_a_missing_step_is_refused():
    with pytest.raises(ValueError, match="a change from ack follows sized"):
        rebuild([SIZED, _move("ack", "confirmed")])


def test_a_log_without_its_beginning_is_refused():
    with pytest.raises(ValueError, match="begins with sent"):
        rebuild([_move("sized", "sent")])

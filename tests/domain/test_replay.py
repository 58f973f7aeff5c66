from decimal import Decimal
from typing import Any

import pytest

from domain.errors import IllegalTransition
from domain.orders import FollowerState
from domain.replay import RebuiltFill, holdings, rebuild, residues

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


def _fill(qty: str, price: str | None = None, side: str = "buy") -> dict[str, Any]:
    return _event("fill", {"fill_id": "FO-1:1", "qty": qty, "price": price, "side": side, "source": "ack"})


SIZED = _event("sized", FIRST)


def test_an_order_is_rebuilt_with_its_path_and_fills():
    fill = _fill("10", "200.5")
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
    assert order.fills == [RebuiltFill("FO-1:1", Decimal(10), Decimal("200.5"), "buy", "ack")]


def test_leg_and_carry_are_rebuilt_and_events_from_before_them_read_as_none():
    hedge = _event("sized", {**FIRST, "leg": 1, "carry": "-0.25"})
    [order], [older] = rebuild([hedge]).values(), rebuild([SIZED]).values()
    assert (order.leg, order.carry) == (1, Decimal("-0.25"))
    assert (older.leg, older.carry, older.attempts_base) == (0, Decimal(0), 0)
    assert not older.redriven


def test_a_redrive_begins_a_new_round_of_attempts():
    events = [
        SIZED, _move("sized", "sent"), _move("sent", "dead_letter", dispatch_attempts=5),
        _move("dead_letter", "retry", dispatch_attempts=5, redriven_by="user:ops", dead_letter_id=7),
        _move("retry", "sent", dispatch_attempts=6),
    ]  # fmt: skip
    [order] = rebuild(events).values()
    assert (order.redriven, order.attempts_base, order.dispatch_attempts) == ([7], 5, 6)


def test_holdings_and_residues_are_the_sums_over_orders_and_leave_out_what_is_nothing():
    [bought] = rebuild([_event("sized", {**FIRST, "carry": "0.5"}), _fill("10")]).values()
    [sold] = rebuild([_event("sized", {**FIRST, "side": "sell", "carry": "-0.2"}), _fill("4", side="sell")]).values()
    [closed] = rebuild([_event("sized", {**FIRST, "side": "sell", "carry": "-0.5"}), _fill("10", side="sell")]).values()
    assert holdings([bought, sold]) == {("F_1", "AAPL"): Decimal(6)}
    assert residues([bought, sold]) == {("F_1", "AAPL"): Decimal("0.3")}
    assert holdings([bought, closed]) == residues([bought, closed]) == {}


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

"""The demonstration's verdict: everything must hold, and each thing that does not is found."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from stack.demo_check import check
from tests.stack.demo_world import Demo, perfect


def failed(demo: Demo) -> dict[str, tuple[str, ...]]:
    return {c.name: c.faults for c in check(demo.play()) if not c.ok}


def test_a_demonstration_that_went_as_it_must_passes():
    assert failed(perfect()) == {}


def shift_last(order: dict[str, Any], seconds: float) -> None:
    last = order["attempts"][-1]
    last["started_at"] = (datetime.fromisoformat(last["started_at"]) + timedelta(seconds=seconds)).isoformat()


def _lose_order(demo: Demo) -> None:
    for dag in demo.facts["dags"].values():
        dag["follower_orders"] = dag["follower_orders"][1:]
        break


def _book_twice(demo: Demo) -> None:
    demo.facts["bookings"][0]["booked"] = 2


def _book_a_stranger(demo: Demo) -> None:
    demo.facts["bookings"].append({"client_order_id": "FO-STRANGER", "booked": 1})


def _move_broker_position(demo: Demo) -> None:
    who = next(iter(demo.facts["venue_held"]))
    demo.facts["venue_held"][who] += 1


def _move_our_position(demo: Demo) -> None:
    demo.facts["held"][next(e.follower_id for e in demo.enrolled if e.member.route == "webhook")] += Decimal(1)


def _forge(demo: Demo) -> None:
    demo.facts["deliveries"][0]["receptions"][0]["vanta_valid"] = False


def _deliver_twice(demo: Demo) -> None:
    demo.facts["deliveries"][0]["processed"] = 2


ORDERS = "every follower order has its expected state, size, attempts and fill"
WAITS = "retries came after 1, 5, 15 and 60 s, and not before Retry-After"
BOOKED = "the broker booked each order exactly once"
DELIVERED = "every delivery was processed once, under one id, its signatures valid"
BURIED = "the dead letter is in the table and in the stream, with its attempts"
POSITIONS = "positions equal the broker's, and what the webhooks confirmed"
EVENTS = "every audit event reached the event bus once"
LOGS = "each order's trade log is in S3, one line per audit event"
QUEUE = "every good line of the queue became exactly one manager order"
REJECTS = "the bad line is in the rejects file, with its reason"


@pytest.mark.parametrize(
    ("bend", "expectation"),
    [
        (lambda d: d.order("Core/capped").update(state="sent"), ORDERS),
        (lambda d: d.order("Core/capped").update(qty="6"), ORDERS),
        (lambda d: d.order("Core/fails twice").update(dispatch_attempts=2), ORDERS),
        (lambda d: d.order("Core/bridged").update(filled_qty="19"), ORDERS),
        (lambda d: d.order("Tech/capped", 1).update(reason="below_minimum"), ORDERS),
        (lambda d: shift_last(d.order("Core/dead"), -30), WAITS),
        (lambda d: shift_last(d.order("Core/dead"), 30), WAITS),
        (lambda d: shift_last(d.order("Core/busy broker"), -1), WAITS),
        (_book_twice, BOOKED),
        (_book_a_stranger, BOOKED),
        (lambda d: d.facts["bookings"].pop(), BOOKED),
        (_forge, DELIVERED),
        (_deliver_twice, DELIVERED),
        (lambda d: d.facts["deliveries"].pop(), DELIVERED),
        (lambda d: d.facts["buried"].clear(), BURIED),
        (lambda d: d.facts["dead_letters"].clear(), BURIED),
        (lambda d: d.facts["buried"][0]["context"]["attempts"].pop(), BURIED),
        (_move_broker_position, POSITIONS),
        (_move_our_position, POSITIONS),
        (lambda d: d.facts.update(outbox=1), EVENTS),
        (lambda d: d.facts.update(stream_events=301), EVENTS),
        (lambda d: d.facts["trade_logs"].popitem(), LOGS),
        (lambda d: d.facts.update(ingested=5), QUEUE),
        (lambda d: d.facts["rejects"].clear(), REJECTS),
        (lambda d: d.facts["rejects"][0].update(reason=""), REJECTS),
    ],
)
def test_each_thing_that_went_wrong_is_found(bend: Callable[[Demo], object], expectation: str):
    demo = perfect()
    bend(demo)
    assert list(failed(demo)) == [expectation]


def test_an_order_that_was_never_made_is_named():
    demo = perfect()
    _lose_order(demo)
    assert any("full size: has no order" in fault for fault in failed(demo)[ORDERS])


def test_a_retry_that_waited_for_a_silent_receiver_of_its_page_is_found():
    demo = perfect()
    shift_last(demo.order("Tech/busy"), 9)
    assert list(failed(demo)) == [WAITS]

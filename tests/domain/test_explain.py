"""Explanations are total: whatever sizing decides, and whatever is not known of an order, is told in words."""

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from domain.calendars import barred
from domain.explain import Story, explain
from domain.explain_words import guard_names, reason_words
from domain.guards import GUARDS, GUARDS_VERSION
from domain.orders import FollowerState, OrderType
from domain.sizing import Effect, FollowerTerms, Instrument, OrderTerms, size
from domain.terms import SkipReason
from domain.venues import Flag
from tests.domain.test_sizing import followers, instruments, opens

EVENT = {"entity": "follower_order", "actor": "system", "ts": "2026-01-30T15:00:00Z", "entity_id": "FO-1"}


def story(**order: Any) -> Story:
    row = {
        "fo_id": "FO-1", "follower_id": "F_1", "leg": 0, "symbol": "AAPL", "side": "buy", "qty": Decimal(10),
        "cap_applied": False, "state": "confirmed", "reason": None, "route": "webhook", "filled_qty": Decimal(10),
        "avg_price": None, "carry": Decimal(0), "trace": [],
    } | order  # fmt: skip
    manager = {
        "mo_id": "M-1", "vault_id": "V_1", "symbol": "AAPL", "side": "buy", "qty": Decimal(10), "tif": "day",
        "order_type": "market", "meta": {}, "effect": "open", "source": "queue", "actor": "os", "kind": "order",
    }  # fmt: skip
    return Story(row, manager, None, (), (), ())


@given(opens, followers, instruments)
def test_every_step_of_any_sizing_is_a_sentence(order: OrderTerms, follower: FollowerTerms, instrument: Instrument):
    sizing = size(order, follower, instrument)
    trace = [asdict(step) for step in sizing.trace]
    state, reason = ("skipped", sizing.skip.value) if sizing.skip else ("sized", None)
    told = explain(
        story(
            trace=trace,
            qty=sizing.qty,
            side=sizing.side.value,
            state=state,
            reason=reason,
            carry=sizing.carry,
            cap_applied=sizing.cap_applied,
            filled_qty=Decimal(0),
        )
    )
    assert [item.rule for item in told.size][: len(trace)] == [step["rule"] for step in trace]
    for item in told.size:
        assert item.text.endswith(".")
        assert item.text[0] == item.text[0].upper()
        assert "{" not in item.text
    assert ("nothing" in told.text) is (sizing.skip is not None)


@pytest.mark.parametrize("state", FollowerState)
def test_an_order_of_which_next_to_nothing_is_known_is_explained_in_any_state(state: FollowerState):
    told = explain(story(state=state.value, trace=[]))
    assert told.text
    assert told.timeline == ()
    assert all(item.event_id is None for item in told.why)


def test_an_event_that_nobody_knows_yet_is_shown_by_its_name():
    known = story()
    event = {**EVENT, "event_id": 7, "action": "looked_at", "payload": {}}
    told = explain(Story(known.order, known.manager, None, (), (), [event]))
    assert [(moment.text, moment.event_id) for moment in told.timeline] == [("Looked at.", 7)]


@pytest.mark.parametrize(
    ("kind", "words"), [("flatten", "The kill path has everything"), ("correction", "Reconciliation corrects")]
)
def test_what_no_manager_ordered_says_who_did(kind: str, words: str):
    known = story()
    told = explain(Story(known.order, {**known.manager, "kind": kind}, None, (), (), ()))
    assert told.why[0].text.startswith(words)
    assert told.text.startswith(words)


def test_an_order_that_waited_for_its_session_says_so_and_what_else_it_waited_for():
    waits = {**EVENT, "entity": "manager_order", "action": "waits", "event_id": 8}
    until = {"waits_until": "2026-11-27T14:30:00+00:00"}
    for_prices = {**until, "why": "the last price is of Wednesday"}
    made = replace(story(), events=({**waits, "payload": until}, {**waits, "payload": for_prices}))
    first, second = [moment.text for moment in explain(made).timeline]
    assert first == "Its exchange is closed: the order waits for the session to open at 2026-11-27T14:30:00+00:00."
    assert second == "The session has begun, and the order waits: the last price is of Wednesday."


@pytest.mark.parametrize("flag", Flag)
def test_whatever_a_flag_or_a_closed_exchange_stops_has_words(flag: Flag):
    bar = barred(frozenset({flag}), Effect.OPEN, OrderType.MARKET)
    assert bar is not None
    for code in (bar.code, "market_closed", "calendar_unknown"):
        assert reason_words(code) != code.replace("_", " ")


def test_guards_are_named_where_the_list_is_the_one_that_was_asked():
    assert len(guard_names(GUARDS_VERSION).split(", ")) == len(GUARDS)
    assert guard_names(None) == "those of version 1"


@pytest.mark.parametrize("reason", SkipReason)
def test_every_reason_to_skip_has_words(reason: SkipReason):
    assert reason_words(reason) != reason.replace("_", " ")

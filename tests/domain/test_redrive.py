"""Each thing that a redrive looks at anew, and what it says where that stops it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admission import Halt
from domain.guards import GuardFacts
from domain.orders import FOLLOWER_TRANSITIONS, FollowerState, ManagerState, Side
from domain.redrive import Letter, RedriveFacts, Refusal, closed, permitted, refusal, reopened
from domain.sizing import Effect, Mode, OrderTerms
from tests.domain.pending import GUARDS, NOW, pending, redrive_facts

F = FollowerState
DEAD = pending(state=F.DEAD_LETTER)
FACTS = redrive_facts(DEAD)
SELL = OrderTerms(Side.SELL, Decimal(10), Effect.REDUCE, Decimal(10), Decimal(200))
HOLDS_10 = replace(FACTS.follower, holding=Decimal(10))
REDUCTION = replace(FACTS, side=Side.SELL, terms=SELL, follower=HOLDS_10, guards=replace(GUARDS, effect=Effect.REDUCE))


def code(facts: RedriveFacts) -> str | None:
    found = refusal(facts, NOW)
    return None if found is None else found.code


@pytest.mark.parametrize(
    ("guards", "expected"),
    [
        ({"kill_switch": True}, "kill_switch"),
        ({"maintenance": True}, "vault_maintenance"),
        ({"halt": Halt.HALT_OPENS}, "vault_halt_opens"),
        ({"halt": Halt.HALT_ALL}, "vault_halt_all"),
        ({"manager_state": ManagerState.CANCELLED}, "manager_order_cancelled"),
        ({"expires_at": NOW}, "expired"),
        ({"endpoint_disabled": True}, "endpoint_disabled"),
        ({"credential_broken": True}, "credential_broken"),
    ],
)
def test_a_guard_that_would_stop_the_send_refuses_the_redrive(guards: dict[str, Any], expected: str):
    facts: GuardFacts = replace(GUARDS, **guards)
    assert code(replace(FACTS, guards=facts)) == expected


def test_an_order_that_nothing_stands_in_the_way_of_goes():
    assert code(FACTS) is None
    assert code(REDUCTION) is None


@pytest.mark.parametrize("state", [s for s in F if s is not F.DEAD_LETTER])
def test_what_is_no_dead_letter_is_not_redriven(state: F):
    assert code(replace(FACTS, state=state)) == "not_dead"


def test_an_open_needs_the_subscribers_rights_and_says_which_and_a_reduction_none():
    told = refusal(replace(FACTS, barred="its subscriber may not use persona ares"), NOW)
    assert told == Refusal("not_entitled", "its subscriber may not use persona ares")
    assert code(replace(REDUCTION, barred="x")) is None


def test_an_open_that_closes_what_the_follower_holds_needs_no_rights():
    short = replace(FACTS.follower, holding=Decimal(-10))
    assert code(replace(FACTS, follower=short, barred="x")) is None
    assert code(replace(FACTS, follower=replace(short, holding=Decimal(-9)), barred="x")) == "size"


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("190", None), ("210", None), ("189.99", "price_collar"), ("210.01", "price_collar"), ("0", "missing_price"),
        (None, "missing_price"),
    ],
)  # fmt: skip
def test_the_present_price_must_be_near_the_one_that_sized_an_open(price: str | None, expected: str | None):
    now = None if price is None else Decimal(price)
    assert code(replace(FACTS, price=now)) == expected
    assert code(replace(REDUCTION, price=now)) is None


def test_the_collars_refusal_tells_both_prices_and_the_distance():
    told = refusal(replace(FACTS, price=Decimal(250)), NOW)
    assert told is not None
    assert told.reason == (
        "the price is 250 now, 2500 bps from 200, at which the order was sized; the collar is 500 bps"
    )


def test_a_cap_that_has_become_tighter_refuses_and_tells_what_is_permitted():
    capped = replace(FACTS.follower, mode=Mode.CAPPED, max_pos_usd=Decimal(1_400))
    told = refusal(replace(FACTS, follower=capped), NOW)
    assert told is not None
    assert (told.code, told.reason) == (
        "size", "10 would be sent, and 7 is permitted: by the follower's present terms, cap and holding",
    )  # fmt: skip
    full = refusal(replace(FACTS, follower=replace(capped, holding=Decimal(7))), NOW)
    assert full is not None
    assert full.reason == "10 would be sent, and 0 is permitted: the position is at its cap"


def test_what_is_in_flight_the_same_way_takes_its_room():
    capped = replace(FACTS.follower, mode=Mode.CAPPED, max_pos_usd=Decimal(2_400))
    assert code(replace(FACTS, follower=capped)) is None
    assert code(replace(FACTS, follower=replace(capped, buying=Decimal(3)))) == "size"
    assert code(replace(FACTS, follower=replace(capped, selling=Decimal(3)))) is None


def test_a_reduction_sends_no_more_than_is_held_and_not_being_sold():
    assert code(replace(REDUCTION, follower=replace(HOLDS_10, holding=Decimal(9)))) == "size"
    assert code(replace(REDUCTION, follower=replace(HOLDS_10, selling=Decimal(1)))) == "size"
    assert code(replace(REDUCTION, follower=replace(HOLDS_10, buying=Decimal(5)))) is None
    told = refusal(replace(REDUCTION, follower=replace(HOLDS_10, holding=Decimal(-10))), NOW)
    assert told is not None
    assert told.reason == "10 would be sent, and 0 is permitted: held now"


def test_a_reduction_passes_where_only_opens_are_stopped():
    stopped = replace(REDUCTION.guards, halt=Halt.HALT_OPENS, expires_at=NOW - timedelta(days=1))
    assert code(replace(REDUCTION, guards=stopped, barred="x")) is None


def test_an_order_that_would_take_the_other_side_now_does_not_go():
    told = refusal(replace(FACTS, side=Side.SELL), NOW)
    assert told is not None
    assert told.reason == "10 would be sent, and 0 is permitted: sized now, it would be a buy"


def test_a_hedge_is_held_to_what_it_would_close_and_to_shorts_that_are_allowed():
    hedge = replace(FACTS, hedge=True, side=Side.SELL, follower=replace(FACTS.follower, holding=Decimal(0)))
    assert code(hedge) is None
    assert code(replace(hedge, follower=replace(hedge.follower, allow_short=False))) == "size"
    assert code(replace(hedge, follower=replace(hedge.follower, holding=Decimal(9)))) == "size"
    assert code(replace(hedge, price=Decimal(250))) == "price_collar"


def test_a_receiver_that_has_confirmed_a_part_is_not_sent_the_whole_again():
    part = replace(FACTS, filled_qty=Decimal(4), follower=replace(FACTS.follower, holding=Decimal(4)))
    assert code(part) == "partially_filled"
    assert code(replace(part, webhook=False)) is None


@pytest.mark.parametrize(
    ("outcomes", "filled", "state"),
    [
        ((), 0, F.RETRY),
        (("retryable",) * 5, 0, F.RETRY),
        (("retryable", "ambiguous"), 0, F.UNKNOWN),
        (("ambiguous", "retryable"), 0, F.UNKNOWN),
        (("retryable", None), 0, F.UNKNOWN),
        (("ack",), 0, F.UNKNOWN),
        ((), 4, F.UNKNOWN),
    ],
)
def test_what_may_have_arrived_is_reopened_as_unknown(outcomes: tuple[str | None, ...], filled: int, state: F):
    assert reopened(replace(FACTS, outcomes=outcomes, filled_qty=Decimal(filled))) is state
    assert state in FOLLOWER_TRANSITIONS[F.DEAD_LETTER]


def test_a_letter_is_closed_by_a_redrive_or_a_purge():
    assert closed(Letter(1)) is None
    redriven = closed(Letter(1, redriven_at=NOW, redriven_by="user:ops"))
    assert redriven is not None
    assert (redriven.code, redriven.reason) == ("already_redriven", "redriven at 2026-01-30T15:00:00Z by user:ops")
    purged = closed(Letter(1, purged_at=NOW))
    assert purged is not None
    assert purged.code == "purged"


@given(
    held=st.integers(-50, 50),
    under_way=st.integers(0, 50),
    cap=st.none() | st.integers(0, 10_000),
    reduce=st.booleans(),
)
def test_a_redrive_never_breaks_a_cap_or_oversells(held: int, under_way: int, cap: int | None, reduce: bool):
    terms = SELL if reduce else FACTS.terms
    follower = replace(
        FACTS.follower, holding=Decimal(held), max_pos_usd=None if cap is None else Decimal(cap),
        buying=Decimal(0 if reduce else under_way), selling=Decimal(under_way if reduce else 0),
    )  # fmt: skip
    facts = replace(FACTS, side=terms.side, terms=terms, follower=follower, guards=replace(GUARDS, effect=terms.effect))
    if refusal(facts, NOW) is not None:
        return
    if reduce:
        assert facts.open_qty + under_way <= held
    elif cap is not None and held >= 0:
        assert (held + under_way + facts.open_qty) * 200 <= cap
    assert facts.open_qty <= permitted(facts)[0]

"""What is told of an order's events, and from when on the log is whole."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.orders import ManagerState
from domain.progress import Horizon, Logged, Progress, Told, is_over

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def step(number: int, fo_id: str, to: str, before: str | None = None, **more: Any) -> Logged:
    payload = {"to": to, "follower_id": "F_1", **({} if before is None else {"from": before}), **more}
    return Logged(number, "follower_order", fo_id, to, payload, NOW)


def moved(number: int, to: str) -> Logged:
    return Logged(number, "manager_order", "M-1", to, {"to": to}, NOW)


LOG = [
    moved(3, "received"),
    moved(4, "dispatching"),
    step(7, "FO-1", "sized"),
    step(8, "FO-1", "sent", "sized", dispatch_attempts=1),
    step(9, "FO-2", "skipped", reason="below_minimum"),
    Logged(11, "follower_order", "FO-1", "fill", {"fill_id": "FO-1:a", "qty": "10", "price": "200"}, NOW),
    Logged(12, "order_leg", "FO-1", "done", {}, NOW),
    step(13, "FO-1", "confirmed", "sent", dispatch_attempts=1, filled_qty="10"),
    moved(20, "settled"),
]


def numbered(told: list[Told]) -> list[int]:
    return [one.event_id for one in told if one.event_id is not None]


def test_each_event_is_told_once_and_the_order_is_summed_up_after_its_followers() -> None:
    told = Progress("M-1").tell(LOG[:6])
    assert numbered(told) == [3, 4, 7, 8, 9, 11]
    assert told[-1].event_id is None
    assert told[-1].data == {
        "mo_id": "M-1", "state": "dispatching", "follower_states": {"sent": 1, "skipped": 1},
    }  # fmt: skip
    filled = next(one for one in told if one.event_id == 11)
    assert (filled.data["state"], filled.data["qty"], filled.data["fill_id"]) == (None, "10", "FO-1:a")


@given(st.integers(0, len(LOG)), st.lists(st.integers(1, len(LOG)), max_size=4))
def test_whoever_resumes_is_told_the_rest_in_the_same_words(cut: int, pages: list[int]) -> None:
    whole = [one for one in Progress("M-1").tell(LOG) if one.event_id is not None]
    after = LOG[cut - 1].event_id if cut else 0
    again, told, start = Progress("M-1"), list[Told](), 0
    for end in [*sorted(set(pages)), len(LOG)]:
        told += again.tell(LOG[start:end], after=after)
        start = max(start, end)
    assert [one for one in told if one.event_id is not None] == [one for one in whole if (one.event_id or 0) > after]
    assert again.end().data["follower_states"] == {"confirmed": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("state", "live", "over"),
    [
        (ManagerState.RECEIVED, False, False),
        (ManagerState.DISPATCHING, True, False),
        (ManagerState.CANCELLED, True, False),
        (ManagerState.CANCELLED, False, True),
        (ManagerState.SETTLED_WITH_ERRORS, True, False),
        (ManagerState.SETTLED_WITH_ERRORS, False, True),
        (ManagerState.SETTLED, False, True),
        (ManagerState.REJECTED, False, True),
    ],
)
def test_an_order_is_over_when_nothing_of_it_can_move(state: ManagerState, live: bool, over: bool) -> None:
    assert is_over(state, live=live) is over


def test_nothing_is_told_beyond_a_writer_that_may_hide_a_lower_number() -> None:
    horizon = Horizon()
    assert horizon.look(5, []) == 5
    assert horizon.look(7, ["slow"]) == 5
    assert horizon.look(9, ["slow", "quick"]) == 5
    assert horizon.look(9, ["another"]) == 9  # whoever held the lock when 9 was seen has let go


def test_one_writer_after_another_holds_nothing_up_for_long() -> None:
    horizon = Horizon()
    for number in range(10, 60):
        horizon.look(number, [f"writer {number}"])
    assert horizon.settled == 58


@given(st.data())
def test_the_horizon_never_passes_an_event_that_is_still_hidden(data: st.DataObject) -> None:
    """Transactions that take numbers and commit in any order, looked at between any two steps."""
    horizon, newest, number = Horizon(most=3), 0, 0
    open_: dict[str, list[int]] = {}
    for turn in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["begin", "take", "commit", "look"])):
            case "begin":
                open_[f"t{turn}"] = []
            case "take" if open_:
                number += 1
                open_[data.draw(st.sampled_from(sorted(open_)))].append(number)
            case "commit" if open_:
                newest = max([newest, *open_.pop(data.draw(st.sampled_from(sorted(open_))))])
            case _:
                hidden = [n for taken in open_.values() for n in taken]
                seen = horizon.look(newest, list(open_))
                assert all(n > seen for n in hidden)
    for _ in range(2):
        horizon.look(newest, [])
    assert horizon.settled == newest

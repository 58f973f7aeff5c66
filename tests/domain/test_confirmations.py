"""What a follower's callback means, from every state and in every order."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.confirmations import BookedFill, Confirmation, Final, confirmed
from domain.dispatch import NewFill, PendingOrder, resolve
from domain.errors import Conflict, InvalidInput
from domain.orders import FOLLOWER_ENDS, FollowerState
from domain.ports import OutcomeKind, ReportedFill, SendOutcome
from tests.domain.life import follow
from tests.domain.pending import pending

F = FollowerState
ACK = SendOutcome(OutcomeKind.ACK, "ack", "", 200)


def fill(fill_id: str, qty: int, price: str = "200") -> ReportedFill:
    return ReportedFill(fill_id, Decimal(qty), Decimal(price))


def told(*fills: ReportedFill, final: Final | None = None, reason: str = "") -> Confirmation:
    return Confirmation("msg_1", fills, final, reason)


def booked(fills: dict[str, NewFill]) -> dict[str, BookedFill]:
    return {fill_id: BookedFill(one.qty, one.price) for fill_id, one in fills.items()}


def acked(**fields: Any) -> PendingOrder:
    return pending(state=F.ACK, calls_back=True, **fields)


def test_who_calls_back_is_not_confirmed_by_his_answer_alone() -> None:
    change = resolve(pending(calls_back=True), ACK)
    assert (change.path, change.fills) == ((F.ACK,), ())
    assert resolve(pending(), ACK).path == (F.ACK, F.CONFIRMED)


def test_fills_of_his_answer_count_none_the_less() -> None:
    answer = SendOutcome(OutcomeKind.ACK, "ack", "", 200, fills=(fill("a", 4),))
    assert resolve(pending(calls_back=True), answer).path == (F.ACK, F.PARTIALLY_FILLED)


def test_fills_add_up_until_the_order_is_confirmed() -> None:
    order, fills, states = acked(), dict[str, NewFill](), list[FollowerState]()
    for part in (fill("a", 4, "200"), fill("b", 4, "201"), fill("c", 2, "199.5")):
        order = follow(order, confirmed(order, told(part), booked(fills)), fills, states)
    assert states == [F.PARTIALLY_FILLED, F.PARTIALLY_FILLED, F.CONFIRMED]
    assert (order.filled_qty, order.avg_price) == (Decimal(10), Decimal("200.3"))
    assert [one.source for one in fills.values()] == ["callback"] * 3


@pytest.mark.parametrize(
    ("state", "path"),
    [
        (F.SENT, (F.ACK, F.PARTIALLY_FILLED)),
        (F.UNKNOWN, (F.ACK, F.PARTIALLY_FILLED)),
        (F.RETRY, (F.UNKNOWN, F.ACK, F.PARTIALLY_FILLED)),
        (F.ACK, (F.PARTIALLY_FILLED,)),
        (F.PARTIALLY_FILLED, (F.PARTIALLY_FILLED,)),
    ],
)
def test_a_callback_may_come_before_the_answer(state: FollowerState, path: tuple[FollowerState, ...]) -> None:
    assert confirmed(pending(state=state), told(fill("a", 4)), {}).path == path


def test_confirmed_without_fills_is_all_of_it_at_the_snapshots_price() -> None:
    change = confirmed(acked(), told(final=Final.CONFIRMED), {})
    assert change.path == (F.CONFIRMED,)
    assert change.fills == (NewFill("FO-1:ack", Decimal(10), Decimal(200), "ack"),)


def test_rejected_ends_it_and_what_was_filled_before_stays_filled() -> None:
    nothing = confirmed(acked(), told(final=Final.REJECTED, reason="no borrow"), {})
    assert (nothing.path, nothing.reason, nothing.fills) == ((F.REJECTED,), "no borrow", ())
    rest = confirmed(acked(), told(fill("a", 4), final=Final.REJECTED, reason="no borrow"), {})
    assert (rest.path, rest.filled_qty) == ((F.PARTIALLY_FILLED, F.CANCELLED), Decimal(4))


def test_more_than_was_ordered_and_ends_that_do_not_go_with_the_fills_are_refused() -> None:
    for wrong, field in (
        (told(fill("a", 4), fill("b", 7)), "fills"),
        (told(fill("a", 4), final=Final.CONFIRMED), "status"),
        (told(fill("a", 10), final=Final.REJECTED, reason="x"), "status"),
    ):
        with pytest.raises(InvalidInput) as caught:
            confirmed(acked(), wrong, {})
        assert caught.value.field == field


def test_what_contradicts_what_is_known_is_refused() -> None:
    known = {"FO-1:a": BookedFill(Decimal(4), Decimal(200))}
    part = pending(state=F.PARTIALLY_FILLED, filled_qty=Decimal(4), avg_price=Decimal(200))
    for order, wrong, code in (
        (part, told(fill("a", 5)), "fill-differs"),
        (part, told(fill("a", 4, "199")), "fill-differs"),
        (pending(state=F.CONFIRMED), told(final=Final.REJECTED, reason="x"), "order-ended"),
        (pending(state=F.REJECTED), told(final=Final.CONFIRMED), "order-ended"),
        (pending(state=F.CONFIRMED), told(fill("new", 1)), "order-ended"),
        (pending(state=F.DEAD_LETTER), told(fill("new", 1)), "order-ended"),
        (pending(state=F.SIZED, attempts=0), told(fill("new", 1)), "order-not-sent"),
    ):
        with pytest.raises(Conflict) as caught:
            confirmed(order, wrong, known)
        assert caught.value.code == code


callbacks = st.builds(
    lambda sizes, final: told(*(fill(f"f{n}", qty) for n, qty in sizes.items()), final=final, reason="why"),
    st.dictionaries(st.integers(0, 5), st.integers(1, 4), max_size=3),
    st.sampled_from([None, None, *Final]),
)


@given(
    st.lists(callbacks, max_size=8),
    st.sampled_from([F.SENT, F.RETRY, F.UNKNOWN, F.ACK]),
)
def test_whatever_is_told_the_books_agree_and_a_repeat_changes_nothing(
    sequence: list[Confirmation], state: FollowerState
) -> None:
    order, fills = pending(state=state), dict[str, NewFill]()
    for callback in sequence:
        try:
            change = confirmed(order, callback, booked(fills))
        except (Conflict, InvalidInput):
            continue
        order = follow(order, change, fills, [])
        assert order.filled_qty == sum(one.qty for one in fills.values()) <= order.qty
        assert (order.state is F.CONFIRMED) == (order.filled_qty == order.qty)
        again = confirmed(order, callback, booked(fills))
        if callback.final is Final.CONFIRMED or order.state in FOLLOWER_ENDS or not callback.final:
            assert again.path == ()

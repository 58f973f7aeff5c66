"""Shards, waits and what a streamed report changes."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from domain.dispatch import NewFill, PendingOrder
from domain.orders import FollowerState
from domain.ports import VenueOrder, VenueStatus
from domain.streams import StreamTally, bucket, heard, reconnect_wait, shards_for, total, wakes_owner
from tests.domain.life import follow
from tests.domain.pending import pending, venue_order

F = FollowerState
V = VenueStatus
PRICE = Decimal(100)
FIRST, MOST = timedelta(milliseconds=500), timedelta(seconds=60)


def refs(count: int) -> list[str]:
    return [f"cred/F_{n}/alpaca" for n in range(count)]


@pytest.mark.parametrize("count", [1, 50, 51, 500, 3_000])
def test_no_shard_has_more_accounts_than_it_may(count: int):
    shards = shards_for(refs(count), 50, 0)
    sizes = [sum(bucket(ref, shards) == n for ref in refs(count)) for n in range(shards)]
    assert sum(sizes) == count
    assert max(sizes) <= 50
    assert shards <= 3 * -(-count // 50)


def test_without_accounts_there_is_no_shard():
    assert shards_for([], 50, 7) == 0


def test_shards_stay_while_they_are_neither_too_large_nor_far_too_many():
    many = shards_for(refs(500), 50, 0)
    assert shards_for(refs(510), 50, many + 3) == many + 3
    assert shards_for(refs(499), 50, many) == many
    assert shards_for(refs(20), 50, many) == 1
    assert shards_for(refs(500), 50, 1) == many


def test_waits_double_up_to_a_bound_and_are_the_accounts_own():
    waits = [reconnect_wait("cred/F_1/alpaca", n, FIRST, MOST, None) for n in range(1, 40)]
    assert waits == [reconnect_wait("cred/F_1/alpaca", n, FIRST, MOST, None) for n in range(1, 40)]
    assert waits[0] != reconnect_wait("cred/F_2/alpaca", 1, FIRST, MOST, None)
    assert all(b > a for a, b in pairwise(waits[:7]))
    assert max(waits) <= MOST * 1.1
    assert reconnect_wait("x", 1, FIRST, MOST, 5) == timedelta(seconds=5)
    assert reconnect_wait("x", 1, FIRST, MOST, 86_400) == MOST


def at_alpaca(state: FollowerState, filled: int = 0) -> PendingOrder:
    avg = PRICE if filled else None
    return pending(route="alpaca", state=state, filled_qty=Decimal(filled), avg_price=avg)


@pytest.mark.parametrize(
    ("state", "filled", "report", "path"),
    [
        (F.ACK, 0, venue_order(V.FILLED, 10, PRICE), (F.CONFIRMED,)),
        (F.ACK, 0, venue_order(V.PARTIALLY_FILLED, 4, PRICE), (F.PARTIALLY_FILLED,)),
        (F.PARTIALLY_FILLED, 4, venue_order(V.CANCELLED, 4, PRICE), (F.CANCELLED,)),
        (F.UNKNOWN, 0, venue_order(V.WORKING), (F.ACK,)),
        (F.SENT, 0, venue_order(V.FILLED, 10, PRICE), (F.ACK, F.CONFIRMED)),
        (F.SENT, 0, venue_order(V.REJECTED), (F.REJECTED,)),
        (F.RETRY, 0, venue_order(V.WORKING), (F.UNKNOWN, F.ACK)),
        (F.RETRY, 0, venue_order(V.FILLED, 10, PRICE), (F.UNKNOWN, F.ACK, F.CONFIRMED)),
    ],
)
def test_a_report_takes_the_order_further(state: F, filled: int, report: VenueOrder, path: tuple[F, ...]):
    change = heard(at_alpaca(state, filled), report)
    assert change is not None
    assert (change.source, change.path) == (state, path)
    assert sum((fill.qty for fill in change.fills), Decimal(filled)) == report.filled_qty


@pytest.mark.parametrize(
    ("order", "report"),
    [
        (at_alpaca(F.ACK), venue_order(V.WORKING)),
        (at_alpaca(F.PARTIALLY_FILLED, 6), venue_order(V.PARTIALLY_FILLED, 4, PRICE)),
        (at_alpaca(F.PARTIALLY_FILLED, 6), venue_order(V.WORKING)),
        (at_alpaca(F.CONFIRMED, 10), venue_order(V.PARTIALLY_FILLED, 4, PRICE)),
        (at_alpaca(F.DEAD_LETTER), venue_order(V.FILLED, 10, PRICE)),
        (at_alpaca(F.SENT), venue_order(V.WORKING)),
        (at_alpaca(F.SIZED), venue_order(V.WORKING)),
        (pending(state=F.PARTIALLY_FILLED), venue_order(V.FILLED, 10, PRICE)),
    ],
)
def test_what_is_older_than_what_is_known_or_not_the_venues_changes_nothing(order: PendingOrder, report: VenueOrder):
    assert heard(order, report) is None


def test_the_same_reports_in_any_number_book_every_fill_once():
    order, booked = at_alpaca(F.ACK), dict[str, NewFill]()
    for filled, status in ((4, V.PARTIALLY_FILLED), (4, V.PARTIALLY_FILLED), (7, V.PARTIALLY_FILLED), (4, V.WORKING),
                           (10, V.FILLED), (7, V.PARTIALLY_FILLED), (10, V.FILLED)):  # fmt: skip
        change = heard(order, venue_order(status, filled, PRICE))
        if change is not None:
            order = follow(order, change, booked, [])
    assert order.state is F.CONFIRMED
    assert [fill.qty for fill in booked.values()] == [4, 3, 3]


def test_an_owner_is_woken_for_what_it_waits_for_and_not_for_every_part():
    def woken(state: F, report: VenueOrder) -> bool:
        change = heard(at_alpaca(state), report)
        assert change is not None
        return wakes_owner(change)

    assert woken(F.ACK, venue_order(V.FILLED, 10, PRICE))
    assert woken(F.UNKNOWN, venue_order(V.WORKING))
    assert woken(F.RETRY, venue_order(V.PARTIALLY_FILLED, 4, PRICE))
    assert not woken(F.ACK, venue_order(V.PARTIALLY_FILLED, 4, PRICE))


def test_tallies_add_up_and_say_how_the_venue_does():
    one, other = StreamTally(2, 2, 0, 1, 5, 1_700_000_000), StreamTally(1, 0, 1, 3, 0, 0)
    both = total([one, other])
    assert both == StreamTally(3, 2, 1, 4, 5, 1_700_000_000)
    assert [tally.state for tally in (one, both, total([]))] == ["streaming", "degraded", "idle"]
    assert both.words().startswith("**2 of 3 accounts connected** · 1 refused · 4 reconnects · 5 reports")
    assert StreamTally(*both.numbers()) == both

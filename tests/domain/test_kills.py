"""Which orders a kill stops: those of its scope and level that were claimed before it was heard of."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admission import Halt
from domain.kills import EVERYBODY, MOST_SCOPES, Kill, KillBook, Target, concerns

T = "11111111-1111-4111-8111-111111111111"
SCOPES = {
    "follower": ({"follower_id": "F_1"}, True),
    "another follower": ({"follower_id": "F_2"}, False),
    "vault": ({"vault_id": "V_1"}, True),
    "another vault": ({"vault_id": "V_2"}, False),
    "tenant": ({}, True),
    "another tenant": ({"tenant_id": "22222222-2222-4222-8222-222222222222"}, False),
    "everything": ({"tenant_id": EVERYBODY}, True),
}
LEVELS = {
    (Halt.HALT_ALL, True): True, (Halt.HALT_ALL, False): True, (Halt.HALT_OPENS, True): True,
    (Halt.HALT_OPENS, False): False, (Halt.FLATTEN, True): True, (Halt.FLATTEN, False): False,
}  # fmt: skip


def target(book: KillBook, *, opens: bool = True) -> Target:
    return Target(T, "V_1", "F_1", opens, book.count)


def kill(number: int = 1, level: Halt = Halt.HALT_ALL, scope: dict[str, str] | None = None) -> Kill:
    where = {"tenant_id": T, **(scope or {})}
    return Kill(number, where["tenant_id"], level, where.get("vault_id"), where.get("follower_id"))


@pytest.mark.parametrize(
    ("scope", "hit", "level", "opens", "bites"),
    [(*s, level, opens, bites) for s, ((level, opens), bites) in itertools.product(SCOPES.values(), LEVELS.items())],
)
def test_a_kill_stops_its_scope_at_its_level(scope: dict[str, str], hit: bool, level: Halt, opens: bool, bites: bool):
    book = KillBook()
    claimed = target(book, opens=opens)
    pulled = kill(level=level, scope=scope)
    assert book.hear([pulled]) == [pulled]
    assert book.stops(claimed) == concerns(pulled, claimed) == (hit and bites)


def test_what_was_claimed_after_the_kill_was_heard_of_is_for_the_guards_to_stop():
    book = KillBook()
    book.hear([kill()])
    assert not book.stops(target(book))


def test_hearing_of_a_kill_again_stops_nothing_more():
    book = KillBook()
    book.hear([kill()])
    claimed = target(book)
    assert book.hear([kill()]) == []
    assert not book.stops(claimed)


def test_a_book_that_is_full_stops_everything_that_was_claimed_and_nothing_later():
    book = KillBook()
    claimed = target(book)
    book.hear(kill(n, scope={"follower_id": f"F_x{n}"}) for n in range(MOST_SCOPES + 1))
    assert book.stops(claimed)
    assert not book.stops(target(book))


@given(st.lists(st.sampled_from(sorted(SCOPES)), max_size=8), st.integers(0, 8), st.booleans())
def test_an_order_is_stopped_exactly_by_the_kills_that_came_after_its_claim(names: list[str], at: int, opens: bool):
    book = KillBook()
    kills = [kill(n, scope=SCOPES[name][0]) for n, name in enumerate(names)]
    book.hear(kills[:at])
    claimed = target(book, opens=opens)
    book.hear(kills[at:])
    assert book.stops(claimed) == any(concerns(k, claimed) for k in kills[at:])

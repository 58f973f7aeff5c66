from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admission import Halt
from domain.errors import InvalidInput
from domain.overlays import (
    TTL,
    NewOverlay,
    Overlay,
    OverlayKind,
    Params,
    boosts_for,
    effective_flip,
    extended,
    strongest,
    total_delta,
)

D = Decimal
K = OverlayKind
NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


FLIP = NewOverlay(K.FLIP, "V_1", ttl=minutes(45), params=Params(amplify=D("0.35")))
BOOST = NewOverlay(K.BOOST, "V_1", ttl=minutes(60), params=Params(persona="athena", delta=D("0.1")))
HALT = NewOverlay(K.HALT, "V_1", params=Params(level=Halt.HALT_OPENS))
MAINTENANCE = NewOverlay(K.MAINTENANCE, "V_1")


@pytest.mark.parametrize(
    "new",
    [
        FLIP, BOOST, HALT, MAINTENANCE,
        replace(FLIP, ttl=minutes(30)), replace(FLIP, ttl=minutes(60)),
        replace(FLIP, params=Params(persona="nemesis")),
        replace(FLIP, params=Params(persona="ares", amplify=D("-0.9"))),
        replace(FLIP, params=Params(amplify=D(1)), follower_id="F_1"),
        replace(BOOST, ttl=minutes(5)), replace(BOOST, ttl=timedelta(days=7)),
        replace(HALT, vault_id=None),
    ],
)  # fmt: skip
def test_what_is_within_its_kinds_limits_is_accepted(new: NewOverlay):
    new.check()


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (replace(FLIP, ttl=None), "ttl_minutes"),
        (replace(FLIP, ttl=minutes(29.99)), "ttl_minutes"),
        (replace(FLIP, ttl=minutes(60.01)), "ttl_minutes"),
        (replace(FLIP, ttl=minutes(-45)), "ttl_minutes"),
        (replace(BOOST, ttl=minutes(4)), "ttl_minutes"),
        (replace(BOOST, ttl=timedelta(days=7, seconds=1)), "ttl_minutes"),
        (replace(HALT, ttl=minutes(45)), "ttl_minutes"),
        (replace(MAINTENANCE, ttl=minutes(45)), "ttl_minutes"),
        (replace(FLIP, params=Params()), "amplify"),
        (replace(FLIP, params=Params(amplify=D(0))), "amplify"),
        (replace(FLIP, params=Params(amplify=D("-0.91"))), "amplify"),
        (replace(FLIP, params=Params(amplify=D("1.000001"))), "amplify"),
        (replace(FLIP, params=Params(amplify=D("NaN"))), "amplify"),
        (replace(FLIP, params=Params(amplify=D("0.1234567890123"))), "amplify"),
        (replace(FLIP, params=Params(persona="zeus")), "persona"),
        (replace(FLIP, params=Params(amplify=D("0.1"), delta=D("0.1"))), "delta"),
        (replace(FLIP, params=Params(amplify=D("0.1"), level=Halt.HALT_ALL)), "level"),
        (replace(BOOST, params=Params(delta=D("0.1"))), "persona"),
        (replace(BOOST, params=Params(persona="athena")), "delta"),
        (replace(BOOST, params=Params(persona="athena", delta=D(0))), "delta"),
        (replace(BOOST, params=Params(persona="athena", delta=D("1.1"))), "delta"),
        (replace(HALT, params=Params()), "level"),
        (replace(HALT, params=Params(level=Halt.HALT_ALL, persona="ares")), "persona"),
        (replace(MAINTENANCE, params=Params(level=Halt.HALT_ALL)), "level"),
        (replace(MAINTENANCE, vault_id=None), "vault_id"),
        (replace(FLIP, vault_id=None), "vault_id"),
        (replace(HALT, vault_id=None, follower_id="F_1"), "vault_id"),
        (replace(HALT, reason="a" * 501), "reason"),
        (replace(HALT, reason="two\nlines"), "reason"),
    ],
)  # fmt: skip
def test_what_is_outside_is_refused_with_its_field(new: NewOverlay, field: str):
    with pytest.raises(InvalidInput) as refused:
        new.check()
    assert refused.value.field == field


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=10)))
def test_a_time_is_accepted_exactly_within_its_kinds_range(ttl: timedelta):
    for new in (FLIP, BOOST):
        shortest, longest = TTL[new.kind]
        try:
            replace(new, ttl=ttl).check()
        except InvalidInput:
            assert not shortest <= ttl <= longest
        else:
            assert shortest <= ttl <= longest


_DECIMALS = st.decimals("-0.9", "1", places=12)


@given(st.builds(Params, persona=st.sampled_from([None, "ares"]), amplify=_DECIMALS, delta=_DECIMALS | st.none(),
                 level=st.sampled_from([None, *Halt])))  # fmt: skip
def test_what_is_stored_reads_back_exactly(params: Params):
    assert Params.from_json(params.to_json()) == params


def flip(name: str, start: float, *, follower: str | None = None, ttl: float = 30, amplify: str = "0.1") -> Overlay:
    starts = NOW + minutes(start)
    return Overlay(name, K.FLIP, "V_1", follower, Params(amplify=D(amplify)), starts, starts + minutes(ttl))


def test_an_overlay_counts_from_its_start_to_its_expiry():
    one = flip("a", 0)
    second = timedelta(microseconds=1)
    seen = [one.active(NOW + at) for at in (-second, timedelta(), minutes(30) - second, minutes(30))]
    assert seen == [False, True, True, False]
    assert not replace(one, ended_at=NOW + minutes(1)).active(NOW + minutes(1))
    assert replace(one, expires_at=None).active(NOW + timedelta(days=365))


@pytest.mark.parametrize(
    ("flips", "winner"),
    [
        ([], None),
        ([flip("vault", -5)], "vault"),
        ([flip("early", -10), flip("late", -5)], "late"),
        ([flip("own", -20, follower="F_1"), flip("vault", -5)], "own"),
        ([flip("own", -20, follower="F_1"), flip("newer", -10, follower="F_1"), flip("vault", -5)], "newer"),
        ([flip("of another", -5, follower="F_2")], None),
        ([flip("of another", -5, follower="F_2"), flip("vault", -9)], "vault"),
        ([flip("over", -30, follower="F_1"), flip("vault", -9)], "vault"),
        ([flip("to come", 1), flip("vault", -9)], "vault"),
        ([replace(flip("ended", -5), ended_at=NOW), flip("vault", -9)], "vault"),
        ([flip("same a", -5), flip("same b", -5)], "same b"),
    ],
)
def test_of_overlapping_flips_the_followers_own_then_the_latest_wins_whole(flips: list[Overlay], winner: str | None):
    for order in permutations(flips):
        won = effective_flip(order, NOW, "F_1")
        assert (won and won.overlay_id) == winner


_FLIPS = st.lists(
    st.builds(
        flip,
        st.uuids().map(str),
        st.integers(-70, 10),
        follower=st.sampled_from([None, "F_1", "F_2"]),
        ttl=st.integers(30, 60),
        amplify=st.sampled_from(["-0.5", "0.35", "1"]),
    ),
    max_size=8,
)


@given(_FLIPS, st.randoms(use_true_random=False))
def test_one_flip_wins_whatever_the_order_and_amplifies_never_add_up(flips: list[Overlay], random: Random):
    won = effective_flip(flips, NOW, "F_1")
    shuffled = list(flips)
    random.shuffle(shuffled)
    assert effective_flip(shuffled, NOW, "F_1") == won
    active = [f for f in flips if f.active(NOW) and f.concerns("F_1")]
    assert (won is None) == (not active)
    assert won is None or won in active


def boost(name: str, persona: str, delta: str, *, follower: str | None = None) -> Overlay:
    return Overlay(name, K.BOOST, "V_1", follower, Params(persona, delta=D(delta)), NOW, NOW + minutes(5))


BOOSTS = [
    boost("b", "athena", "0.2", follower="F_1"),
    boost("a", "athena", "-0.05"),
    boost("c", "apollo", "0.7"),
    boost("d", "athena", "0.9", follower="F_2"),
]


def test_boosts_of_the_persona_add_up_over_vault_and_follower():
    found = boosts_for(BOOSTS, NOW, "F_1", "athena")
    assert [o.overlay_id for o in found] == ["a", "b"]
    assert total_delta(found) == D("0.15")
    assert boosts_for(BOOSTS, NOW, "F_1", None) == ()
    assert boosts_for(BOOSTS, NOW + minutes(5), "F_1", "athena") == ()
    assert total_delta(()) == 0


@pytest.mark.parametrize(
    ("halts", "strictest"),
    [
        ([], None),
        ([None, None], None),
        ([Halt.HALT_OPENS, None], Halt.HALT_OPENS),
        ([Halt.HALT_OPENS, Halt.FLATTEN], Halt.FLATTEN),
        ([Halt.HALT_ALL, Halt.FLATTEN, Halt.HALT_OPENS], Halt.HALT_ALL),
    ],
)
def test_the_strictest_halt_counts(halts: Sequence[Halt | None], strictest: Halt | None):
    assert {strongest(order) for order in permutations(halts)} == {strictest}


def test_every_level_has_its_place():
    assert all(strongest([level]) is level for level in Halt)


def test_an_extension_counts_from_the_start():
    one = flip("a", -10)
    assert extended(one, minutes(60), NOW) == one.starts_at + minutes(60)
    assert extended(one, minutes(30), NOW) == one.expires_at


@pytest.mark.parametrize(
    ("overlay", "ttl", "field"),
    [
        (flip("a", -10), 61, "ttl_minutes"),
        (flip("a", -10, ttl=50), 45, "ttl_minutes"),
        (flip("a", -30), 60, "overlay_id"),
        (replace(flip("a", -10), ended_at=NOW), 60, "overlay_id"),
        (Overlay("a", K.HALT, "V_1", None, Params(level=Halt.HALT_ALL), NOW), 60, "overlay_id"),
    ],
)
def test_an_extension_past_the_longest_time_or_of_what_is_over_is_refused(overlay: Overlay, ttl: int, field: str):
    with pytest.raises(InvalidInput) as refused:
        extended(overlay, minutes(ttl), NOW)
    assert refused.value.field == field


@given(st.integers(0, 90), st.integers(0, 90))
def test_no_extension_ever_lasts_past_the_longest_time(at: int, ttl: int):
    one = flip("a", 0)
    try:
        until = extended(one, minutes(ttl), NOW + minutes(at))
    except InvalidInput:
        return
    assert one.expires_at is not None
    assert one.expires_at <= until <= one.starts_at + minutes(60)

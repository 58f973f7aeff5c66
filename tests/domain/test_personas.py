"""What each persona does to a size, number by number."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.personas import MOST_WITHOUT_PERSONA, PERSONAS, Character, Flip, Trait, multiplier
from domain.trace import Trace

D = Decimal
CASES = {
    "nobody": (Character(), None, {}, "1"),
    "athena is careful": (Character("athena"), D("0.9"), {}, "0.6"),
    "apollo grows": (Character("apollo"), None, {}, "1.25"),
    "an override counts for its own trait": (Character("apollo"), None, {"growth": D("0.2")}, "1.5"),
    "and for no other": (Character("apollo"), None, {"risk_averse": D("-0.5")}, "1.25"),
    "an override cannot turn the side round": (Character("athena", D("-0.5")), None, {"risk_averse": D(-1)}, "0"),
    "a boost adds to the override": (Character("apollo", boost=D("0.2")), None, {"growth": D("0.2")}, "1.75"),
    "apollo is clamped": (Character("apollo", boost=D(1)), None, {"growth": D(1)}, "2"),
    "ares without conviction": (Character("ares"), None, {}, "0.8"),
    "ares shrinks with conviction": (Character("ares"), D("0.25"), {}, "0.4"),
    "ares stands aside": (Character("ares"), D("0.5"), {}, "0"),
    "ares takes the other side": (Character("ares"), D(1), {}, "-0.8"),
    "a flip's persona replaces the follower's": (Character("athena", flip=Flip("O", "apollo")), None, {}, "1.25"),
    "a flip amplifies": (Character("athena", flip=Flip("O", amplify=D("0.35"))), None, {}, "0.81"),
    "a flip amplifies the persona that it brings": (
        Character("athena", flip=Flip("O", "nemesis", D("0.1"))), None, {}, "0.88",
    ),
    "a flip is clamped": (Character("athena", flip=Flip("O", amplify=D(9))), None, {}, "1"),
    "a flip without persona is clamped": (Character(flip=Flip("O", amplify=D(9))), None, {}, "2"),
    "a persona that the table does not have": (Character("zeus"), D(1), {"growth": D(1)}, "1"),
}  # fmt: skip


@pytest.mark.parametrize(("character", "score", "overrides", "expected"), CASES.values(), ids=CASES)
def test_a_known_character_has_its_known_multiplier(
    character: Character, score: Decimal | None, overrides: dict[str, Decimal], expected: str
):
    assert multiplier(character, score, overrides, Trace()) == D(expected)


@given(
    st.sampled_from([None, *PERSONAS]),
    st.decimals(min_value=-1, max_value=1, places=3),
    st.none() | st.decimals(min_value=0, max_value=1, places=3),
    st.dictionaries(st.sampled_from(Trait), st.decimals(min_value=-1, max_value=1, places=3)),
    st.none() | st.builds(Flip, st.just("O"), st.none(), st.decimals(min_value="-0.9", max_value=1, places=3)),
)
def test_no_multiplier_leaves_its_personas_bounds(
    name: str | None, boost: Decimal, score: Decimal | None, overrides: dict[str, Decimal], flip: Flip | None
):
    character, trace = Character(name, boost, flip), Trace()
    value = multiplier(character, score, overrides, trace)
    persona = character.in_force()
    most = MOST_WITHOUT_PERSONA if persona is None else persona.most
    assert abs(value) <= most
    assert value >= 0 or (persona is not None and persona.inverts)
    assert not trace.steps or D(trace.steps[-1].result) == value


def test_every_trait_has_one_persona():
    assert sorted(persona.trait for persona in PERSONAS.values()) == sorted(Trait)

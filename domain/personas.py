"""Personas: how a follower's character bends the size of orders that add exposure (SPEC section 3).

Pure data and one function. A persona never touches a reduction: those follow the position, whoever holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from domain.trace import Trace, plain

PERSONAS_VERSION = "1"
_ONE = Decimal(1)
_ZERO = Decimal(0)


class Trait(StrEnum):
    RISK_AVERSE = "risk_averse"
    GROWTH = "growth"
    CONTRARIAN = "contrarian"
    HEDGED = "hedged"


@dataclass(frozen=True, slots=True)
class Persona:
    """`base` multiplies, `most` bounds the multiplier's size, `cap_factor` tightens max_pos_usd.

    `slope`: how much of the multiplier full conviction takes away; above 1 it turns the side round. `hedges`: an order
    that opens brings a hedge leg where the vault names one.
    """

    name: str
    trait: Trait
    base: Decimal
    most: Decimal
    cap_factor: Decimal = _ONE
    slope: Decimal = _ZERO
    hedges: bool = False

    @property
    def inverts(self) -> bool:
        return self.slope > 1


PERSONAS: Mapping[str, Persona] = MappingProxyType(
    {
        persona.name: persona
        for persona in (
            Persona("athena", Trait.RISK_AVERSE, base=Decimal("0.6"), most=_ONE, cap_factor=Decimal("0.75")),
            Persona("apollo", Trait.GROWTH, base=Decimal("1.25"), most=Decimal(2)),
            Persona("ares", Trait.CONTRARIAN, base=Decimal("0.8"), most=_ONE, slope=Decimal(2)),
            Persona("nemesis", Trait.HEDGED, base=Decimal("0.8"), most=_ONE, hedges=True),
        )
    }
)
# A follower without a persona takes the manager's size; only a flip's amplify can raise it, and not beyond this.
MOST_WITHOUT_PERSONA = Decimal(2)


@dataclass(frozen=True, slots=True)
class Flip:
    """An active flip mode as it counts for one follower: another persona, a weighting, or both."""

    overlay_id: str
    persona: str | None = None
    amplify: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Character:
    """What bends one follower's sizes. `boost` is the sum of active persona boosts of its persona's trait."""

    persona: str | None = None
    boost: Decimal = _ZERO
    flip: Flip | None = None

    def in_force(self) -> Persona | None:
        """The persona that counts: the flip's, where it names one. A name that no table has counts as none."""
        name = self.flip.persona if self.flip is not None and self.flip.persona is not None else self.persona
        return None if name is None else PERSONAS.get(name)


def multiplier(character: Character, score: Decimal | None, overrides: Mapping[str, Decimal], trace: Trace) -> Decimal:
    """persona base × (1 + override of its trait), then conviction, then flip, then clamps; negative: the other side.

    `score` is the manager's conviction, 0 to 1, `overrides` trait → delta (SPEC section 3). Adds a step to `trace` for
    every factor that is there.
    """
    persona, value = character.in_force(), _ONE
    if persona is not None:
        value = persona.base
        trace.add("persona", persona.name, value, f"{persona.name} ({persona.trait}) starts from {plain(persona.base)}")
        value = _overridden(persona, value, character.boost, overrides, trace)
        value = _convinced(persona, value, score, trace)
    flip = character.flip
    if flip is not None:
        value *= 1 + flip.amplify
        trace.add("flip", flip.amplify, value, f"flip mode {flip.overlay_id} weighs it by 1 + {plain(flip.amplify)}")
    most = MOST_WITHOUT_PERSONA if persona is None else persona.most
    least = -most if persona is not None and persona.inverts else _ZERO
    clamped = min(max(value, least), most)
    if clamped != value:
        trace.add("clamp", most, clamped, f"kept within {plain(least)} and {plain(most)}")
    return clamped


def _overridden(
    persona: Persona, value: Decimal, boost: Decimal, overrides: Mapping[str, Decimal], trace: Trace
) -> Decimal:
    override = overrides.get(persona.trait, _ZERO)
    if override == 0 and boost == 0:
        return value
    value *= max(1 + override + boost, _ZERO)
    why = f"the manager's override of {persona.trait}: {plain(override)}, persona boosts: {plain(boost)}"
    trace.add("override", override + boost, value, why)
    return value


def _convinced(persona: Persona, value: Decimal, score: Decimal | None, trace: Trace) -> Decimal:
    if persona.slope == 0 or score is None:
        return value
    value *= 1 - persona.slope * score
    why = "goes against the manager's conviction"
    trace.add("conviction", score, value, f"{why}, to the other side" if value < 0 else why)
    return value

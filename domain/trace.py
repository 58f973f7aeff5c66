"""How a decision explains itself: one step after another, each with its numbers and its words."""

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One factor, cap or rounding: what it did, in numbers and in plain words.

    `result` is what there is after the step: a quantity, or for the factors of a persona the multiplier so far.
    """

    rule: str
    value: str
    result: str
    why: str


@dataclass(slots=True)
class Trace:
    """Steps in the order in which they were taken."""

    steps: list[TraceStep] = field(default_factory=list)

    def add(self, rule: str, value: object, result: Decimal, why: str) -> None:
        self.steps.append(TraceStep(rule, plain(value), plain(result), why))


def plain(value: object) -> str:
    """A decimal without exponent or trailing zeros; anything else as text."""
    if not isinstance(value, Decimal):
        return str(value)
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text

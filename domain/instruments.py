"""What is kept of an instrument, and how it may be changed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.calendars import DEFAULTS, check_calendar, flags_of
from domain.errors import InvalidInput
from domain.ids import is_readable_id
from domain.sizing import plain
from domain.venues import VenueInstrument

FINEST = Decimal("0.000000001")  # nine places: what Alpaca takes of a share
_STEPS = ("qty_step", "fine_step")
_LEASTS = ("min_qty", "min_notional")


@dataclass(frozen=True, slots=True)
class InstrumentTerms:
    """`qty_step` counts for accounts that take whole units, `fine_step` for those that take fractions, and for crypto.

    Steps and minimums are in units of the symbol, `min_notional` is in USD. `calendar` None or `24/7`: it trades at all
    times. `tradable` is ours to set, `flags` the venue's.
    """

    venue: str
    rail: str
    qty_step: Decimal = Decimal(1)
    fine_step: Decimal = FINEST
    min_qty: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    tradable: bool = True
    calendar: str | None = None
    flags: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises InvalidInput naming the field."""
        if not isinstance(self.venue, str) or not is_readable_id(self.venue):
            raise InvalidInput("venue", "must be a venue code such as XNAS")
        if self.rail not in DEFAULTS:
            raise InvalidInput("rail", f"must be one of {', '.join(DEFAULTS)}")
        for name in (*_STEPS, *_LEASTS):
            value: Decimal = getattr(self, name)
            if not value.is_finite() or value < 0 or (name in _STEPS and value == 0):
                raise InvalidInput(name, "must be a finite number, above zero where it is a step")
        if not isinstance(self.tradable, bool):
            raise InvalidInput("tradable", "must be true or false")
        check_calendar(self.calendar)


def merged(before: InstrumentTerms | None, changes: Mapping[str, Any]) -> InstrumentTerms:
    """The terms with those changes, by name; a new instrument needs a venue and a rail, whose calendar it gets.

    Raises InvalidInput naming the field.
    """
    known = {field.name for field in fields(InstrumentTerms)}
    unknown = sorted(str(name)[:64] for name in changes if name not in known)
    if unknown:
        raise InvalidInput(unknown[0], f"is not known; known are {', '.join(sorted(known))}")
    given = {name: _typed(name, value) for name, value in changes.items()}
    if before is None:
        missing = [name for name in ("venue", "rail") if name not in given]
        if missing:
            raise InvalidInput(missing[0], "is missing, and there is no such instrument yet")
        given = {"calendar": DEFAULTS.get(given["rail"]), **given}
    after = InstrumentTerms(**given) if before is None else replace(before, **given)
    after.check()
    return after


def as_published(before: InstrumentTerms, told: VenueInstrument) -> InstrumentTerms:
    """The terms with what the venue says: its finest step, its minimums where it has some, its flags."""
    coins = before.rail == "crypto"
    return replace(
        before,
        fine_step=told.qty_step,
        qty_step=told.qty_step if coins else before.qty_step,
        min_qty=before.min_qty if told.min_qty is None else told.min_qty,
        min_notional=before.min_notional if told.min_notional is None else told.min_notional,
        flags=tuple(sorted(told.flags)),
    )


def differences(before: InstrumentTerms | None, after: InstrumentTerms) -> dict[str, dict[str, Any]]:
    """Name → from and to, of what is not the same; numbers as exact texts."""
    changes = {}
    for name in (field.name for field in fields(after)):
        old, new = None if before is None else getattr(before, name), getattr(after, name)
        if before is None or old != new:
            changes[name] = {"from": _shown(old), "to": _shown(new)}
    return changes


def _typed(name: str, value: Any) -> Any:
    if name == "flags":
        if not isinstance(value, list | tuple) or not all(isinstance(flag, str) for flag in value):
            raise InvalidInput("flags", "must be a list of texts")
        return tuple(sorted(flags_of(value)))
    if name not in (*_STEPS, *_LEASTS):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidInput(name, "must be a decimal number, best written as a string")
    try:
        return Decimal(value)
    except InvalidOperation:
        raise InvalidInput(name, "must be a decimal number, best written as a string") from None


def _shown(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else list(value) if isinstance(value, tuple) else value

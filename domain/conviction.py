"""A manager order's `meta.conviction`, which sizes depend on: checked at intake, read exactly afterwards."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from domain.errors import InvalidInput
from domain.personas import Trait

TRAITS = tuple(trait.value for trait in Trait)
_NUMBER = re.compile(r"[+-]?[0-9]{1,2}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
_PATH = "meta.conviction"


def check_conviction(conviction: Mapping[str, Any]) -> None:
    """Raises InvalidInput naming the field, for a score or an override that sizing could not use.

    `score` is 0 to 1; `overrides` map a trait to a delta of -1 to 1. Everything else is its author's own.
    """
    if conviction.get("score") is not None:
        _check_within(f"{_PATH}.score", conviction["score"], 0)
    overrides = conviction.get("overrides")
    if overrides is None:
        return
    if not isinstance(overrides, dict):
        raise InvalidInput(f"{_PATH}.overrides", "must map traits to numbers")
    for trait, delta in overrides.items():
        field = f"{_PATH}.overrides.{str(trait)[:64]}"
        if trait not in TRAITS:
            raise InvalidInput(field, f"is not a trait; known are {', '.join(TRAITS)}")
        _check_within(field, delta, -1)


def _check_within(field: str, value: Any, least: int) -> None:
    reason = f"must be a decimal number from {least} to 1 with at most 18 places"
    # A float has already lost digits; from JSON, numbers come as int or Decimal.
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidInput(field, reason)
    if _NUMBER.fullmatch(str(value)) is None or not least <= Decimal(str(value)) <= 1:
        raise InvalidInput(field, reason)

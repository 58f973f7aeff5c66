"""The OS's vaults as a file: a JSON list of objects, one per vault; see docs/gateway.md.

All or nothing: a file with a fault anywhere has no vaults, and all of its faults are told at once, each by its path.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from domain.enrolment import NewVault
from domain.errors import InvalidFile, InvalidInput

MAX_VAULTS = 5_000
MAX_DEPTH = 16
_NEEDED = ("vault_id", "label", "rails")
_MAX_DIGITS, _MAX_PLACES = 28, 12


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """`vault` with defaults for what is left out; `given` are the names that are not."""

    path: str
    vault: NewVault
    given: frozenset[str] = field(default=frozenset())


def parse(text: str) -> list[VaultEntry]:
    """Every digit kept. Raises InvalidFile with all faults."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InvalidFile([InvalidInput("vaults", f"is not JSON: {str(error)[:100]}")]) from None
    if not isinstance(found, list) or len(found) > MAX_VAULTS:
        raise InvalidFile([InvalidInput("vaults", f"must be a list of at most {MAX_VAULTS} objects")])
    entries: list[VaultEntry] = []
    faults: list[InvalidInput] = []
    seen: set[str] = set()
    for number, raw in enumerate(found):
        path = f"vaults[{number}]"
        try:
            made = _entry(path, raw, faults)
        except InvalidInput as fault:
            faults.append(InvalidInput(f"{path}.{fault.field}", fault.reason))
            continue
        if made is not None and made.vault.vault_id in seen:
            faults.append(InvalidInput(f"{path}.vault_id", "stands in the file twice"))
        elif made is not None:
            seen.add(str(made.vault.vault_id))
            entries.append(made)
    if faults:
        raise InvalidFile(faults)
    return entries


def _entry(path: str, raw: Any, faults: list[InvalidInput]) -> VaultEntry | None:
    """None, and its faults told, where a field is not of its kind. Raises InvalidInput for what a vault cannot be."""
    if not isinstance(raw, dict):
        faults.append(InvalidInput(path, "must be an object"))
        return None
    wrong = [InvalidInput(f"{path}.{name[:64]}", "is not a field of a vault") for name in raw if name not in _FIELDS]
    wrong += [InvalidInput(f"{path}.{name}", "is missing") for name in _NEEDED if name not in raw]
    for name, (kind, says) in _FIELDS.items():
        if name in raw and not (kind(raw[name]) and _storable(raw[name])):
            wrong.append(InvalidInput(f"{path}.{name}", says))
    if wrong:
        faults += wrong
        return None
    vault = NewVault(
        label=raw["label"],
        rails=tuple(dict.fromkeys(raw["rails"])),
        personas=tuple(dict.fromkeys(raw.get("personas", ()))),
        risk_profile=raw.get("risk_profile", {}),
        public=raw.get("public", False),
        nav_usd=None if raw.get("nav") is None else Decimal(raw["nav"]),
        vault_id=raw["vault_id"],
    )
    vault.check()
    return VaultEntry(path, vault, frozenset(raw))


def _id(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("V_")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _money(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return False
    try:
        number = Decimal(value)
    except InvalidOperation:
        return False
    if not number.is_finite() or number <= 0:
        return False
    exponent = number.as_tuple().exponent
    short = len(number.as_tuple().digits) <= _MAX_DIGITS and number.adjusted() < _MAX_DIGITS
    return short and isinstance(exponent, int) and -exponent <= _MAX_PLACES


_Check = Callable[[Any], bool]
_FIELDS: Mapping[str, tuple[_Check, str]] = {
    "vault_id": (_id, "must be a text that starts with V_"),
    "label": (lambda value: isinstance(value, str), "must be a text"),
    "rails": (_texts, "must list fiat, crypto or both"),
    "personas": (_texts, "must be a list of personas' names"),
    "risk_profile": (lambda value: isinstance(value, dict), "must be an object, without NUL and not deeply nested"),
    "public": (lambda value: isinstance(value, bool), "must be true or false"),
    "nav": (_money, f"must be USD above zero, {_MAX_DIGITS} digits and {_MAX_PLACES} decimals at most, best a string"),
}


def _storable(value: Any, depth: int = 0) -> bool:
    """Whether the database can hold the texts, and nobody's parser chokes on the nesting."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(_storable(name) and _storable(item, depth + 1) for name, item in value.items())
    return not isinstance(value, list) or all(_storable(item, depth + 1) for item in value)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in an object twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")

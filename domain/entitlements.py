"""What a tenant may use: one typed list of entitlements, which a plan grants and a subscription stores (SPEC 9).

A count of None is without limit. What a stored list lacks, or has wrong, is not granted: an entitlement is something
that somebody has given on purpose.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from domain.enrolment import BROKER_VENUES
from domain.errors import InvalidInput
from domain.personas import PERSONAS
from domain.terms import Mode

# Subscriptions in these states grant what they list; past due is a time of grace.
GRANTING = ("active", "trialing", "past_due")
# Nobody has paid for these yet: whoever has no others has what somebody has that never subscribed.
NOT_BEGUN = ("incomplete", "incomplete_expired")

_AGE = 36_500  # no log is older, and no time so long ago that it cannot be reckoned


@dataclass(frozen=True, slots=True)
class Entitlements:
    """The defaults grant nothing.

    Counts: `vaults`, `followers` of all vaults, `audit_retention_days`, `api_rate` in requests per minute. Lists:
    `personas`, `modes` of followers, and `bridged_brokers` by venue. `public_vaults`: to see those of other tenants.
    """

    vaults: int | None = 0
    followers: int | None = 0
    personas: tuple[str, ...] = ()
    flip_mode: bool = False
    bridged_brokers: tuple[str, ...] = ()
    audit_retention_days: int | None = 0
    replay: bool = False
    exports: bool = False
    api_rate: int | None = 0
    public_vaults: bool = False
    modes: tuple[str, ...] = ()

    def audit_since(self, now: datetime) -> datetime | None:
        """What of the audit log is older is not shown; None: all is."""
        return None if self.audit_retention_days is None else now - timedelta(days=min(self.audit_retention_days, _AGE))

    def to_json(self) -> dict[str, Any]:
        """As a subscription stores it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


NOTHING = Entitlements()
EVERYTHING = Entitlements(
    vaults=None,
    followers=None,
    personas=tuple(sorted(PERSONAS)),
    flip_mode=True,
    bridged_brokers=tuple(sorted(BROKER_VENUES)),
    audit_retention_days=None,
    replay=True,
    exports=True,
    api_rate=None,
    public_vaults=True,
    modes=tuple(sorted(Mode)),
)


def from_stored(stored: Mapping[str, Any]) -> Entitlements:
    """Names that are not known are of a later version, and not read."""
    kinds = {field.name: getattr(NOTHING, field.name) for field in fields(NOTHING)}
    read = {name: _read(stored[name], kind) for name, kind in kinds.items() if name in stored}
    return replace(NOTHING, **{name: value for name, value in read.items() if value is not _WRONG})


_WRONG = object()


def _read(value: Any, kind: Any) -> Any:
    if isinstance(kind, bool):
        return value if isinstance(value, bool) else _WRONG
    if isinstance(kind, tuple):
        whole = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return tuple(dict.fromkeys(value)) if whole else _WRONG
    counted = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if counted or value is None else _WRONG


def checked(name: str, value: Any) -> Any:
    """The value as it is stored. Raises InvalidInput for a name that is none, or a value that is not of its type."""
    kinds = EVERYTHING.to_json()
    if name not in kinds:
        raise InvalidInput("name", f"there is no entitlement {name[:40]!r}; they are {', '.join(kinds)}")
    read = from_stored({name: value}).to_json()[name]
    if type(value) is not type(read) or value != read:  # to Python, False is 0
        raise InvalidInput("value", f"of {name} cannot be {str(value)[:80]!r}: it takes {_takes(name)}")
    whole = getattr(EVERYTHING, name)
    if isinstance(whole, tuple) and (unknown := sorted(set(value) - set(whole))):
        raise InvalidInput("value", f"of {name} does not know {', '.join(unknown)[:80]}: it takes {_takes(name)}")
    return value


def _takes(name: str) -> str:
    whole = getattr(EVERYTHING, name)
    if isinstance(whole, bool):
        return "true or false"
    return f"a list out of {', '.join(whole)}" if isinstance(whole, tuple) else "a whole number, or null for no limit"


def granting(plan: Entitlements, status: str, *, close_only: bool, overrides: Mapping[str, Any]) -> Entitlements:
    """What a subscription grants and stores: its plan with the tenant's overrides, as far as it is paid for."""
    whole = overridden(plan, overrides)
    if status in GRANTING and not close_only:
        return whole
    return NOTHING if status in NOT_BEGUN else reading_only(whole)


def overridden(plan: Entitlements, overrides: Mapping[str, Any]) -> Entitlements:
    """An override takes the place of what the plan says, be it more or less."""
    return from_stored({**plan.to_json(), **overrides})


def reading_only(whole: Entitlements) -> Entitlements:
    """What stays to somebody who stopped paying: he sees all that he saw, and nothing of his grows."""
    kept = ("audit_retention_days", "replay", "exports", "api_rate")
    return replace(NOTHING, **{name: getattr(whole, name) for name in kept})


def smaller(one: Entitlements, other: Entitlements) -> Entitlements:
    """What both allow."""
    first, second = one.to_json(), other.to_json()
    return from_stored({name: _least(first[name], second[name]) for name in first})


def _least(one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [item for item in one if item in other]
    if isinstance(one, bool):
        return one and other
    return min((count for count in (one, other) if count is not None), default=None)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a tenant has at the moment, and by which subscription; None: it has none that grants anything."""

    entitlements: Entitlements
    plan_id: str | None = None
    status: str | None = None

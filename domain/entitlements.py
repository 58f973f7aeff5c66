"""What a tenant may use: one typed list of entitlements, which a plan grants and a subscription stores (SPEC 9).

A count of None is without limit. What a stored list lacks, or has wrong, is not granted: an entitlement is something
that somebody has given on purpose.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from domain.enrolment import BROKER_VENUES
from domain.personas import PERSONAS
from domain.terms import Mode

# Subscriptions in these states grant what they list; past due is a time of grace.
GRANTING = ("active", "trialing", "past_due")


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


@dataclass(frozen=True, slots=True)
class Granted:
    """What a tenant has at the moment, and by which subscription; None: it has none that grants anything."""

    entitlements: Entitlements
    plan_id: str | None = None
    status: str | None = None


def granted(subscriptions: list[tuple[str, str, Mapping[str, Any]]], without: Entitlements) -> Granted:
    """From (plan, status, stored entitlements) of the tenant's subscriptions, the one that counts first.

    `without` is for a tenant that has none. One whose subscriptions have ended has what they leave, which is nothing.
    """
    for plan_id, status, stored in subscriptions:
        if status in GRANTING:
            return Granted(from_stored(stored), plan_id, status)
    if not subscriptions:
        return Granted(without)
    plan_id, status, _ = subscriptions[0]
    return Granted(NOTHING, plan_id, status)

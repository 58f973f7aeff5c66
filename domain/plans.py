"""The catalogue of plans: what each costs and grants (SPEC 9). Pure data; the file is read by `adapters.payments`.

Money is in integer minor units (US cents). A plan that changes gets a new version beside the old one: whoever pays for
an old one keeps it until he changes, and only the newest is sold.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from domain.entitlements import NOTHING, Entitlements, from_stored
from domain.errors import InvalidInput

_PLAN_ID = re.compile(r"^[a-z][a-z0-9-]{0,31}$")
MAX_PRICE_MINOR = 100_000_000
MAX_TRIAL_DAYS = 90


class Interval(StrEnum):
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Plan:
    """`price_minor` per interval, in minor units of `currency` (US cents)."""

    plan_id: str
    version: int
    title: str
    price_minor: int
    interval: Interval
    trial_days: int
    entitlements: Entitlements
    currency: str = "usd"

    @property
    def ref(self) -> str:
        """What the plan's version is called at a payment system."""
        return f"vanta_{self.plan_id}_v{self.version}"

    @property
    def yearly_minor(self) -> int:
        """What plans are compared by."""
        return self.price_minor * (12 if self.interval is Interval.MONTH else 1)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All versions of all plans, cheapest first. `version` is that of the file."""

    version: int
    plans: tuple[Plan, ...]

    def sold(self) -> tuple[Plan, ...]:
        """The newest version of each plan, cheapest first."""
        newest: dict[str, Plan] = {}
        for plan in self.plans:
            if plan.plan_id not in newest or newest[plan.plan_id].version < plan.version:
                newest[plan.plan_id] = plan
        return tuple(sorted(newest.values(), key=lambda plan: (plan.yearly_minor, plan.plan_id)))

    def current(self, plan_id: str) -> Plan:
        """The version that is sold. Raises InvalidInput naming `plan_id`."""
        for plan in self.sold():
            if plan.plan_id == plan_id:
                return plan
        known = ", ".join(plan.plan_id for plan in self.sold())
        raise InvalidInput("plan_id", f"there is no plan {plan_id[:40]!r}; plans are {known}")

    def get(self, plan_id: str, version: int) -> Plan | None:
        """That very version; None where the catalogue does not have it any more."""
        return next((p for p in self.plans if (p.plan_id, p.version) == (plan_id, version)), None)

    def by_ref(self, ref: str) -> Plan | None:
        """The plan that a payment system names so."""
        return next((plan for plan in self.plans if plan.ref == ref), None)


def parse_catalogue(stored: Mapping[str, Any]) -> Catalogue:
    """From the file's own structure. Raises InvalidInput naming what is wrong."""
    version = _integer("version", stored.get("version"), least=1)
    listed = stored.get("plans")
    if not isinstance(listed, list) or not listed:
        raise InvalidInput("plans", "must be a list of plans")
    plans = tuple(_plan(f"plans[{n}]", each) for n, each in enumerate(listed))
    _refuse_twice(plans)
    if len({plan.currency for plan in plans}) > 1:
        raise InvalidInput("plans", "must all be in one currency")
    return Catalogue(version, tuple(sorted(plans, key=lambda p: (p.yearly_minor, p.plan_id, p.version))))


def _refuse_twice(plans: Iterable[Plan]) -> None:
    seen: set[str] = set()
    for plan in plans:
        if plan.ref in seen:
            raise InvalidInput("plans", f"has version {plan.version} of {plan.plan_id} twice")
        seen.add(plan.ref)


_FIELDS = {"plan_id", "version", "title", "price_minor", "currency", "interval", "trial_days", "entitlements"}


def _plan(where: str, stored: Any) -> Plan:
    if not isinstance(stored, Mapping):
        raise InvalidInput(where, "must be a plan")
    _only(where, stored, _FIELDS)
    plan_id, title, currency = (stored.get(name) for name in ("plan_id", "title", "currency"))
    if not isinstance(plan_id, str) or _PLAN_ID.fullmatch(plan_id) is None:
        raise InvalidInput(f"{where}.plan_id", "must be lower-case letters, digits and hyphens, at most 32")
    if not isinstance(title, str) or not title.strip():
        raise InvalidInput(f"{where}.title", "must say what the plan is called")
    if currency != "usd":
        raise InvalidInput(f"{where}.currency", "must be usd")
    try:
        interval = Interval(str(stored.get("interval")))
    except ValueError:
        raise InvalidInput(f"{where}.interval", f"must be one of {', '.join(Interval)}") from None
    return Plan(
        plan_id,
        _integer(f"{where}.version", stored.get("version"), least=1),
        title.strip(),
        _integer(f"{where}.price_minor", stored.get("price_minor"), least=0, most=MAX_PRICE_MINOR),
        interval,
        _integer(f"{where}.trial_days", stored.get("trial_days"), least=0, most=MAX_TRIAL_DAYS),
        _entitlements(f"{where}.entitlements", stored.get("entitlements")),
    )


def _entitlements(where: str, stored: Any) -> Entitlements:
    """All of them, each of its type: a file that forgets one would take it from people who paid for it."""
    names = {field.name for field in fields(NOTHING)}
    if not isinstance(stored, Mapping):
        raise InvalidInput(where, "must list the plan's entitlements")
    _only(where, stored, names)
    if missing := sorted(names - stored.keys()):
        raise InvalidInput(where, f"lacks {', '.join(missing)}")
    read = from_stored(stored)
    for name, value in read.to_json().items():
        if type(value) is not type(stored[name]) or value != stored[name]:  # to Python, False is 0
            raise InvalidInput(f"{where}.{name}", f"cannot be {stored[name]!r}")
    return read


def _only(where: str, stored: Mapping[str, Any], names: set[str]) -> None:
    if unknown := sorted(str(name) for name in stored.keys() - names):
        raise InvalidInput(where, f"does not know {', '.join(unknown)}")


def _integer(where: str, value: Any, *, least: int, most: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise InvalidInput(where, f"must be a whole number of at least {least}" + (f", at most {most}" if most else ""))
    return value

"""What followers may open by what their subscribers have paid for: as a snapshot freezes it, and in words. Pure.

Rights stop only what opens or increases a position; what reduces one passes whatever a subscriber has, so that billing
never strands anybody. A follower's subscriber may be another tenant than its vault's: what is frozen, and what is said,
tells what this one follower may not do, and nothing of its subscriber's plan or payments.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.entitlements import EVERYTHING, Entitlements
from domain.plans import Plan

_WORDS = {
    "followers": "older followers of its subscriber are as many as it may have",
    "mode": "its subscriber may not have followers in mode {of}",
    "broker": "its subscriber may not have accounts at {of}",
    "persona": "its subscriber may not use persona {of}",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """`without`: what a tenant has that never subscribed; `plans`: those that are sold, cheapest first."""

    without: Entitlements
    plans: tuple[Plan, ...] = ()

    def limits(self, has: Entitlements, flips: Collection[str]) -> dict[str, Any]:
        """What followers of a subscriber with these entitlements may not open by, each with the cheapest plan that

        allows it, or an empty text; nothing where they may do everything. `flips`: personas of the flips in force.
        `followers` is there where their number is limited at all.
        """
        personas = self._lacking(EVERYTHING.personas, lambda e: e.personas, has)
        found: dict[str, Any] = {
            "modes": self._lacking(EVERYTHING.modes, lambda e: e.modes, has),
            "bridged_brokers": self._lacking(EVERYTHING.bridged_brokers, lambda e: e.bridged_brokers, has),
            "personas": personas,
            "flips": {name: personas[name] for name in sorted(flips) if name in personas},
        }
        limits = {name: lacking for name, lacking in found.items() if lacking}
        most = has.followers
        if most is None:
            return limits
        return {**limits, "followers": self._allowing(lambda e: e.followers is None or e.followers > most)}

    def _lacking(
        self, names: Iterable[str], kind: Callable[[Entitlements], Collection[str]], has: Entitlements
    ) -> dict[str, str]:
        lacking = (str(name) for name in names if name not in kind(has))
        return {name: self._allowing(lambda e, name=name: name in kind(e)) for name in lacking}  # type: ignore[misc]

    def _allowing(self, allows: Callable[[Entitlements], bool]) -> str:
        return next((plan.plan_id for plan in self.plans if allows(plan.entitlements)), "")


def lack(lacks: Mapping[str, Any] | None, terms: Mapping[str, Any], persona: str | None) -> str:
    """In words, which of its subscriber's rights a follower would need to open; empty where it needs none.

    `lacks` and `terms` as frozen; `persona` is the one in force, its own or a flip's.
    """
    if not lacks:
        return ""
    own = persona == terms["persona"]
    worn = lacks.get("persona") if own else lacks.get("flips", {}).get(persona)
    wanted = (
        ("followers", lacks.get("followers"), ""),
        ("mode", lacks.get("mode"), terms["mode"]),
        ("broker", lacks.get("broker"), terms["route"]),
        ("persona", None if persona is None else worn, persona),
    )
    for name, plan, of in wanted:
        if plan is not None:
            return _WORDS[name].format(of=of) + (f"; plan {plan} allows it" if plan else "")
    return ""

"""What a follower is shown of his orders: nothing of the vault's books, the manager's people, other followers. Pure.

The manager's order itself is told to him, as it is what his size is made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

from domain.explain import Story
from domain.sizing import plain

Row = Mapping[str, Any]
_PEOPLE = {"user": "the manager", "service": "the manager"}
# Of a manager order's events; what is not here counts other followers, or names what was frozen of the vault.
_TOLD = ("source", "effect", "waits_until", "why", "reason")
_SIX = Decimal("0.000001")


def who(actor: str) -> str:
    """An actor by what he is: `the manager`, `system`, `operator`, `follower`."""
    kind = actor.partition(":")[0]
    return _PEOPLE.get(kind, kind)


def trace(steps: Sequence[Row]) -> list[dict[str, Any]]:
    """Without the vault's position, which reductions are measured by: the fraction itself is the follower's, too."""
    return [{**step, "value": _value(step)} for step in steps]


def story(of: Story) -> Story:
    """The same story as the follower may be told it; `domain.explain` puts it into words as for everybody."""
    return replace(
        of,
        order={**of.order, "trace": trace(of.order["trace"])},
        manager={**of.manager, "actor": who(of.manager["actor"])},
        events=[_event(event) for event in of.events],
    )


def _value(step: Row) -> str:
    if step["rule"] == "full_exit":
        return "all"
    part, slash, whole = str(step["value"]).partition("/")
    if step["rule"] != "fraction" or not slash:
        return str(step["value"])
    with localcontext(prec=60):
        return plain((Decimal(part) / Decimal(whole)).quantize(_SIX))


def _event(event: Row) -> Row:
    payload = event["payload"]
    if event["entity"] == "manager_order":
        payload = {name: payload[name] for name in _TOLD if name in payload}
    elif "redriven_by" in payload:
        payload = {**payload, "redriven_by": who(payload["redriven_by"])}
    return {**event, "actor": who(event["actor"]), "payload": payload}

"""Why this order, why this size, why now (SPEC section 10): told from what is stored of it and nothing else. Pure.

Rows come as mappings, by the names of their columns, so that a database row and a DAG's JSON explain alike. Quantities
are in units of the instrument, money is in USD, times are as they were given. Every item names the audit event that
proves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain import explain_legs, explain_size, explain_timeline
from domain.explain_words import SENDABLE, number, side_words, stop_words, words
from domain.sizing import plain

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One reason. `rule` names it for machines, `event_id` is the audit event that it is written in."""

    rule: str
    text: str
    event_id: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened, when, and by whom; `event_id` is its audit event."""

    at: Any
    action: str
    actor: str
    text: str
    event_id: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """`why` this order, why this `size`, why now (`timeline`); `text` is a short paragraph for the follower.

    `money` is what was changed before it, leg by leg.
    """

    why: tuple[Item, ...]
    size: tuple[Item, ...]
    timeline: tuple[Moment, ...]
    text: str
    money: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """A follower order with what belongs to it. `events` are its own audit events and its manager order's, in order.

    `snapshot` is the body of the manager order's snapshot.
    """

    order: Row
    manager: Row
    snapshot: Row | None
    attempts: Sequence[Row]
    fills: Sequence[Row]
    events: Sequence[Row]
    legs: Sequence[Row] = ()

    def first(self, entity: str, *actions: str) -> int | None:
        """The id of the entity's first event, or of its first with one of these actions."""
        for event in self.events:
            if event["entity"] == entity and (not actions or event["action"] in actions):
                return int(event["event_id"])
        return None


def explain(story: Story) -> Explanation:
    """Whatever state the order is in: sized, sent, killed, buried or redriven."""
    sized = story.first("follower_order")
    size = tuple(
        Item(rule, text, sized)
        for rule, text in explain_size.sentences(story.order, story.snapshot or {})
    )  # fmt: skip
    timeline = tuple(
        Moment(event["ts"], event["action"], event["actor"], text, int(event["event_id"]))
        for event, text in explain_timeline.moments(story.order, story.manager, story.attempts, story.events)
    )
    return Explanation(_why(story), size, timeline, _text(story), _money(story))


def _why(story: Story) -> tuple[Item, ...]:
    manager, meta = story.manager, story.manager["meta"]
    received = story.first("manager_order", "received")
    admitted = story.first("manager_order", "dispatching")
    sized = story.first("follower_order")
    found = [Item("order", _asked(story), received)]
    found += [Item("reason", str(reason), received) for reason in meta.get("reason_vector", [])]
    if conviction := _conviction(meta.get("conviction", {})):
        found.append(Item("conviction", conviction, received))
    if manager["effect"] is not None:
        found.append(Item("effect", _EFFECTS[manager["effect"]], admitted))
    persona = next((step for step in story.order["trace"] if step["rule"] == "persona"), None)
    if persona is not None:
        found.append(Item("persona", f"It is sized for the persona {persona['value']}.", sized))
    if story.order["leg"]:
        found.append(Item("hedge", f"It hedges your order in {manager['symbol']}.", sized))
    if stopped := _stopped(story):
        found.append(stopped)
    return tuple(found)


def _money(story: Story) -> tuple[Item, ...]:
    found = []
    for leg, text in explain_legs.sentences(story.legs):
        its = [e for e in story.events if e["entity"] == "order_leg" and e["payload"]["leg_id"] == leg["leg_id"]]
        found.append(Item("leg", text, int(its[-1]["event_id"]) if its else None))
    if (left := explain_legs.left(story.order, story.legs)) is not None:
        found.append(Item("left", left, None))
    return tuple(found)


_EFFECTS = {
    "open": "It opens or adds to the vault's position, so it expires, and limits on new exposure hold.",
    "reduce": "It reduces the vault's position: your holding falls by the same fraction.",
}
_KINDS = {
    "flatten": "The kill path has everything that is held of {symbol} sold",
    "correction": "Reconciliation corrects what you hold of {symbol}",
}


def _asked(story: Story) -> str:
    manager = story.manager
    kind = manager.get("kind", "order")
    if kind in _KINDS:
        head = _KINDS[kind].format(symbol=manager["symbol"])
    else:
        terms = [manager.get("order_type") or manager.get("type") or "market", manager["tif"]]
        head = f"The manager's order: {manager['side']} {number(manager['qty'])} {manager['symbol']}"
        head += f" ({', '.join(terms)}) on vault {manager['vault_id']}"
    return f"{head}, given by {manager['actor']} through {words(manager['source'])}."


def _conviction(conviction: Row) -> str | None:
    parts = [f"{name} {conviction[name]}" for name in ("score", "band", "persona") if conviction.get(name) is not None]
    parts += [f"{words(trait)} {delta}" for trait, delta in (conviction.get("overrides") or {}).items()]
    return f"The manager's conviction: {', '.join(parts)}." if parts else None


def _stopped(story: Story) -> Item | None:
    """What ended the order short of its fill; None where nothing has."""
    order = story.order
    if order["state"] not in {"skipped", "killed", "cancelled", "rejected", "dead_letter", "shadowed"}:
        return None
    event = next((e for e in reversed(story.events) if e["action"] == order["state"]), None)
    text = f"It is {words(order['state'])}: {stop_words(order)}."
    if order["state"] == "shadowed":
        text = "It is only shadowed: your mode is shadow, so nothing is sent."
    return Item("stop", text, None if event is None else int(event["event_id"]))


def _text(story: Story) -> str:
    """In the follower's own words: what, of what, how it ended."""
    order, manager = story.order, story.manager
    reasons = ", ".join(str(reason) for reason in manager["meta"].get("reason_vector", []))
    asked = f"The manager of vault {manager['vault_id']} ordered to {manager['side']} {number(manager['qty'])} "
    asked += manager["symbol"] + (f" ({reasons})" if reasons else "") + "."
    if manager.get("kind", "order") in _KINDS:
        asked = _KINDS[manager["kind"]].format(symbol=manager["symbol"]) + "."
    # A leg that failed has said it already.
    left = None if order.get("reason") == "leg_failed" else explain_legs.left(order, story.legs)
    return " ".join((asked, explain_size.share(order), _ending(story), *([] if left is None else [left])))


def _ending(story: Story) -> str:
    order = story.order
    state, filled = order["state"], Decimal(str(order["filled_qty"]))
    head = _ENDINGS.get(state, "")
    if state in {"cancelled", "killed", "rejected", "dead_letter"}:
        head = f"{head} {stop_words(order)}.".replace("..", ".")
    if state not in SENDABLE:
        return head
    tries = len([attempt for attempt in story.attempts if attempt["attempt_no"]])
    sent = f"It was sent {'once' if tries == 1 else f'{tries} times'} by {words(order['route'])}." if tries else ""
    got = ""
    if filled > 0:
        at = "" if order["avg_price"] is None else f" at {number(order['avg_price'])} on average"
        got = f"You {side_words(order['side'])} {plain(filled)} {order['symbol']}{at}."
    return " ".join(part for part in (sent, got, head) if part)


_ENDINGS = {
    "sized": "It is to be sent next.",
    "skipped": "So nothing is sent.",
    "shadowed": "Your mode is shadow, so nothing is sent.",
    "sent": "Its answer is awaited.",
    "retry": "It is to be sent again.",
    "ack": "It is with the other side, which has not filled it yet.",
    "unknown": "No answer came, so it is being found out whether it arrived.",
    "partially_filled": "The rest is still open.",
    "confirmed": "The order is complete.",
    "rejected": "It was refused:",
    "cancelled": "What was open of it is cancelled:",
    "killed": "It was stopped:",
    "dead_letter": "A person has to look at it:",
}

"""What the other places must say at the end: broker, receiver, dead-letter stream, ledger, bus, S3.

Each yields one line for every fault.
"""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from domain import retry
from domain.orders import FollowerState, Side
from stack.demo_play import Play
from stack.demo_scenario import TENANT


def booked(play: Play) -> Iterator[str]:
    times: dict[str, int] = defaultdict(int)
    for row in play.facts.bookings:
        times[row["client_order_id"]] += row["booked"]
    for part in play.parts():
        if part.route != "alpaca":
            continue
        # An order that is turned away at the door (no funds) is the only one that leaves nothing in the broker's book.
        wanted = int(part.expected.attempts > 0 and part.expected.reason != "insufficient_funds")
        if times.pop(part.fo_id, 0) != wanted:
            yield f"{part.name}: not booked {wanted} times"
    yield from (f"{fo_id} is in the broker's book and nobody's" for fo_id, n in times.items() if n)


def delivered(play: Play) -> Iterator[str]:
    received = {d["delivery_id"]: d for d in play.facts.deliveries}
    for part in play.parts():
        if part.route != "webhook":
            continue
        found = received.pop(part.fo_id, {"processed": 0, "received": 0, "receptions": []})
        wanted = int(part.expected.state is FollowerState.CONFIRMED)
        if found["processed"] != wanted:
            yield f"{part.name}: processed {found['processed']} times, not {wanted}"
        if found["received"] != part.expected.attempts:
            yield f"{part.name}: arrived {found['received']} times, not {part.expected.attempts}"
        if not all(r["vanta_valid"] and r["standard_valid"] for r in found["receptions"]):
            yield f"{part.name}: a signature did not verify"
    yield from (f"delivery {delivery_id} is nobody's" for delivery_id in received)


def buried(play: Play) -> Iterator[str]:
    dead = sorted(part.fo_id for part in play.parts() if part.expected.state is FollowerState.DEAD_LETTER)
    for place, found in (("table", play.facts.dead_letters), ("stream", play.facts.buried)):
        if sorted(row["fo_id"] for row in found) != dead:
            yield f"the {place} holds {len(found)} dead letters, which are not the {len(dead)} expected"
        for row in found:
            if len(row["context"].get("attempts", ())) != retry.MAX_ATTEMPTS:
                yield f"the {place}'s dead letter does not tell all of its {retry.MAX_ATTEMPTS} attempts"


def positions(play: Play) -> Iterator[str]:
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for part in play.parts():
        wanted[part.follower.follower_id] += Side(part.order.entry["side"]).sign * part.expected.filled
    for follower_id, qty in wanted.items():
        ours = play.facts.held.get(follower_id, Decimal(0))
        if ours != qty:
            yield f"{follower_id} holds {ours} by our books, not {qty}"
        venue = play.facts.venue_held.get(follower_id, ours)
        if venue != ours:
            yield f"{follower_id} holds {ours} by our books and {venue} by the broker's"


def events(play: Play) -> Iterator[str]:
    facts = play.facts
    if facts.outbox:
        yield f"{facts.outbox} events are still in the outbox"
    if facts.stream_events != facts.audit_events:
        yield f"{facts.audit_events} audit events, but {facts.stream_events} in the stream"


def trade_logs(play: Play) -> Iterator[str]:
    for order in play.script.orders:
        lines = play.facts.trade_logs.get(f"{TENANT}/{order.mo_id}/trade_log.jsonl")
        dag = play.facts.dags[order.mo_id]
        count = len(dag["audit_events"]) + sum(len(o["audit_events"]) for o in dag["follower_orders"])
        if lines != count:
            yield f"{order.title}: {lines} lines for {count} events"

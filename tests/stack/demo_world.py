"""A demonstration that went exactly as it must, made without any server: sizes come from domain.sizing itself."""

from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from domain.orders import FollowerState, Side
from domain.retry import WAITS_S
from domain.sizing import Effect, FollowerTerms, Instrument, OrderTerms, Sizing, plain, size
from stack.demo_cast import CASTS
from stack.demo_facts import Facts
from stack.demo_play import Part, Play
from stack.demo_scenario import TENANT, Cast, Member, QueuedOrder, load_script
from stack.demo_stage import Enrolled

_BEGIN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


@dataclass
class Demo:
    """`facts` may be bent by a test before `play` is asked."""

    enrolled: list[Enrolled]
    facts: dict[str, Any]

    def play(self) -> Play:
        return Play(load_script(CASTS), self.enrolled, Facts(**self.facts))

    def order(self, label: str, nth: int = 0) -> dict[str, Any]:
        """The follower order of `vault/follower` in its vault's nth order."""
        vault, _, member = label.partition("/")
        order = next(o for o in load_script(CASTS).orders if o.cast.label == vault and o.nth == nth)
        who = follower_id(order.cast, member)
        found: dict[str, Any] = next(
            o for o in self.facts["dags"][order.mo_id]["follower_orders"] if o["follower_id"] == who
        )
        return found


def follower_id(cast: Cast, label: str) -> str:
    return f"F_{cast.label}_{label}".replace(" ", "-").lower()


def sized(order: QueuedOrder, member: Member) -> Sizing:
    """What sizing gives, the first order of the vault having gone as expected."""
    side = Side(order.entry["side"])
    before = order.nth == 1
    vault_qty = Decimal(first_of(order).entry["qty"]) if before else Decimal(0)
    effect = Effect.REDUCE if side is Side.SELL else Effect.OPEN
    terms = OrderTerms(side, Decimal(order.entry["qty"]), effect, vault_qty, order.cast.price)
    held = member.outcomes[0].filled if before else Decimal(0)
    follower = FollowerTerms(
        member.mode, member.scale, held, member.max_pos_usd,
        fractional=member.fractional, kill_switch=member.kill_switch,
    )  # fmt: skip
    return size(terms, follower, Instrument(order.cast.symbol, Decimal(1), Decimal("0.000000001"), Decimal(0)))


def first_of(order: QueuedOrder) -> QueuedOrder:
    return next(o for o in load_script(CASTS).orders if o.cast is order.cast and o.nth == 0)


def perfect() -> Demo:
    enrolled = [Enrolled(follower_id(c, m.label), f"key-{m.label}", m, c) for c in CASTS for m in c.members]
    script = load_script(CASTS)
    dags = {o.mo_id: _dag(o, [e for e in enrolled if e.cast is o.cast]) for o in script.orders}
    held = {e.follower_id: _held(e, list(script.orders)) for e in enrolled}
    parts = list(Play(script, enrolled, Facts(dags, {}, {}, [], [], [], [], [], 0, 0, 0, 0)).parts())
    buried = [_buried(p) for p in parts if p.expected.state is FollowerState.DEAD_LETTER]
    facts = {
        "dags": dags,
        "held": held,
        "venue_held": {e.follower_id: held[e.follower_id] for e in enrolled if e.member.route == "alpaca"},
        "bookings": [_booking(p) for p in parts if p.route == "alpaca" and p.expected.attempts],
        "deliveries": [_delivery(p) for p in parts if p.route == "webhook" and p.expected.attempts],
        "dead_letters": buried,
        "buried": deepcopy(buried),
        "rejects": [{"entry": line, "reason": "entry: is not JSON"} for line in script.bad],
        "ingested": len(script.orders),
        "audit_events": 300,
        "stream_events": 300,
        "outbox": 0,
        "trade_logs": {f"{TENANT}/{m}/trade_log.jsonl": 1 + len(d["follower_orders"]) for m, d in dags.items()},
    }
    return Demo(enrolled, facts)


def _dag(order: QueuedOrder, followers: list[Enrolled]) -> dict[str, Any]:
    return {
        "manager_order": {"state": order.ends.value},
        "audit_events": [{}],
        "follower_orders": [_follower_order(Part(order, e, None)) for e in followers],
    }


def _follower_order(part: Part) -> dict[str, Any]:
    expected = part.expected
    return {
        "fo_id": part.fo_id,
        "follower_id": part.follower.follower_id,
        "state": expected.state.value,
        "qty": plain(expected.qty),
        "filled_qty": plain(expected.filled),
        "avg_price": plain(part.order.cast.price) if expected.filled else None,
        "reason": expected.reason,
        "dispatch_attempts": expected.attempts,
        "trace": [asdict(step) for step in sized(part.order, part.follower.member).trace],
        "attempts": _attempts(part),
        "audit_events": [{}],
    }


def _attempts(part: Part) -> list[dict[str, Any]]:
    asked = 3.0 if part.follower.member.label.startswith("busy") else 0.0
    at, attempts = _BEGIN, []
    for number in range(1, part.expected.attempts + 1):
        stamp = at.isoformat()
        attempts.append({"attempt_no": number, "started_at": stamp, "ended_at": stamp, "code": "http_500"})
        if number <= len(WAITS_S):
            at += timedelta(seconds=max(float(WAITS_S[number - 1]), asked))
    return attempts


def _held(follower: Enrolled, orders: list[QueuedOrder]) -> Decimal:
    mine = [o for o in orders if o.cast is follower.cast]
    return sum((Side(o.entry["side"]).sign * o.expected(follower.member).filled for o in mine), Decimal(0))


def _booking(part: Part) -> dict[str, Any]:
    return {"client_order_id": part.fo_id, "booked": int(part.expected.reason != "insufficient_funds")}


def _delivery(part: Part) -> dict[str, Any]:
    tries = part.expected.attempts
    return {
        "delivery_id": part.fo_id,
        "received": tries,
        "processed": int(part.expected.state is FollowerState.CONFIRMED),
        "receptions": [{"vanta_valid": True, "standard_valid": True} for _ in range(tries)],
    }


def _buried(part: Part) -> dict[str, Any]:
    context = {
        "side": "buy", "qty": plain(part.expected.qty), "symbol": "AAPL", "route": "webhook",
        "dispatch_attempts": part.expected.attempts, "attempts": _attempts(part),
    }  # fmt: skip
    return {"fo_id": part.fo_id, "follower_id": part.follower.follower_id, "reason": "retries_exhausted",
            "context": context}  # fmt: skip

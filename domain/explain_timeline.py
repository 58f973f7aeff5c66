"""Why now: each audit event of an order in a sentence, in their order. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from domain.explain_legs import told
from domain.explain_words import guard_names, number, reason_words, side_words, words
from domain.ports import STOPPED

Row = Mapping[str, Any]


def moments(
    order: Row, manager: Row, attempts: Sequence[Row], events: Sequence[Row]
) -> Iterator[tuple[Row, str]]:  # fmt: skip
    """The manager order's, the follower order's and its legs' events with what they say; others are left out."""
    by_number = {int(attempt["attempt_no"]): attempt for attempt in attempts}
    for event in events:
        if event["entity"] == "manager_order":
            yield event, _manager(event, manager)
        elif event["entity"] == "order_leg":
            yield event, f"Leg {event['payload']['leg_no']}: {told(event['payload'], event['action'])}"
        elif event["entity"] == "follower_order":
            yield event, _follower(event, order, by_number)


def _manager(event: Row, manager: Row) -> str:
    payload, action = event["payload"], event["action"]
    if action == "received":
        return f"{event['actor']} gave the order through {words(payload.get('source', manager['source']))}."
    if action == "dispatching":
        taken = "one snapshot"
        if "snapshot" in payload:  # which followers are not told
            taken = f"the snapshot {str(payload['snapshot'])[:12]} of {payload.get('followers', 0)} followers"
        return f"Admitted: it is to {payload.get('effect')} the vault's position. Everything is sized from {taken}."
    if action == "waits":
        if payload.get("why"):
            return f"The session has begun, and the order waits: {payload['why']}."
        return f"Its exchange is closed: the order waits for the session to open at {payload.get('waits_until')}."
    if action in {"cancelled", "expired"}:
        return f"The manager order is {action}: nothing more of it is sent, and what is open is cancelled."
    return f"The manager order is {words(action)}."


def _follower(event: Row, order: Row, attempts: Mapping[int, Row]) -> str:
    tell = _TOLD.get(event["action"])
    if event["payload"].get("dead_letter_id") is not None and event["action"] in {"retry", "unknown"}:
        tell = _redriven
    return f"{words(event['action'])}.".capitalize() if tell is None else tell(event["payload"], order, attempts)


def _sized(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    return f"Sized: {payload['side']} {number(payload['qty'])} {payload['symbol']}."


def _skipped(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    return f"Skipped: {reason_words(payload.get('reason'))}."


def _shadowed(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    return f"Shadowed: {payload['side']} {number(payload['qty'])} {payload['symbol']} would have been sent."


def _sent(payload: Row, order: Row, attempts: Mapping[int, Row]) -> str:
    attempt_no = payload["dispatch_attempts"]
    by_wave = attempts.get(attempt_no, {}).get("via") == "wave"
    how = f"{words(order['route'])}{' in the first wave' if by_wave else ''}"
    return f"Attempt {attempt_no} by {how}. Guards passed: {guard_names(payload.get('guards'))}."


def _retry(payload: Row, _order: Row, attempts: Mapping[int, Row]) -> str:
    return f"{_answer(payload, attempts)}; to be sent again{_after(payload)}."


def _unknown(payload: Row, order: Row, attempts: Mapping[int, Row]) -> str:
    webhook = order["route"] == "webhook"
    then = "it is sent again under the same id" if webhook else f"{words(order['route'])} is asked for it"
    return f"{_answer(payload, attempts)}, so nobody knows whether it arrived; {then}{_after(payload)}."


def _redriven(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    by = payload.get("redriven_by", "an operator")
    return f"Dead letter {payload['dead_letter_id']} was sent again by {by}: every guard and limit still allowed it."


def _ack(payload: Row, order: Row, _attempts: Mapping[int, Row]) -> str:
    ref = payload.get("broker_order_ref")
    return f"Taken over by {words(order['route'])}{f' as {ref}' if ref else ''}."


def _partly(payload: Row, order: Row, _attempts: Mapping[int, Row]) -> str:
    return f"{number(payload['filled_qty'])} of {number(order['qty'])} are filled."


def _confirmed(payload: Row, order: Row, _attempts: Mapping[int, Row]) -> str:
    at = "" if payload.get("avg_price") is None else f" at {number(payload['avg_price'])} on average"
    return f"Complete: {side_words(order['side'])} {number(payload['filled_qty'])}{at}."


def _fill(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    at = "" if payload.get("price") is None else f" at {number(payload['price'])}"
    return f"Fill: {side_words(payload['side'])} {number(payload['qty'])}{at}, told by {words(payload['source'])}."


def _ended(word: str) -> Callable[[Row, Row, Mapping[int, Row]], str]:
    def tell(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
        rest = "" if number(payload.get("filled_qty") or 0) == "0" else f" after {number(payload['filled_qty'])} filled"
        return f"{word}{rest}: {reason_words(payload.get('reason'))}."

    return tell


def _refused(payload: Row, _order: Row, _attempts: Mapping[int, Row]) -> str:
    why = payload.get("reason") or payload.get("code") or "no reason was given"
    return f"A redrive was refused: {why}."


def _answer(payload: Row, attempts: Mapping[int, Row]) -> str:
    if payload.get("code") == STOPPED:
        return f"Attempt {payload['dispatch_attempts']} was stopped by a kill before anything of it was sent"
    attempt = attempts.get(payload["dispatch_attempts"], {})
    said = payload.get("last_error") or payload.get("code") or attempt.get("code") or "no answer"
    return f"Attempt {payload['dispatch_attempts']} came to {said}"


def _after(payload: Row) -> str:
    wait = payload.get("wait_ms")
    return f" after {number(wait / 1000)} s" if wait else ""


_TOLD: dict[str, Callable[[Row, Row, Mapping[int, Row]], str]] = {
    "sized": _sized,
    "skipped": _skipped,
    "shadowed": _shadowed,
    "sent": _sent,
    "retry": _retry,
    "unknown": _unknown,
    "ack": _ack,
    "partially_filled": _partly,
    "confirmed": _confirmed,
    "fill": _fill,
    "rejected": _ended("Refused by the other side"),
    "cancelled": _ended("Cancelled"),
    "killed": _ended("Stopped before it was sent"),
    "dead_letter": _ended("Given up for a person to look at"),
    "redrive_refused": _refused,
    "dead_letter_purged": _ended("The dead letter was closed"),
}

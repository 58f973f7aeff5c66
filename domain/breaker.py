"""When an endpoint is taken to be down: so many failures in a row, or too large a part of its latest attempts. Pure.

A failure is a request that got no usable answer: no connection, a time-out, a 5xx. An endpoint that refuses an order
or asks for patience (429) is alive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from domain.sizing import plain

GONE = "the endpoint answered 410 Gone"


class Sign(StrEnum):
    """What one attempt says of its endpoint."""

    ALIVE = "alive"
    FAILURE = "failure"
    NONE = "none"  # nothing was sent, or it is busy: neither counts nor ends a row


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`rate` counts once there were `rate_attempts` within `window`."""

    consecutive: int = 20
    rate: Decimal = Decimal("0.5")
    rate_attempts: int = 20
    window: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Streak:
    """A webhook's new attempts: whether one was answered, and how many have failed since (or at all)."""

    answered: bool = False
    failures: int = 0
    any_failure: bool = False


_SILENT = frozenset({"connect_failed", "no_answer", "bad_answer"})
_BUSY = frozenset({"http_408", "http_409", "http_425", "http_429"})
_ANSWERS = frozenset({"ack", "fills_ignored", "gone", "redirect"})


def sign_of(code: str) -> Sign:
    """By an attempt's outcome code (adapters/webhooks)."""
    if code in _SILENT or code.startswith("http_5"):
        return Sign.FAILURE
    if code in _BUSY:
        return Sign.NONE
    return Sign.ALIVE if code in _ANSWERS or code.startswith("http_4") else Sign.NONE


def streak(codes: Iterable[str]) -> Streak:
    """Of an endpoint's attempts, oldest first."""
    answered, failures, any_failure = False, 0, False
    for code in codes:
        sign = sign_of(code)
        if sign is Sign.ALIVE:
            answered, failures = True, 0
        elif sign is Sign.FAILURE:
            failures, any_failure = failures + 1, True
    return Streak(answered, failures, any_failure)


def tripped(consecutive: int, latest: Sequence[tuple[str, int]], policy: BreakerPolicy) -> str | None:
    """Why the endpoint is to be disabled; None while it may go on.

    `consecutive` failures in a row up to now; `latest`: codes of the window's attempts, and how many of each.
    """
    if consecutive >= policy.consecutive:
        return f"{consecutive} failures in a row"
    failed = sum(count for code, count in latest if sign_of(code) is Sign.FAILURE)
    answered = sum(count for code, count in latest if sign_of(code) is Sign.ALIVE)
    attempts = failed + answered
    if attempts < policy.rate_attempts or failed < policy.rate * attempts:
        return None
    percent = plain((Decimal(failed) / attempts * 100).quantize(Decimal(1)))
    minutes = plain((Decimal(int(policy.window.total_seconds())) / 60).normalize())
    return f"{failed} of {attempts} attempts failed within {minutes} minutes ({percent} %)"

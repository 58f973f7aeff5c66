"""When to try again: 1, 5, 15, 60 s after a retryable failure, each ±10 %, then the dead letter (SPEC section 5)."""

import hashlib
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

WAITS_S = (1, 5, 15, 60)
MAX_ATTEMPTS = len(WAITS_S) + 1
RETRY_AFTER_CAP_S = 60
JITTER = Decimal("0.1")

# A venue is polled soon after the send, then ever more rarely; the last value repeats.
POLL_S = (
    Decimal("0.25"),
    Decimal("0.5"),
    Decimal(1),
    Decimal(2),
    Decimal(5),
    Decimal(10),
    Decimal(30),
    Decimal(60),
)

assert all(a < b for a, b in pairwise(WAITS_S))


def jitter(fo_id: str, attempt: int) -> Decimal:
    """A fraction in [-0.1, 0.1], fixed by order and attempt: spread over followers, equal on every replay."""
    raw = int.from_bytes(hashlib.sha256(f"{fo_id}/{attempt}".encode()).digest()[:4], "big")
    return (Decimal(raw) / Decimal(0xFFFFFFFF) * 2 - 1) * JITTER


def wait_after(fo_id: str, attempt: int, retry_after_s: int | None = None) -> timedelta | None:
    """The wait after failed attempt number `attempt` (1-based); None after the last: dead letter.

    `retry_after_s` (from 429 or 503) lengthens and never shortens a wait, and counts for 60 s at most.
    Raises ValueError for an attempt below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt} is below 1")
    if attempt >= MAX_ATTEMPTS:
        return None
    seconds = WAITS_S[attempt - 1] * (1 + jitter(fo_id, attempt))
    if retry_after_s is not None:
        seconds = max(seconds, Decimal(min(retry_after_s, RETRY_AFTER_CAP_S)))
    return timedelta(milliseconds=int(seconds * 1000))


def poll_wait(poll: int) -> timedelta:
    """The wait after poll number `poll` (1-based)."""
    return timedelta(milliseconds=int(POLL_S[min(poll, len(POLL_S)) - 1] * 1000))

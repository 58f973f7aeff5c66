"""What ties together all that one request sets off: its id, and its place in a trace (W3C Trace Context)."""

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_CHARS = 512


@dataclass(frozen=True, slots=True)
class Trace:
    """`traceparent`: names the trace, and this process's step in it."""

    request_id: str
    traceparent: str

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]


# Of what runs now: set by the API for a request, and by workers for what a request has set off.
CURRENT: ContextVar[Trace | None] = ContextVar("vanta_trace", default=None)


def accept(request_id: str, traceparent: str, token: Callable[[int], str]) -> Trace:
    """What the caller says of himself where it is well formed; what is not, or is missing, is made.

    `token(n)` gives n random bytes in hexadecimal.
    """
    trace_id, flags = _trace_of(traceparent) or (token(16), "00")
    given = _REQUEST_ID.fullmatch(request_id)
    return Trace(request_id if given else token(16), f"00-{trace_id}-{token(8)}-{flags}")


def restored(request_id: object, traceparent: object) -> Trace | None:
    """What another of our processes has handed over; None where it is none."""
    if not isinstance(request_id, str) or not isinstance(traceparent, str):
        return None
    if not _REQUEST_ID.fullmatch(request_id) or _trace_of(traceparent) is None:
        return None
    return Trace(request_id, traceparent)


def _trace_of(traceparent: str) -> tuple[str, str] | None:
    """Trace id and flags. A later version may have more fields, and is read as far as ours go."""
    found = _PARENT.fullmatch(traceparent) if len(traceparent) <= _MAX_CHARS else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return trace_id, f"{int(flags, 16) & 1:02x}"

"""Words of an order, and the two state machines as tables (SPEC section 5)."""

from enum import StrEnum

from domain.errors import IllegalTransition


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class ManagerState(StrEnum):
    RECEIVED = "received"
    REJECTED = "rejected"
    DISPATCHING = "dispatching"
    SETTLED = "settled"
    SETTLED_WITH_ERRORS = "settled_with_errors"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class FollowerState(StrEnum):
    SIZED = "sized"
    SKIPPED = "skipped"
    SHADOWED = "shadowed"
    SENT = "sent"
    RETRY = "retry"
    ACK = "ack"
    UNKNOWN = "unknown"
    PARTIALLY_FILLED = "partially_filled"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    KILLED = "killed"
    DEAD_LETTER = "dead_letter"


class LetterState(StrEnum):
    """Of a dead letter: `redriven` and `purged` ones are over, whatever becomes of the order."""

    OPEN = "open"
    REDRIVEN = "redriven"
    PURGED = "purged"


_M = ManagerState
MANAGER_TRANSITIONS: dict[ManagerState, frozenset[ManagerState]] = {
    _M.RECEIVED: frozenset({_M.REJECTED, _M.DISPATCHING, _M.CANCELLED, _M.EXPIRED}),
    _M.DISPATCHING: frozenset({_M.SETTLED, _M.SETTLED_WITH_ERRORS, _M.CANCELLED, _M.EXPIRED}),
    _M.REJECTED: frozenset(),
    _M.SETTLED: frozenset(),
    # While a dead letter of it that was sent again is under way, see adapters/store/settlement.py.
    _M.SETTLED_WITH_ERRORS: frozenset({_M.CANCELLED}),
    _M.CANCELLED: frozenset(),
    _M.EXPIRED: frozenset(),
}

_F = FollowerState
# `sent` means claimed: an attempt row is open. Whoever finds a `sent` order with no owner must call it `unknown`.
# `unknown` may become anything a venue can report, `sent` again once it is provably safe, or a dead letter.
_REPORTED = frozenset({_F.ACK, _F.PARTIALLY_FILLED, _F.CONFIRMED, _F.REJECTED, _F.CANCELLED})
FOLLOWER_TRANSITIONS: dict[FollowerState, frozenset[FollowerState]] = {
    _F.SIZED: frozenset({_F.SENT, _F.KILLED, _F.CANCELLED, _F.DEAD_LETTER}),
    _F.SENT: _REPORTED | {_F.RETRY, _F.UNKNOWN, _F.DEAD_LETTER},
    # What was taken for absent may be reported after all; then it is the venue's to say what it is.
    _F.RETRY: frozenset({_F.SENT, _F.UNKNOWN, _F.KILLED, _F.CANCELLED, _F.DEAD_LETTER}),
    _F.UNKNOWN: _REPORTED | {_F.SENT, _F.RETRY, _F.DEAD_LETTER},
    _F.ACK: frozenset({_F.PARTIALLY_FILLED, _F.CONFIRMED, _F.REJECTED, _F.CANCELLED, _F.DEAD_LETTER}),
    _F.PARTIALLY_FILLED: frozenset({_F.PARTIALLY_FILLED, _F.CONFIRMED, _F.CANCELLED, _F.DEAD_LETTER}),
    _F.DEAD_LETTER: frozenset({_F.RETRY, _F.UNKNOWN, _F.CANCELLED}),
    _F.SKIPPED: frozenset(),
    _F.SHADOWED: frozenset(),
    _F.CONFIRMED: frozenset(),
    _F.REJECTED: frozenset(),
    _F.CANCELLED: frozenset(),
    _F.KILLED: frozenset(),
}

# Nothing more is sent for these, and what is open at a venue is cancelled there.
CALLED_OFF = frozenset({_M.CANCELLED, _M.EXPIRED})

# A dead letter ends its workflow; an operator's redrive opens a new one: `unknown` where an attempt may have arrived.
FOLLOWER_ENDS = frozenset(s for s, to in FOLLOWER_TRANSITIONS.items() if not to) | {_F.DEAD_LETTER}
FOLLOWER_ERRORS = frozenset({_F.REJECTED, _F.DEAD_LETTER})


def check_manager(source: ManagerState, target: ManagerState) -> None:
    """Raise IllegalTransition unless the table has it."""
    if target not in MANAGER_TRANSITIONS[source]:
        raise IllegalTransition("manager_order", source, target)


def check_follower(source: FollowerState, target: FollowerState) -> None:
    """Raise IllegalTransition unless the table has it."""
    if target not in FOLLOWER_TRANSITIONS[source]:
        raise IllegalTransition("follower_order", source, target)

"""What Alpaca's words mean: order states, HTTP answers, the JSON of an order. No I/O.

Positions, accounts and lists of orders are read by `alpaca_account`.
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from adapters.brokers.alpaca_values import vendor_symbol
from domain.orders import OrderType
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder, VenueStatus

MAX_CLIENT_ORDER_ID = 48
_MAX_DETAIL = 500

# Every state of the vendor's order. A working order with fills is reported as partially filled (`read_order`).
# `replaced` ends this order: its replacement has an id that is not ours. `done_for_day` can work again tomorrow.
ORDER_STATES: dict[str, VenueStatus] = {
    "new": VenueStatus.WORKING,
    "accepted": VenueStatus.WORKING,
    "pending_new": VenueStatus.WORKING,
    "accepted_for_bidding": VenueStatus.WORKING,
    "pending_review": VenueStatus.WORKING,
    "pending_cancel": VenueStatus.WORKING,
    "pending_replace": VenueStatus.WORKING,
    "held": VenueStatus.WORKING,
    "stopped": VenueStatus.WORKING,
    "suspended": VenueStatus.WORKING,
    "calculated": VenueStatus.WORKING,
    "done_for_day": VenueStatus.WORKING,
    "partially_filled": VenueStatus.PARTIALLY_FILLED,
    "filled": VenueStatus.FILLED,
    "canceled": VenueStatus.CANCELLED,
    "replaced": VenueStatus.CANCELLED,
    "expired": VenueStatus.EXPIRED,
    "rejected": VenueStatus.REJECTED,
}
_SELF_EXPLAINED = frozenset({"new", "accepted", "partially_filled", "filled", "canceled", "expired"})


class Verdict(NamedTuple):
    kind: OutcomeKind
    code: str


# What an HTTP status, or a status with a vendor code, proves about a submitted order. 40010001 also stands for
# malformed parameters; taking all of it for a duplicate costs a look-up, taking a duplicate for a refusal would lose a
# live order.
VERDICTS: dict[tuple[int, int | None], Verdict] = {
    (400, None): Verdict(OutcomeKind.FINAL, "invalid_order"),
    (401, None): Verdict(OutcomeKind.FINAL, "bad_credentials"),
    (403, None): Verdict(OutcomeKind.FINAL, "forbidden"),
    (408, None): Verdict(OutcomeKind.AMBIGUOUS, "no_answer"),
    (409, None): Verdict(OutcomeKind.AMBIGUOUS, "venue_error"),
    (422, None): Verdict(OutcomeKind.FINAL, "invalid_order"),
    (422, 40010001): Verdict(OutcomeKind.AMBIGUOUS, "duplicate_client_order_id"),
    (425, None): Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    (429, None): Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
}
# The vendor has one code for many refusals and tells them apart in words only, which it declares unstable: so they
# choose among our codes for what is final anyway, and no kind depends on one. Words as in public reports of answers.
MESSAGES: tuple[tuple[int, int, str, str], ...] = (
    (403, 40310000, "minimal amount of order", "below_minimum"),
    (403, 40310000, "insufficient", "insufficient_funds"),
    (422, 42210000, "not found", "unknown_symbol"),
    (422, 42210000, "not tradable", "halted"),
    (422, 42210000, "not active", "halted"),
)
SHOWN: dict[Any, Verdict] = {
    **VERDICTS,
    **{(status, code, words): Verdict(OutcomeKind.FINAL, ours) for status, code, words, ours in MESSAGES},
}
_INSUFFICIENT = Verdict(OutcomeKind.FINAL, "insufficient_funds")
UNKNOWN_REFUSAL = Verdict(OutcomeKind.FINAL, "invalid_order")
_VENUE_ERROR = Verdict(OutcomeKind.AMBIGUOUS, "venue_error")  # a 5xx does not prove that nothing was booked
UNREADABLE = Verdict(OutcomeKind.AMBIGUOUS, "unreadable_answer")
CONNECT_FAILED = Verdict(OutcomeKind.RETRYABLE, "connect_failed")
NO_ANSWER = Verdict(OutcomeKind.AMBIGUOUS, "no_answer")
TRY_AGAIN = frozenset({408, 409, 425, 429})
# Fields that the vendor adds to a 403 for too little buying power or too few shares.
FUNDS_FIELDS = frozenset({"buying_power", "existing_qty", "held_for_orders", "cost_basis"})


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is empty where the venue did not send a JSON object, `items` is None where it sent no list."""

    status: int
    body: dict[str, Any]
    retry_after_s: int | None
    items: list[Any] | None = None

    @property
    def code(self) -> int | None:
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    @property
    def _message(self) -> str:
        message = self.body.get("message")
        return message if isinstance(message, str) else ""

    @property
    def is_not_found(self) -> bool:
        """The venue's own 404; a gateway's bare one proves nothing."""
        return self.status == 404 and self.code is not None

    def verdict(self) -> Verdict:
        exact = VERDICTS.get((self.status, self.code)) or VERDICTS.get((self.status, None))
        if self.status == 403 and not FUNDS_FIELDS.isdisjoint(self.body):
            return _INSUFFICIENT
        if exact is not None:
            return exact if exact.kind is not OutcomeKind.FINAL else Verdict(exact.kind, self._told() or exact.code)
        if self.status >= 500:
            return _VENUE_ERROR
        return UNKNOWN_REFUSAL if self.status >= 400 else UNREADABLE

    def _told(self) -> str | None:
        said = (
            (words in self._message, ours)
            for status, code, words, ours in MESSAGES
            if (status, code) == (self.status, self.code)
        )
        return next((ours for is_said, ours in said if is_said), None)

    def detail(self, credentials: BrokerCredentials) -> str:
        text = self._message or "no message"
        if credentials.secret:
            text = text.replace(credentials.secret, "***")
        return f"HTTP {self.status}: {text}"[:_MAX_DETAIL]


def order_body(order: ChildOrder) -> dict[str, str]:
    """The JSON body of `POST /v2/orders`, numbers as plain decimal strings. Raises ValueError."""
    if not 0 < len(order.client_order_id) <= MAX_CLIENT_ORDER_ID:
        raise ValueError(f"client_order_id must have 1 to {MAX_CLIENT_ORDER_ID} characters")
    body = {
        "client_order_id": order.client_order_id,
        "symbol": vendor_symbol(order.symbol),
        "side": order.side.value,
        "type": order.order_type.value,
        "time_in_force": order.tif.value,
        "qty": _plain(order.qty, "qty"),
    }
    if order.order_type is OrderType.LIMIT:
        if order.limit_price is None:
            raise ValueError("a limit order needs a limit_price")
        body["limit_price"] = _plain(order.limit_price, "limit_price")
    return body


def _plain(value: Decimal, name: str) -> str:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} must be a positive number")
    return f"{value:f}"


def read_order(body: dict[str, Any]) -> VenueOrder | None:
    """None where the body is not an order that we can trust."""
    ref, client_order_id, state = (body.get(name) for name in ("id", "client_order_id", "status"))
    if not (isinstance(ref, str) and ref and isinstance(client_order_id, str) and isinstance(state, str)):
        return None
    try:
        filled = read_number(body.get("filled_qty"))
        average = read_number(body["filled_avg_price"]) if filled else None
    except (InvalidOperation, KeyError):
        return None
    status = ORDER_STATES.get(state, VenueStatus.WORKING)
    if status is VenueStatus.WORKING and filled:
        status = VenueStatus.PARTIALLY_FILLED
    reason = "" if state in _SELF_EXPLAINED else f"alpaca order state {state[:100]}"
    return VenueOrder(ref, client_order_id, status, filled, average, reason)


def read_number(value: object) -> Decimal:
    """Raises InvalidOperation for what is no finite number, or below zero."""
    number = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise InvalidOperation
    return number


def json_value(raw: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None

"""What Coinbase Advanced's words mean: order states, answers, the JSON of an order. No I/O.

Wallets, lists of orders and fills are read by `coinbase_account`, products and conversions by `coinbase_market`.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from domain.ids import MAX_CLIENT_ORDER_ID
from domain.orders import OrderType, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder, VenueStatus

_MAX_DETAIL = 500
_DAY_AT_LEAST = timedelta(minutes=1)

# Every state of the vendor's order. There is none for a partial fill: a working order with fills is one (`_order`).
ORDER_STATES: dict[str, VenueStatus] = {
    "PENDING": VenueStatus.WORKING,
    "OPEN": VenueStatus.WORKING,
    "QUEUED": VenueStatus.WORKING,
    "CANCEL_QUEUED": VenueStatus.WORKING,
    "EDIT_QUEUED": VenueStatus.WORKING,
    "UNKNOWN_ORDER_STATUS": VenueStatus.WORKING,
    "FILLED": VenueStatus.FILLED,
    "CANCELLED": VenueStatus.CANCELLED,
    "EXPIRED": VenueStatus.EXPIRED,
    "FAILED": VenueStatus.REJECTED,
}


class Verdict(NamedTuple):
    kind: OutcomeKind
    code: str


def _final(code: str) -> Verdict:
    return Verdict(OutcomeKind.FINAL, code)


_INVALID, _HALTED, _FUNDS = _final("invalid_order"), _final("halted"), _final("insufficient_funds")
_BELOW, _FORBIDDEN = _final("below_minimum"), _final("forbidden")
_VENUE_ERROR = Verdict(OutcomeKind.AMBIGUOUS, "venue_error")

# What an HTTP status, or a status with a vendor code, proves about a submitted order. An order that is refused is
# answered with 200, `success` false, and a code in up to three fields (`Answer.codes`), of which those of the preview
# carry the prefix PREVIEW_, left out here. Codes are those of the vendor's NewOrderErrorResponse for spot products.
VERDICTS: dict[tuple[int, str | None], Verdict] = {
    # No reason at all does not prove that nothing was booked: a look-up tells.
    (200, None): _VENUE_ERROR,
    (200, "DUPLICATE_CLIENT_ORDER_ID"): Verdict(OutcomeKind.AMBIGUOUS, "duplicate_client_order_id"),
    (200, "INSUFFICIENT_FUND"): _FUNDS,
    (200, "INSUFFICIENT_FUNDS"): _FUNDS,
    (200, "INSUFFICIENT_LEDGER_BALANCE"): _FUNDS,
    (200, "INVALID_LEDGER_BALANCE"): _FUNDS,
    (200, "INVALID_PRODUCT_ID"): _final("unknown_symbol"),
    (200, "ORDER_ENTRY_DISABLED"): _HALTED,
    (200, "UNTRADABLE_PRODUCT"): _HALTED,
    (200, "TRADING_DISABLED"): _HALTED,
    (200, "PRODUCT_TRADING_HALTED"): _HALTED,
    (200, "NOT_ALLOWED_BY_MARKET_STATE"): _HALTED,
    (200, "INVALID_BASE_SIZE_TOO_SMALL"): _BELOW,
    (200, "INVALID_QUOTE_SIZE_TOO_SMALL"): _BELOW,
    (200, "NOTIONAL_SIZE_BREACHES_FRACTIONAL_MINIMUM"): _BELOW,
    (200, "INELIGIBLE_PAIR"): _FORBIDDEN,
    (200, "GEOFENCING_RESTRICTION"): _FORBIDDEN,
    (200, "COMPLIANCE_PURCHASE_LIMIT_EXCEEDED"): _FORBIDDEN,
    (200, "BREACHED_RISK_LIMIT"): _FORBIDDEN,
    (200, "INVALID_NO_LIQUIDITY"): Verdict(OutcomeKind.RETRYABLE, "no_liquidity"),
    (200, "MISSING_PRODUCT_PRICE_BOOK"): Verdict(OutcomeKind.RETRYABLE, "no_liquidity"),
    (200, "RFQ_RATE_LIMITED"): Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    (400, None): _INVALID,
    (401, None): _final("bad_credentials"),  # unless our clock is wrong (`Answer.skew_s`)
    (403, None): _FORBIDDEN,
    (404, None): _INVALID,
    (408, None): Verdict(OutcomeKind.AMBIGUOUS, "no_answer"),
    (409, None): _VENUE_ERROR,
    (422, None): _INVALID,
    (425, None): Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    (429, None): Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
}
UNKNOWN_REFUSAL = _final("invalid_order")
UNEXPECTED = Verdict(OutcomeKind.AMBIGUOUS, "unreadable_answer")
UNREADABLE = Verdict(OutcomeKind.AMBIGUOUS, "unreadable_answer")
CONNECT_FAILED = Verdict(OutcomeKind.RETRYABLE, "connect_failed")
NO_ANSWER = Verdict(OutcomeKind.AMBIGUOUS, "no_answer")
# A token is good for two minutes: that of a worker whose clock is wrong is refused like one of a wrong key.
CLOCK_SKEW = Verdict(OutcomeKind.RETRYABLE, "clock_skew")
_MAX_SKEW_S = 30
TRY_AGAIN = frozenset({408, 409, 425, 429})
_SAYS_NOTHING = frozenset({"", "UNKNOWN_FAILURE_REASON", "UNKNOWN_PREVIEW_FAILURE_REASON", "UNKNOWN"})
# The quote wallet that the product id names cannot be used: refused in any case, and no code tells why.
_NO_WALLET = "account is not available"


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is empty where the venue did not send a JSON object; `skew_s` is how far its clock is from ours."""

    status: int
    body: dict[str, Any]
    retry_after_s: int | None
    skew_s: float = 0

    @property
    def is_not_found(self) -> bool:
        """The venue's own 404; a gateway's bare one proves nothing."""
        return self.status == 404 and isinstance(self.body.get("error"), str)

    @property
    def is_skewed(self) -> bool:
        """Refused for a token that is not good yet, or not any more; the key may well be right."""
        return self.status == 401 and abs(self.skew_s) > _MAX_SKEW_S

    @property
    def _said(self) -> dict[str, Any]:
        inner = self.body.get("error_response")
        return inner if isinstance(inner, dict) else self.body

    @property
    def codes(self) -> list[str]:
        """What the venue names as reasons, the ones that say nothing left out."""
        words = [self._said.get(n) for n in ("error", "new_order_failure_reason", "preview_failure_reason")]
        found = [str(w).removeprefix("PREVIEW_") for w in [*words, self.body.get("failure_reason")] if w]
        return [code for code in found if code not in _SAYS_NOTHING]

    @property
    def _message(self) -> str:
        words = [*self.codes[:1], *(self._said.get(name) for name in ("message", "error_details"))]
        return ": ".join(dict.fromkeys(str(word) for word in words if word))

    def verdict(self) -> Verdict:
        """Of a submission that did not succeed."""
        if self.is_skewed:
            return CLOCK_SKEW
        known = next((VERDICTS[self.status, code] for code in self.codes if (self.status, code) in VERDICTS), None)
        if known is not None:
            return known
        if self.status >= 500:
            return _VENUE_ERROR
        refused = self.status in {200, 400, 403} and self._message
        if refused and _NO_WALLET in self._message:
            return _FUNDS
        if refused and self.status == 200:
            return _INVALID  # a reason that we do not know is one all the same
        fallback = UNKNOWN_REFUSAL if self.status >= 400 else UNEXPECTED
        return VERDICTS.get((self.status, None), fallback)

    def detail(self, credentials: BrokerCredentials) -> str:
        skewed = f"our clock is {self.skew_s:.0f} s from the venue's" if self.is_skewed else ""
        text = skewed or self._message or "no message"
        if credentials.secret:
            text = text.replace(credentials.secret, "***")
        return f"HTTP {self.status}: {text}"[:_MAX_DETAIL]


def order_body(order: ChildOrder, now: datetime) -> dict[str, Any]:
    """The JSON body of `POST /orders`, numbers as plain decimal strings. Raises ValueError.

    The client order id is never empty: that would switch the venue's protection off.
    """
    if not 0 < len(order.client_order_id) <= MAX_CLIENT_ORDER_ID:
        raise ValueError(f"client_order_id must have 1 to {MAX_CLIENT_ORDER_ID} characters")
    return {
        "client_order_id": order.client_order_id,
        "product_id": order.symbol,
        "side": order.side.value.upper(),
        "order_configuration": _configuration(order, now),
    }


def _configuration(order: ChildOrder, now: datetime) -> dict[str, Any]:
    """Always by `base_size`: an amount of money would buy a quantity that nobody has sized, at times more of it.

    The vendor takes market buys in base currency since its SDK 1.4.0 (changelog). A market order has one form, which
    fills at once or not at all; so its time in force is not sent.
    """
    size = {"base_size": _plain(order.qty, "qty")}
    if order.order_type is OrderType.MARKET:
        return {"market_market_ioc": size}
    if order.limit_price is None:
        raise ValueError("a limit order needs a limit_price")
    size["limit_price"] = _plain(order.limit_price, "limit_price")
    if order.tif is TimeInForce.IOC:
        return {"sor_limit_ioc": size}
    if order.tif is TimeInForce.FOK:
        return {"limit_limit_fok": size}
    if order.tif is TimeInForce.DAY:
        return {"limit_limit_gtd": {**size, "end_time": day_end(now), "post_only": False}}
    return {"limit_limit_gtc": {**size, "post_only": False}}


def day_end(now: datetime) -> str:
    """Where a day order ends at a venue that never closes: the next midnight in UTC, a minute away at least.

    All orders of a wave end together, whenever each was sent.
    """
    moment = now.astimezone(UTC) + _DAY_AT_LEAST
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return timestamp(midnight)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(value: Decimal, name: str) -> str:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} must be a positive number")
    return f"{value:f}"


def read_created(body: dict[str, Any]) -> VenueOrder | None:
    """Of a `success`: the order that it names. It does not tell the order's state; booked is working."""
    said = body.get("success_response")
    said = said if isinstance(said, dict) else body
    ref, client_order_id = said.get("order_id"), said.get("client_order_id")
    if not (isinstance(ref, str) and ref and isinstance(client_order_id, str)):
        return None
    return VenueOrder(ref, client_order_id, VenueStatus.WORKING)


def read_order(body: dict[str, Any]) -> VenueOrder | None:
    """An order of the REST API; None where the body is not one that we can trust."""
    return _order(body, "filled_size", "average_filled_price")


def read_update(body: dict[str, Any]) -> VenueOrder | None:
    """An order of the `user` channel; None where the body is not one that we can trust."""
    return _order(body, "cumulative_quantity", "avg_price")


def _order(body: dict[str, Any], qty: str, price: str) -> VenueOrder | None:
    ref, client_order_id, state = (body.get(name) for name in ("order_id", "client_order_id", "status"))
    if not (isinstance(ref, str) and ref and isinstance(client_order_id, str) and isinstance(state, str)):
        return None
    try:
        filled = read_number(body.get(qty) or "0")
        average = read_number(body.get(price)) if filled else None
    except InvalidOperation:
        return None
    status = ORDER_STATES.get(state, VenueStatus.WORKING)
    if status is VenueStatus.WORKING and filled:
        status = VenueStatus.PARTIALLY_FILLED
    return VenueOrder(ref, client_order_id, status, filled, average, _reason(body, state))


def _reason(body: dict[str, Any], state: str) -> str:
    if state in {"OPEN", "FILLED", "PENDING"}:
        return ""
    names = ("reject_reason", "reject_message", "cancel_reason", "cancel_message")
    words = [str(body[name]) for name in names if body.get(name)]
    telling = [word for word in words if not word.endswith("_UNSPECIFIED")]
    return ": ".join([f"coinbase order state {state[:100]}", *telling])[:_MAX_DETAIL] if telling else ""


def read_number(value: object) -> Decimal:
    """Raises InvalidOperation for what is no finite number, or below zero."""
    number = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise InvalidOperation
    return number


def read_moment(value: object) -> datetime | None:
    """The vendor's nanoseconds are cut to microseconds."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def json_value(raw: bytes | str) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None

"""What Tradier's words mean: order states, HTTP answers, refusals, the form of an order. No I/O.

Positions, balances, quotes and lists of orders are read by `tradier_account`. Facts are from docs.tradier.com
(/docs/orders, /docs/error-responses, /docs/account-streaming-responses) unless a comment says otherwise.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from adapters.brokers.tradier_verdicts import UNEXPECTED, UNKNOWN_REFUSAL, VENUE_ERROR, VERDICTS, Verdict, final
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder, VenueStatus

_TAG = re.compile(r"[A-Za-z0-9-]{1,255}")  # the vendor takes no underscore; our order ids have none (domain/ids.py)
_MAX_DETAIL = 500

# Every state that the vendor's pages name for orders or their events. A working order with fills is reported as
# partially filled (`read_order`). An unknown state counts as working: it is asked for again, never taken for an end.
ORDER_STATES: dict[str, VenueStatus] = {
    "ok": VenueStatus.WORKING,  # the answer to a submission
    "submitted": VenueStatus.WORKING,
    "pending": VenueStatus.WORKING,
    "open": VenueStatus.WORKING,
    "calculated": VenueStatus.WORKING,
    "accepted_for_bidding": VenueStatus.WORKING,
    "held": VenueStatus.WORKING,
    "pending_cancel": VenueStatus.WORKING,
    "partially_filled": VenueStatus.PARTIALLY_FILLED,
    "filled": VenueStatus.FILLED,
    "canceled": VenueStatus.CANCELLED,
    "expired": VenueStatus.EXPIRED,
    "rejected": VenueStatus.REJECTED,
    "error": VenueStatus.REJECTED,
}
_DURATIONS = {TimeInForce.DAY: "day", TimeInForce.GTC: "gtc"}  # the vendor has neither ioc nor fok


_SIDES = {
    (Side.BUY, False): "buy",
    (Side.BUY, True): "buy_to_cover",
    (Side.SELL, False): "sell_short",
    (Side.SELL, True): "sell",
}


class UnsendableError(Exception):
    """Tradier takes no such order, so it is not sent; the message says why in words for the follower."""

    def __init__(self, message: str, code: str = "invalid_order") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is empty where the venue did not send a JSON object; `text` is then what it sent, if it was short."""

    status: int
    body: dict[str, Any]
    retry_after_s: int | None
    text: str = ""

    @property
    def errors(self) -> list[str]:
        """The words of `{"errors": {"error": …}}`, a string or a list of them, or of a gateway's fault."""
        errors = self.body.get("errors")
        said = listed(errors, "error") if isinstance(errors, dict) else None
        words = [word for word in said or [] if isinstance(word, str)]
        fault = self.body.get("fault")
        if isinstance(fault, dict):
            detail = fault.get("detail")
            words += [str(detail.get("errorcode"))] if isinstance(detail, dict) else []
            words += [str(fault.get("faultstring", ""))]
        return [word for word in words if word]

    def verdict(self) -> Verdict:
        """Of an answer that is no order."""
        known = [VERDICTS[word] for word in self.errors if word in VERDICTS]
        if known:
            # `rejected` says only that; a word beside it may say why.
            return next((verdict for verdict in known if verdict.code != "rejected"), known[0])
        if self.status >= 500 or (self.status == 200 and self.errors):
            return VENUE_ERROR
        if self.status == 400 and any("symbol" in word.lower() for word in self._said):
            return final("unknown_symbol")  # the vendor has no code for it in a 400
        return VERDICTS.get(self.status) or (UNKNOWN_REFUSAL if self.status >= 400 else UNEXPECTED)

    @property
    def _said(self) -> list[str]:
        return self.errors or ([self.text] if self.text else [])

    def detail(self, credentials: BrokerCredentials) -> str:
        text = "; ".join(self._said) or "no message"
        for secret in (credentials.secret, credentials.refresh_token):
            text = text.replace(secret, "***") if secret else text
        return f"HTTP {self.status}: {text}"[:_MAX_DETAIL]


def venue_error(answer: Answer, credentials: BrokerCredentials) -> VenueError:
    """What an unusable answer to anything but a submission means."""
    verdict, detail = answer.verdict(), answer.detail(credentials)
    if verdict.kind is not OutcomeKind.FINAL or answer.status < 400 or answer.status == 404:
        return VenueUnavailable(verdict.code, detail, retry_after_s=answer.retry_after_s)
    return VenueRefused(verdict.code, detail)


def order_form(order: ChildOrder, *, closes: bool) -> dict[str, str]:
    """The form of `POST /v1/accounts/{id}/orders`. `closes`: a sell of what is held, a buy of what is short.

    Raises UnsendableError for what Tradier does not take, ValueError for what no venue could (a bug of the caller).
    """
    check_order(order)
    form = {
        "class": "equity",
        "symbol": order.symbol,
        "side": _SIDES[order.side, closes],
        "quantity": f"{order.qty:f}".partition(".")[0],
        "type": order.order_type.value,
        "duration": _DURATIONS[order.tif],
        "tag": order.client_order_id,
    }
    if order.order_type is OrderType.LIMIT:
        form["price"] = f"{order.limit_price:f}"
    return form


def check_order(order: ChildOrder) -> None:
    """Raises as `order_form`."""
    if _TAG.fullmatch(order.client_order_id) is None:
        raise ValueError("client_order_id must be 1 to 255 letters, digits and -")
    _check_positive(order.qty, "qty")
    if order.order_type is OrderType.LIMIT:
        if order.limit_price is None:
            raise ValueError("a limit order needs a limit_price")
        _check_positive(order.limit_price, "limit_price")
    if order.qty != order.qty.to_integral_value():
        raise UnsendableError("Tradier takes whole shares only")
    if order.tif not in _DURATIONS:
        raise UnsendableError(f"Tradier knows no orders that are {order.tif.value}")


def _check_positive(value: Decimal, name: str) -> None:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} must be a positive number")


def read_order(item: Any, client_order_id: str | None = None) -> VenueOrder | None:
    """None where this is not an order that we can trust. `client_order_id` stands in for a tag that was not sent."""
    if not isinstance(item, dict):
        return None
    ref, state, tag = order_ref(item), item.get("status"), item.get("tag") or client_order_id or ""
    if ref is None or not isinstance(state, str) or not isinstance(tag, str):
        return None
    try:
        filled = read_number(item.get("exec_quantity", 0))
        average = read_number(item.get("avg_fill_price")) if filled else None
    except InvalidOperation:
        return None
    status = ORDER_STATES.get(state.lower(), VenueStatus.WORKING)
    if (filled and not average) or (status in _FILLED and not filled):
        return None  # quantity without price, or the reverse
    if status is VenueStatus.WORKING and filled:
        status = VenueStatus.PARTIALLY_FILLED
    return VenueOrder(ref, tag, status, filled, average, _reason(item, state, status))


_FILLED = frozenset({VenueStatus.FILLED, VenueStatus.PARTIALLY_FILLED})
_SELF_EXPLAINED = frozenset({"ok", "open", "pending", "partially_filled", "filled", "canceled", "expired"})


def _reason(item: dict[str, Any], state: str, status: VenueStatus) -> str:
    said = item.get("reason_description")
    if status is VenueStatus.REJECTED and isinstance(said, str) and said:
        return said[:200]
    return "" if state in _SELF_EXPLAINED else f"tradier order state {state[:100]}"


def order_ref(item: dict[str, Any]) -> str | None:
    """The vendor's id is a JSON number; ours is its text."""
    ref = item.get("id")
    if isinstance(ref, int) and not isinstance(ref, bool):
        return str(ref)
    return ref if isinstance(ref, str) and ref.isdecimal() else None


def listed(holder: Any, name: str) -> list[Any] | None:
    """The vendor's lists: none of them is the string "null", one is the thing itself, more are a list.

    None for what is none of these.
    """
    if holder in ("null", None, {}):
        return []
    if not isinstance(holder, dict):
        return None
    held = holder.get(name)
    if held in ("null", None):
        return []
    return held if isinstance(held, list) else [held]


def read_number(value: object) -> Decimal:
    """Raises InvalidOperation for what is no finite number, or below zero."""
    number = read_signed(value)
    if number < 0:
        raise InvalidOperation
    return number


def read_signed(value: object) -> Decimal:
    """Raises InvalidOperation for what is no finite number."""
    number = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal("NaN")
    if not number.is_finite():
        raise InvalidOperation
    return number


def json_value(raw: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None

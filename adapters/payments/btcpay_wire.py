"""BTCPay Server's JSON (Greenfield API, v1) as values. No I/O. Amounts are decimal strings, times Unix seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.billing import BillingUnavailable
from domain.bitcoin import Payment, PaymentStatus, Reading

_MAX_MESSAGE = 200
_DAY = 1_440
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """An invoice to make. `order_id` is our invoice id; `tags` go into its metadata, so that they can be found.

    `number`: how many were made for the same before. Each is open twice as long as the one before, at most for a day,
    so that whoever looks late still finds one, and not one is made every hour for nobody.
    """

    order_id: str
    amount_minor: int
    description: str
    tags: Mapping[str, str]
    redirect_url: str | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Checkout:
    """How invoices are paid: `speed_policy` is BTCPay's name of how many confirmations a payment needs."""

    speed_policy: str
    expiration_minutes: int
    monitoring_minutes: int


@dataclass(frozen=True, slots=True)
class PullPayment:
    ref: str
    name: str
    claim_url: str


def invoice_body(asked: Asked, checkout: Checkout) -> dict[str, Any]:
    """No tolerance: what is short is short, and stays on the account."""
    options: dict[str, Any] = {
        "speedPolicy": checkout.speed_policy,
        "expirationMinutes": min(_DAY, checkout.expiration_minutes * 2 ** min(asked.number - 1, _DOUBLINGS)),
        "monitoringMinutes": checkout.monitoring_minutes,
        "paymentTolerance": 0,
    }
    if asked.redirect_url is not None:
        options["redirectURL"] = asked.redirect_url
    return {
        "amount": usd(asked.amount_minor),
        "currency": "USD",
        "metadata": {"orderId": asked.order_id, "itemDesc": asked.description, **asked.tags},
        "checkout": options,
        "additionalSearchTerms": list(asked.tags.values()),
    }


def refund_body(name: str, amount_minor: int, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "refundVariant": "Custom",
        "customAmount": usd(amount_minor),
        "customCurrency": "USD",
    }


def usd(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def read_invoice(said: Any, methods: Any = ()) -> Reading:
    """Raises BillingUnavailable for what is no invoice in USD: no other money may be taken for it."""
    try:
        if not is_usd(said):
            raise ValueError("not in USD")
        return Reading(
            ref=_text(said["id"]),
            order_id=str((said.get("metadata") or {}).get("orderId") or ""),
            status=_text(said["status"]),
            additional=str(said.get("additionalStatus") or "None"),
            amount_minor=int(_decimal(said["amount"]) * 100),
            created_at=_time(said["createdTime"]),
            expires_at=_time(said["expirationTime"]),
            monitored_until=_time(said["monitoringExpiration"]),
            url=said.get("checkoutLink"),
            payments=tuple(payment for method in methods for payment in _payments(method)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise unreadable("an invoice", error) from None


def is_usd(said: Mapping[str, Any]) -> bool:
    return str(said["currency"]) == "USD"


def tags_of(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was said with the invoice when it was made."""
    tags = said.get("metadata")
    return tags if isinstance(tags, Mapping) else {}


def _payments(method: Mapping[str, Any]) -> Sequence[Payment]:
    """Of one way to pay; its rate is locked for the life of the invoice. A way that was never opened has none."""
    listed = method.get("payments") or ()
    rate = _decimal(method["rate"]) if listed else Decimal(0)
    return [
        Payment(
            payment_id=_text(each["id"]),
            value=_decimal(each["value"]) - _decimal(each.get("fee") or 0),
            rate=rate,
            status=PaymentStatus(each["status"]),
            received_at=_time(each["receivedDate"]),
        )
        for each in listed
    ]


def read_pull_payment(said: Any) -> PullPayment:
    try:
        return PullPayment(_text(said["id"]), str(said.get("name") or ""), _text(said["viewLink"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable("a pull payment", error) from None


def read_paid_out(said: Any) -> int:
    """Of a pull payment in USD: the payouts that are done, in US cents."""
    try:
        done = [each for each in said if (each["state"], each["originalCurrency"]) == ("Completed", "USD")]
        return int(sum((_decimal(each["originalAmount"]) for each in done), Decimal(0)) * 100)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable("payouts", error) from None


def refusal(said: Any) -> tuple[str, str]:
    """Code and message of an answer that is no success: a problem, or a list of what is wrong in which field."""
    if isinstance(said, Mapping):
        return str(said.get("code") or "refused")[:64], str(said.get("message") or "")[:_MAX_MESSAGE]
    if isinstance(said, list):
        wrong = [f"{each.get('path')}: {each.get('message')}" for each in said if isinstance(each, Mapping)]
        return "invalid", "; ".join(wrong)[:_MAX_MESSAGE]
    return "refused", ""


def unreadable(what: str, error: Exception | None = None) -> BillingUnavailable:
    """The kind of fault only: what was said may hold anything."""
    fault = f" ({type(error).__name__})" if error is not None else ""
    return BillingUnavailable(f"BTCPay Server: {what} could not be read{fault}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no text")
    return value


def _decimal(value: Any) -> Decimal:
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("no number") from None
    if not read.is_finite():
        raise ValueError("no number")
    return read


def _time(value: Any) -> datetime:
    return datetime.fromtimestamp(int(value), UTC)

"""The vendor's JSON: decimals as strings, times as unix seconds."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulators.btcpay.ledger import markable
from simulators.btcpay.state import METHOD, Invoice, Payment, PullPayment

_PERIODIC = {"BOLT11Expiration": "30", "autoApproveClaims": False}


def text(value: Decimal) -> str:
    return format(value, "f")


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def invoice_json(invoice: Invoice, base_url: str) -> dict[str, Any]:
    return {
        "id": invoice.id,
        "storeId": invoice.store_id,
        "amount": text(invoice.amount),
        "paidAmount": text(invoice.paid_amount),
        "currency": invoice.currency,
        "type": "Standard",
        "checkoutLink": f"{base_url}/i/{invoice.id}",
        "createdTime": seconds(invoice.created_at),
        "expirationTime": seconds(invoice.expires_at),
        "monitoringExpiration": seconds(invoice.watched_until),
        "status": invoice.status.value,
        "additionalStatus": invoice.why.value,
        "availableStatusesForManualMarking": [status.value for status in markable(invoice)],
        "archived": invoice.archived,
        "metadata": invoice.metadata,
        "checkout": {"speedPolicy": invoice.speed.value, "paymentMethods": [METHOD], **invoice.checkout},
        "receipt": {"enabled": None, "showQR": None, "showPayments": None},
    }


def method_json(invoice: Invoice, height: int, *, accounted_only: bool = True) -> dict[str, Any]:
    """`accounted_only`: without payments that were replaced or spent elsewhere."""
    shown = [p for p in invoice.payments if not (accounted_only and p.gone)]
    due = invoice.due - invoice.paid
    return {
        "paymentMethodId": METHOD,
        "currency": "BTC",
        "destination": invoice.destination,
        "paymentLink": f"bitcoin:{invoice.destination}?amount={text(max(due, Decimal(0)))}",
        "rate": text(invoice.rate),
        "paymentMethodPaid": text(invoice.paid),
        "totalPaid": text(invoice.paid),
        "due": text(due),
        "amount": text(invoice.due),
        "paymentMethodFee": "0",
        "payments": [payment_json(invoice, payment, height) for payment in shown],
        "activated": True,
        "additionalData": {"keyPath": "0/1", "payjoinEnabled": False, "accountDerivation": None},
    }


def payment_json(invoice: Invoice, payment: Payment, height: int) -> dict[str, Any]:
    return {
        "id": payment.id,
        "receivedDate": seconds(payment.received_at),
        "value": text(payment.value),
        "fee": "0",
        "status": payment.status(height, invoice.speed).value,
        "destination": payment.destination,
    }


def pull_json(pull: PullPayment, base_url: str) -> dict[str, Any]:
    return {
        "id": pull.id,
        "name": pull.name,
        "description": pull.description,
        "currency": pull.currency,
        "amount": text(pull.amount),
        "archived": pull.archived,
        "viewLink": f"{base_url}/pull-payments/{pull.id}",
        **_PERIODIC,
    }


def payouts_json(pull: PullPayment) -> list[Mapping[str, Any]]:
    if pull.claimed_at is None:
        return []
    payout = {
        "id": f"payout-{pull.id}",
        "pullPaymentId": pull.id,
        "date": seconds(pull.claimed_at),
        "destination": pull.claimed_to,
        "originalCurrency": pull.currency,
        "originalAmount": text(pull.amount),
        "payoutMethodId": METHOD,
        "state": "Completed",
    }
    return [payout]

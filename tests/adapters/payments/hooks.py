"""Payment systems that sign their events."""

import hashlib
import hmac
import json
import uuid
from datetime import datetime
from typing import Any


def stripe_event(at: datetime, kind: str = "invoice.paid", **more: Any) -> dict[str, Any]:
    """`about=` is its object."""
    about = more.pop("about", {"id": "in_1", "object": "invoice", "customer": "cus_1"})
    return {
        "id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": kind, "created": int(at.timestamp()),
        "livemode": False, "data": {"object": about}, **more,
    }  # fmt: skip


def btcpay_event(at: datetime, kind: str = "InvoiceSettled", **more: Any) -> dict[str, Any]:
    delivery = uuid.uuid4().hex
    return {
        "deliveryId": delivery, "webhookId": "WH", "originalDeliveryId": delivery, "isRedelivery": False, "type": kind,
        "timestamp": int(at.timestamp()), "storeId": "STORE", "invoiceId": "INV1", "metadata": {}, **more,
    }  # fmt: skip


def raw(event: Any) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def stripe_signature(body: bytes, at: datetime, *secrets: str) -> str:
    stamp = int(at.timestamp())
    signed = [hmac.new(secret.encode(), b"%d.%b" % (stamp, body), hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={stamp}", *(f"v1={one}" for one in signed)])


def btcpay_signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

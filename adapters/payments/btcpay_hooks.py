"""Events from BTCPay Server: whether one is authentic and of now, and which invoice it names.

`BTCPay-Sig` signs the body and no time of sending. The body's own `timestamp` is that of the first delivery, and a
redelivery repeats it: so a first delivery must be of now, a redelivery must not be of the future, and both go by
the id of the first, so that a request that is sent again is at most the event that is known already.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from domain.billing import Provider
from domain.payment_events import BTCPAY_TYPES, Fault, HookNotSetUp, HookRefused, PaymentEvent, at, our_id, ref

SIGNATURE = "BTCPay-Sig"
_MAX_SECONDS = 253_402_300_799  # the last second of the year 9999
_TRIAL = "__test__"  # begins the ids of what the server's button "test" sends: it has no invoice


class BtcpayHooks:
    provider = Provider.BTCPAY

    def __init__(self, secret: str, store_id: str, *, tolerance: timedelta) -> None:
        self._secret, self._store_id, self._tolerance = secret.encode(), store_id, tolerance

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> PaymentEvent:
        """Raises HookRefused, and HookNotSetUp where there is no secret to tell by."""
        if not self._secret:
            raise HookNotSetUp("BTCPay's events cannot be told from forgeries: VANTA_BTCPAY__WEBHOOK_SECRET is not set")
        self._verify(headers.get(SIGNATURE, ""), body)
        try:
            told = orjson.loads(body)
        except ValueError:
            raise _malformed("is not JSON") from None
        said_at = self._fresh(told, now)
        return self._event(told, said_at)

    def _verify(self, header: str, body: bytes) -> None:
        if not header:
            raise HookRefused(Fault.UNSIGNED, f"There is no {SIGNATURE} header.")
        expected = "sha256=" + hmac.digest(self._secret, body, "sha256").hex()
        if not hmac.compare_digest(expected.encode(), header.encode(errors="replace")):
            raise HookRefused(Fault.FORGED, f"{SIGNATURE} is not a signature of this body.")

    def _fresh(self, told: Any, now: datetime) -> datetime:
        stamp, again = at("timestamp", told), at("isRedelivery", told)
        if not isinstance(stamp, int) or isinstance(stamp, bool) or not 0 < stamp <= _MAX_SECONDS:
            raise _malformed("has no timestamp")
        if not isinstance(again, bool):
            raise _malformed("does not say whether it is a redelivery")
        said_at = datetime.fromtimestamp(stamp, UTC)
        if said_at - now > self._tolerance or (not again and now - said_at > self._tolerance):
            raise HookRefused(Fault.STALE, "It was made too long ago, or in the future.")
        return said_at

    def _event(self, told: Mapping[str, Any], said_at: datetime) -> PaymentEvent:
        event_id = ref(told.get("originalDeliveryId") or told.get("deliveryId"))
        kind, invoice = ref(told.get("type")), ref(told.get("invoiceId"))
        if event_id is None or kind is None:
            raise _malformed("has no id, or no type")
        if told.get("storeId") is not None and told["storeId"] != self._store_id:
            raise _malformed("is of another store")
        trial = event_id.startswith(_TRIAL) or (invoice or "").startswith(_TRIAL)
        if trial or kind not in BTCPAY_TYPES:
            return PaymentEvent(Provider.BTCPAY, event_id, kind, None, None, said_at)
        if invoice is None or told.get("storeId") is None:
            raise _malformed("names no invoice, or no store")
        subject = our_id(at("metadata.subscription_id", told), at("metadata.orderId", told))
        return PaymentEvent(Provider.BTCPAY, event_id, kind, invoice, subject, said_at)


def _malformed(why: str) -> HookRefused:
    return HookRefused(Fault.MALFORMED, f"It is signed by BTCPay, but it {why}.")

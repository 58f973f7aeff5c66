"""Events from Stripe: whether one is authentic and of now, and which objects it names.

The library's own check is used for what it does well, the signatures. It takes a time that lies far ahead, so that a
request could be kept and sent at leisure; the bound on both sides is ours.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from stripe import SignatureVerificationError, WebhookSignature

from domain.billing import Provider
from domain.payment_events import Fault, HookNotSetUp, HookRefused, PaymentEvent, at, our_id, ref

SIGNATURE = "Stripe-Signature"
_MAX_HEADER = 2_048  # several signatures while a secret is rotated; more is noise
_MAX_SECONDS = 253_402_300_799  # the last second of the year 9999
# Where an object says which subscription of ours it belongs to.
_OURS = (
    "metadata.subscription_id", "client_reference_id", "subscription_details.metadata.subscription_id",
    "parent.subscription_details.metadata.subscription_id",
)  # fmt: skip
_THEIRS = ("subscription", "parent.subscription_details.subscription", "customer")


class StripeHooks:
    """`live`: whether events must be of live mode; None where the key does not tell."""

    provider = Provider.STRIPE

    def __init__(self, secret: str, *, tolerance: timedelta, live: bool | None = None) -> None:
        self._secret, self._tolerance, self._live = secret, tolerance, live

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> PaymentEvent:
        """Raises HookRefused, and HookNotSetUp where there is no secret to tell by."""
        if not self._secret:
            raise HookNotSetUp("Stripe's events cannot be told from forgeries: VANTA_STRIPE__WEBHOOK_SECRET is not set")
        self._verify(headers.get(SIGNATURE, ""), body, now)
        return self._event(body)

    def _verify(self, header: str, body: bytes, now: datetime) -> None:
        if not header:
            raise HookRefused(Fault.UNSIGNED, f"There is no {SIGNATURE} header.")
        try:
            if len(header) > _MAX_HEADER or not header.isascii():  # the library compares ASCII only
                raise ValueError(len(header))
            # Without a tolerance: it would ask the machine's clock, and for one side only.
            WebhookSignature.verify_header(body, header, self._secret)
            signed = _time(header)
        except (SignatureVerificationError, ValueError):  # ValueError: the body is no text either
            raise HookRefused(Fault.FORGED, f"{SIGNATURE} is not a signature of this body.") from None
        if abs(now - signed) > self._tolerance:
            raise HookRefused(Fault.STALE, "It was signed too long ago, or in the future.")

    def _event(self, body: bytes) -> PaymentEvent:
        try:
            told = orjson.loads(body)
        except ValueError:
            raise _malformed("is not JSON") from None
        kind, event_id, about = at("type", told), ref(at("id", told)), at("data.object", told)
        if at("object", told) != "event" or event_id is None or not event_id.startswith("evt_"):
            raise _malformed("is not an event")
        if ref(kind) is None or not isinstance(about, dict):
            raise _malformed("has no type, or no object")
        if self._live is not None and at("livemode", told) is not self._live:
            raise _malformed("is of the other mode, live or test")
        subject = our_id(*(at(path, about) for path in _OURS)) or _first(about)
        return PaymentEvent(Provider.STRIPE, event_id, kind, ref(about), subject, _moment(at("created", told)))


def live_mode(api_key: str) -> bool | None:
    """Whether the key is of live mode, by its own prefix: `sk_live_…`, `rk_test_…`."""
    parts = api_key.split("_", 2)
    return parts[1] == "live" if len(parts) == 3 and parts[1] in {"live", "test"} else None


def _time(header: str) -> datetime:
    """The time that is signed. Raises ValueError for one that is told in two ways, or is no time."""
    told = [value for name, _, value in (part.partition("=") for part in header.split(",")) if name == "t"]
    # The library signs the first one's number: a second, or another spelling, must not pass for it.
    if len(told) != 1 or not told[0].isascii() or not told[0].isdigit() or int(told[0]) > _MAX_SECONDS:
        raise ValueError("no single time")
    return datetime.fromtimestamp(int(told[0]), UTC)


def _moment(created: Any) -> datetime:
    if not isinstance(created, int) or isinstance(created, bool) or not 0 < created <= _MAX_SECONDS:
        raise _malformed("has no time")
    return datetime.fromtimestamp(created, UTC)


def _first(about: Mapping[str, Any]) -> str | None:
    return next((found for found in (ref(at(path, about)) for path in _THEIRS) if found is not None), None)


def _malformed(why: str) -> HookRefused:
    return HookRefused(Fault.MALFORMED, f"It is signed by Stripe, but it {why}.")

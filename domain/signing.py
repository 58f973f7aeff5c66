"""Webhook signatures: ours and Standard Webhooks, side by side on every request (SPEC section 7).

`X-Vanta-Signature: sha256=HEX` is HMAC-SHA256(key, timestamp + "." + raw body). The Standard Webhooks trio
(https://www.standardwebhooks.com) signs id + "." + timestamp + "." + raw body. While a key rotates, both keys sign,
newest first: ours are separated by commas, Standard Webhooks' by spaces. One match is enough for the receiver.
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from domain.errors import InvalidInput

VANTA_SIGNATURE = "X-Vanta-Signature"
VANTA_TIMESTAMP = "X-Vanta-Timestamp"
WEBHOOK_ID = "webhook-id"
WEBHOOK_TIMESTAMP = "webhook-timestamp"
WEBHOOK_SIGNATURE = "webhook-signature"

TOLERANCE_S = 300
MIN_KEY_BYTES = 24  # Standard Webhooks' minimum; keys that we generate have 32
_SECRET_PREFIX = "whsec_"  # noqa: S105 (the published prefix of every secret, not a secret)
_MAX_SIGNATURES = 8  # a header with more is noise: bounds the work a stranger can ask for


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The one HMAC primitive: 32 bytes."""
    return hmac.digest(key, message, "sha256")


def parse_secret(secret: str) -> bytes:
    """`whsec_BASE64` to the key's bytes. Raises InvalidInput, whose message never holds the secret."""
    encoded = secret.removeprefix(_SECRET_PREFIX)
    if encoded == secret:
        raise InvalidInput("secret", "must begin with whsec_")
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("secret", "is not base64 after whsec_") from None
    _check_key(key)
    return key


def format_secret(key: bytes) -> str:
    """The key's bytes as `whsec_BASE64`, the form that a follower's developer pastes into a library."""
    _check_key(key)
    return _SECRET_PREFIX + b64encode(key).decode()


def vanta_signature(key: bytes, timestamp: int, body: bytes) -> str:
    """`sha256=HEX` over timestamp + "." + body; `timestamp` in unix seconds."""
    return "sha256=" + hmac_sha256(key, b"%d.%b" % (timestamp, body)).hex()


def standard_signature(keys: Sequence[bytes], delivery_id: str, timestamp: int, body: bytes) -> str:
    """`v1,BASE64` for each key, separated by spaces. Raises InvalidInput on an id that would make it ambiguous."""
    # The id is followed by a dot in the signed text: with a dot of its own, two texts could read the same.
    if "." in delivery_id or not delivery_id.isascii() or not delivery_id.isprintable() or not delivery_id:
        raise InvalidInput("delivery_id", "must be printable ASCII without dots")
    message = b"%b.%d.%b" % (delivery_id.encode(), timestamp, body)
    return " ".join("v1," + b64encode(hmac_sha256(key, message)).decode() for key in keys)


def headers(keys: Sequence[bytes], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """All headers of one attempt. `keys` are the active ones, newest first. Raises InvalidInput on a weak or no key."""
    _check_keys(keys)
    seconds = str(timestamp)
    return {
        "Content-Type": "application/json",
        VANTA_SIGNATURE: ",".join([vanta_signature(key, timestamp, body) for key in keys]),
        VANTA_TIMESTAMP: seconds,
        WEBHOOK_ID: delivery_id,
        WEBHOOK_TIMESTAMP: seconds,
        WEBHOOK_SIGNATURE: standard_signature(keys, delivery_id, timestamp, body),
    }


def verify_vanta(
    keys: Sequence[bytes], received: Mapping[str, str], body: bytes, *, now: int, tolerance_s: int = TOLERANCE_S
) -> bool:
    """Whether our own form is present, fresh (`now` in unix seconds, either side) and signed by one of `keys`."""
    _check_keys(keys)
    timestamp = _fresh(received.get(VANTA_TIMESTAMP, ""), now, tolerance_s)
    if timestamp is None:
        return False
    expected = [vanta_signature(key, timestamp, body) for key in keys]
    return _any_match(expected, received.get(VANTA_SIGNATURE, "").split(",", _MAX_SIGNATURES))


def verify_standard(
    keys: Sequence[bytes], received: Mapping[str, str], body: bytes, *, now: int, tolerance_s: int = TOLERANCE_S
) -> bool:
    """Whether the Standard Webhooks form is present, fresh (either side of `now`) and signed by one of `keys`."""
    _check_keys(keys)
    timestamp = _fresh(received.get(WEBHOOK_TIMESTAMP, ""), now, tolerance_s)
    if timestamp is None:
        return False
    try:
        expected = standard_signature(keys, received.get(WEBHOOK_ID, ""), timestamp, body).split(" ")
    except InvalidInput:
        return False
    return _any_match(expected, received.get(WEBHOOK_SIGNATURE, "").split(" ", _MAX_SIGNATURES))


def verify(
    keys: Sequence[bytes], received: Mapping[str, str], body: bytes, *, now: int, tolerance_s: int = TOLERANCE_S
) -> bool:
    """Whether the request is authentic: at least one form is present, and each form that is present verifies.

    `received` must look names up without regard to case (every HTTP library's headers do). Raises InvalidInput only
    for our own keys: none, or one shorter than MIN_KEY_BYTES.
    """
    checks = []
    if VANTA_SIGNATURE in received:
        checks.append(verify_vanta(keys, received, body, now=now, tolerance_s=tolerance_s))
    if WEBHOOK_SIGNATURE in received:
        checks.append(verify_standard(keys, received, body, now=now, tolerance_s=tolerance_s))
    return bool(checks) and all(checks)


def _fresh(timestamp: str, now: int, tolerance_s: int) -> int | None:
    # Twelve digits outlive the product; without a bound, int() of a long header is a way to burn CPU.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return None
    seconds = int(timestamp)
    # The signed text is rebuilt from the number, so a second spelling ("007") must not pass for the first.
    if str(seconds) != timestamp or abs(now - seconds) > tolerance_s:
        return None
    return seconds


def _any_match(expected: Sequence[str], candidates: Sequence[str]) -> bool:
    matched = False
    for candidate in candidates[:_MAX_SIGNATURES]:
        given = candidate.encode(errors="replace")
        for signature in expected:  # no early exit: time must not tell which key or signature matched
            matched |= hmac.compare_digest(signature.encode(), given)
    return matched


def _check_keys(keys: Sequence[bytes]) -> None:
    if not keys:
        raise InvalidInput("keys", "at least one key must sign")
    for key in keys:
        _check_key(key)


def _check_key(key: bytes) -> None:
    if len(key) < MIN_KEY_BYTES:
        raise InvalidInput("key", f"must have at least {MIN_KEY_BYTES} bytes")

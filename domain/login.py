"""What a login must prove: PKCE (RFC 7636), and an ID token's claims (OpenID Connect Core 1.0, 3.1.3.7)."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.errors import LoginRefused

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# What providers name keys by: words, hex, base64url, URNs; and base64 proper, which has slashes and ends with padding.
_KID = re.compile(r"[A-Za-z0-9_+=.:~@-]{1,200}|[A-Za-z0-9+/]{20,198}={1,2}")
# A program on the person's own machine listens on whatever port is free (RFC 8252, 7.3).
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::([0-9]{1,5}))?(/.*)?")
_MAX_SUBJECT = 255  # Core 1.0, section 2
_MAX_EMAIL = 254


def s256(verifier: str) -> str:
    """The challenge of a verifier: base64url of its SHA-256, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def is_challenge(text: str) -> bool:
    return _CHALLENGE.fullmatch(text) is not None


def proves(verifier: str, challenge: str) -> bool:
    """Whether `verifier` is well formed and the one that `challenge` was made of."""
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(s256(verifier), challenge)


def returns_to(allowed: str, wanted: str) -> bool:
    """Whether `wanted` is the address `allowed`, exactly; at a loopback one without a port, any port is right."""
    if wanted == allowed:
        return True
    of_machine, given = _LOOPBACK.fullmatch(allowed), _LOOPBACK.fullmatch(wanted)
    if of_machine is None or given is None or of_machine[2] is not None:
        return False
    return (of_machine[1], of_machine[3]) == (given[1], given[3])


def is_key_id(kid: object) -> bool:
    """Whether a token's `kid` is a name and nothing else: no path, no address, no control character, no list."""
    return isinstance(kid, str) and _KID.fullmatch(kid) is not None and ".." not in kid


@dataclass(frozen=True, slots=True)
class Person:
    """Who has logged in at the provider. `email` is None unless the provider says that it has verified it."""

    issuer: str
    subject: str
    email: str | None

    def is_at(self, email: str) -> bool:
        """Whether the verified address is `email`; case is not told apart, as no provider of mail does."""
        return self.email is not None and self.email.casefold() == email.casefold()


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say. `now` is aware; `leeway_s` is how far clocks may differ."""

    issuer: str
    client_id: str
    nonce: str
    now: datetime
    leeway_s: int


def check_id_token(claims: Mapping[str, Any], expected: Expected) -> Person:
    """Claims of an ID token whose signature holds. Raises LoginRefused, which names the claim and never its value."""
    if claims.get("iss") != expected.issuer:
        raise _wrong("iss is not the provider's")
    _check_audience(claims, expected.client_id)
    _check_times(claims, expected)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise _wrong("nonce is not the login's")
    return Person(expected.issuer, subject_of(claims), verified_email(claims))


def subject_of(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise _wrong("sub is no name")
    return subject


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """Only where `email_verified` is true itself: the standard knows it as a boolean, not as a text."""
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    return email if 0 < len(email) <= _MAX_EMAIL and email.isprintable() else None


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    """No audience besides us is trusted, so a token that is meant for others too could come from one of them."""
    audience = claims.get("aud")
    if audience not in (client_id, [client_id]):
        raise _wrong("aud is not this client alone")
    if claims.get("azp", client_id) != client_id:
        raise _wrong("azp is not this client")


def _check_times(claims: Mapping[str, Any], expected: Expected) -> None:
    now = expected.now.timestamp()
    if _seconds(claims, "exp") + expected.leeway_s <= now:
        raise _wrong("exp has passed")
    if _seconds(claims, "iat") - expected.leeway_s > now:
        raise _wrong("iat is in the future")
    if "nbf" in claims and _seconds(claims, "nbf") - expected.leeway_s > now:
        raise _wrong("nbf is in the future")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Seconds since 1970. Raises LoginRefused for what is no finite number, or lies beyond all calendars."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise _wrong(f"{name} is no time")
    return value


def _wrong(what: str) -> LoginRefused:
    return LoginRefused(f"the provider's ID token is not accepted: {what}")

"""Coinbase's tokens: one ES256 JWT per request, good for 120 s, bound to its method, host and path.

Made by the vendor's own `coinbase.jwt_generator`, which costs 11 ms and nothing else to import (ADR 0008 has the rest).
"""

from collections.abc import Callable
from typing import cast

from coinbase import jwt_generator

from domain.errors import VenueRefused
from domain.ports import BrokerCredentials

_build = cast("Callable[[str, str, str | None], str]", jwt_generator.build_jwt)


def request_token(credentials: BrokerCredentials, method: str, host: str, path: str) -> str:
    """For one request; `path` is without its query. Raises VenueRefused where the secret is no private key."""
    return _token(credentials, f"{method} {host}{path}")


def stream_token(credentials: BrokerCredentials) -> str:
    """For one subscription, which has no address. Raises VenueRefused where the secret is no private key."""
    return _token(credentials, None)


def _token(credentials: BrokerCredentials, uri: str | None) -> str:
    if not credentials.key_id or not credentials.key_id.isprintable():
        raise VenueRefused("bad_credentials", f"{credentials.ref}: the key's name is empty or not printable")
    # The vendor's key file is JSON, from where people copy a PEM with its line breaks written out.
    pem = credentials.secret.replace("\\n", "\n")
    try:
        return _build(credentials.key_id, pem, uri)
    except Exception:  # noqa: BLE001 - the vendor raises bare ones; none of them may carry the key any further
        raise VenueRefused("bad_credentials", f"{credentials.ref}: the secret is no EC private key in PEM") from None

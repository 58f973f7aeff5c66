"""Coinbase's tokens: one ES256 JWT per request, good for 120 s, bound to its method, host and path.

The fields are those of the vendor's own `coinbase.jwt_generator`. That one reads the clock twice, so that now and then
a token is good for 121 s, which is more than the vendor allows; here it is read once.
"""

import secrets
import time

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from domain.errors import VenueRefused
from domain.ports import BrokerCredentials

_TTL_S = 120
_ALGORITHM = "ES256"
_REGISTRY = JWSRegistry(algorithms=[_ALGORITHM], strict_check_header=False)  # `nonce` is the vendor's own


def request_token(credentials: BrokerCredentials, method: str, host: str, path: str) -> str:
    """For one request; `path` is without its query. Raises VenueRefused where the secret is no private key."""
    return _token(credentials, {"uri": f"{method} {host}{path}"})


def stream_token(credentials: BrokerCredentials) -> str:
    """For one subscription, which has no address. Raises VenueRefused where the secret is no private key."""
    return _token(credentials, {})


def _token(credentials: BrokerCredentials, purpose: dict[str, str]) -> str:
    name = credentials.key_id
    if not name or not name.isprintable():
        raise VenueRefused("bad_credentials", f"{credentials.ref}: the key's name is empty or not printable")
    # The vendor's key file is JSON, from where people copy a PEM with its line breaks written out.
    pem = credentials.secret.replace("\\n", "\n")
    now = int(time.time())
    header = {"alg": _ALGORITHM, "typ": "JWT", "kid": name, "nonce": secrets.token_hex()}
    claims = {"sub": name, "iss": "cdp", "nbf": now, "exp": now + _TTL_S, **purpose}
    try:
        return jwt.encode(header, claims, ECKey.import_key(pem), registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):  # none of them may carry the key any further
        raise VenueRefused("bad_credentials", f"{credentials.ref}: the secret is no EC private key in PEM") from None

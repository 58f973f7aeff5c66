"""Checks the vendor's tokens: ES256, 120 s at most, made for this request alone, signed by the account's key."""

from functools import lru_cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from simulators.market.exchange import Exchange
from simulators.market.ledger import Account
from simulators.market.refusals import Reason, Refusal

_LONGEST_S = 120
_LEEWAY_S = 5


def of_request(exchange: Exchange, request: web.Request) -> Account:
    """Whose request it is. Raises Refusal."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    account, claims = _checked(exchange, token)
    if scheme != "Bearer" or claims.get("uri") != f"{request.method} {request.host}{request.path}":
        raise _unauthorized()
    return account


def of_subscription(exchange: Exchange, token: object) -> Account:
    """Whose stream it is. Raises Refusal."""
    account, _ = _checked(exchange, token if isinstance(token, str) else "")
    return account


def _checked(exchange: Exchange, token: str) -> tuple[Account, dict[str, Any]]:
    try:
        name = str(jwt.get_unverified_header(token).get("kid"))
        account = exchange.accounts[name]
        claims: dict[str, Any] = jwt.decode(
            token,
            public_key(account.secret),
            algorithms=["ES256"],
            issuer="cdp",
            leeway=_LEEWAY_S,
            options={"require": ["sub", "nbf", "exp", "iss"]},
        )
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise _unauthorized() from None
    if account.revoked or claims["sub"] != name or claims["exp"] - claims["nbf"] > _LONGEST_S:
        raise _unauthorized()
    return account, claims


@lru_cache(maxsize=10_000)
def public_key(pem: str) -> EllipticCurvePublicKey:
    """Of an account's secret: the private key that its owner has, or its public half. Raises ValueError."""
    raw = pem.encode()
    if "PRIVATE" in pem:
        key: Any = serialization.load_pem_private_key(raw, password=None).public_key()
    else:
        key = serialization.load_pem_public_key(raw)
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("the account's secret is no EC key in PEM")
    return key


def _unauthorized() -> Refusal:
    return Refusal(Reason.UNAUTHORIZED, "Unauthorized")

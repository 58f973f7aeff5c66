"""Access tokens: JWTs signed with ES256, in the profile of RFC 9068 (`typ: at+jwt`)."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from domain.access import Role
from domain.errors import InvalidToken

ALGORITHM = "ES256"
TYPE = "at+jwt"
MAX_TOKEN_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Claims:
    """What an accepted token says."""

    subject: str
    tenant_id: uuid.UUID
    role: Role
    scopes: frozenset[str]
    token_id: str
    expires_at: datetime
    session_id: str | None = None


def mint(
    signing_jwk: Mapping[str, str],
    *,
    issuer: str,
    audience: str,
    subject: str,
    tenant_id: uuid.UUID,
    role: Role,
    scopes: Iterable[str],
    ttl_s: int,
    now: datetime,
    session_id: str | None = None,
) -> str:
    """Sign a token that is valid from `now` (aware) for `ttl_s` seconds; `session_id` is the login's it comes from."""
    key = ECKey.import_key(dict(signing_jwk))
    issued = int(now.timestamp())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "tenant_id": str(tenant_id),
        "role": role,
        "scope": " ".join(sorted(set(scopes))),
        "iat": issued,
        "exp": issued + ttl_s,
        "jti": str(uuid.uuid4()),
        **({} if session_id is None else {"sid": session_id}),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])


def verify(jwks: KeySet, token: str, *, issuer: str, audience: str, leeway_s: int, now: datetime) -> Claims:
    """Check signature, type, issuer, audience and times. Raises InvalidToken, which says what is wrong."""
    if len(token) > MAX_TOKEN_CHARS:
        raise InvalidToken(f"the token is longer than {MAX_TOKEN_CHARS} characters")
    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=leeway_s,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
        tenant_id={"essential": True},
        role={"essential": True, "values": [role.value for role in Role]},
    )
    try:
        decoded = jwt.decode(token, jwks, algorithms=[ALGORITHM])
        if str(decoded.header.get("typ", "")).lower().removeprefix("application/") != TYPE:
            raise InvalidToken(f"the token's typ is not {TYPE}")
        rules.validate(decoded.claims)
        return _read(decoded.claims)
    except JoseError as error:
        raise InvalidToken(error.description or error.error) from error
    except (ValueError, TypeError) as error:  # not a JWT at all, or a claim of the wrong type
        raise InvalidToken("the token is malformed") from error


def import_jwks(text: str) -> KeySet:
    """The JWK Set in `text` (JSON). Raises ValueError when it is not one."""
    return KeySet.import_key_set(json.loads(text))


def _read(claims: Mapping[str, Any]) -> Claims:
    return Claims(
        subject=str(claims["sub"]),
        tenant_id=uuid.UUID(str(claims["tenant_id"])),
        role=Role(claims["role"]),
        scopes=frozenset(str(claims.get("scope", "")).split()),
        token_id=str(claims["jti"]),
        expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
        session_id=None if claims.get("sid") is None else str(claims["sid"]),
    )

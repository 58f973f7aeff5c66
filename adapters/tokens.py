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

from adapters.identity.jose import RefusedToken, read_header
from domain.access import SCOPES, Role
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
    try:
        header = read_header(token, [ALGORITHM], max_chars=MAX_TOKEN_CHARS)
    except RefusedToken as error:
        raise InvalidToken(f"the token is not accepted: {error}") from None
    if header.type != TYPE:
        raise InvalidToken(f"the token's typ is not {TYPE}")
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
        rules.validate(decoded.claims)
        return _read(decoded.claims)
    except JoseError as error:
        raise InvalidToken(error.description or error.error) from error
    except (ValueError, TypeError) as error:  # not a JWT at all, or a claim of the wrong type
        raise InvalidToken("the token is malformed") from error


class Signer:
    """Makes the access tokens of logins. Raises ValueError where the set lacks the key's public half.

    Without that half in it, no token that is signed here would be accepted, here or by the other processes.
    """

    def __init__(self, signing_key: str, jwks: KeySet, *, issuer: str, audience: str) -> None:
        try:
            self._jwk = json.loads(signing_key)
            key = ECKey.import_key(self._jwk)
        except (ValueError, TypeError, JoseError):
            raise ValueError("VANTA_AUTH__SIGNING_KEY is no private JWK with an elliptic curve") from None
        halves = [known.thumbprint() for known in jwks if known.kid == key.kid]
        if not key.is_private or key.kid is None or key.thumbprint() not in halves:
            raise ValueError("VANTA_AUTH__SIGNING_KEY has no public half, by kid and value, in VANTA_AUTH__JWKS")
        self._issuer, self._audience = issuer, audience

    def access_token(
        self, *, subject: str, tenant_id: uuid.UUID, role: Role, session_id: str, ttl_s: int, now: datetime
    ) -> str:
        """With all scopes of the role. `now` is aware."""
        return mint(
            self._jwk,
            issuer=self._issuer,
            audience=self._audience,
            subject=subject,
            tenant_id=tenant_id,
            role=role,
            scopes=SCOPES[role],
            ttl_s=ttl_s,
            now=now,
            session_id=session_id,
        )


def new_signing_key(published: str) -> tuple[str, str]:
    """A new private key, and the set `published` (JSON, or empty) with its public half in front, both as JSON."""
    key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": ALGORITHM}, auto_kid=True)
    known = public_keys(import_jwks(published)) if published else []
    return json.dumps(key.as_dict(private=True)), json.dumps({"keys": [key.as_dict(private=False), *known]})


def import_jwks(text: str) -> KeySet:
    """The JWK Set in `text` (JSON). Raises ValueError when it is not one."""
    return KeySet.import_key_set(json.loads(text))


def public_keys(jwks: KeySet) -> list[dict[str, Any]]:
    """For publication: whatever private half was put into the settings by mistake stays out."""
    return [dict(key.as_dict(private=False)) for key in jwks]


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

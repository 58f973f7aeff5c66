"""Signed tokens: the header is held to our rules before a library acts on it, and a key to what it may be used for."""

import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key
from joserfc.util import urlsafe_b64decode

from domain.login import is_key_id

# What a key must be for an algorithm: type and curve. There is no symmetric one: a public key can never be its secret.
KEY_TYPES: Mapping[str, tuple[str, str | None]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
# Headers by which a token would bring its own key, say where one is to be fetched, or change how it is to be read.
_REFUSED = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_HEADER_CHARS = 2_048
_MIN_MODULUS_CHARS = 342  # base64url of 2,048 bits
_MAX_KEYS = 100


class RefusedToken(Exception):
    """Says which rule a token breaks, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Header:
    algorithm: str
    key_id: str | None
    type: str | None


def read_header(token: str, algorithms: Collection[str], *, max_chars: int) -> Header:
    """Raises RefusedToken. Nothing of the token has been verified yet."""
    if len(token) > max_chars:
        raise RefusedToken(f"it is longer than {max_chars} characters")
    first = token.partition(".")[0]
    if _COMPACT.fullmatch(token) is None or len(first) > _MAX_HEADER_CHARS:
        raise RefusedToken("it is malformed")
    try:
        header = json.loads(urlsafe_b64decode(first.encode()), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise RefusedToken("its header is malformed") from None
    if not isinstance(header, dict):
        raise RefusedToken("its header is malformed")
    return _checked(header, algorithms)


def _checked(header: Mapping[str, Any], algorithms: Collection[str]) -> Header:
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise RefusedToken("its algorithm is not allowed")
    brought = sorted(_REFUSED & header.keys())
    if brought:
        raise RefusedToken(f"its header has {brought[0]}")
    if "kid" in header and not is_key_id(key_id):
        raise RefusedToken("its kid is no name of a key")
    if kind is not None and not isinstance(kind, str):
        raise RefusedToken("its typ is no text")
    return Header(algorithm, key_id, None if kind is None else kind.lower().removeprefix("application/"))


def import_keys(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The keys of a provider's set that may verify a signature; what is no such key is left out, as RFC 7517 asks."""
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise ValueError("is no JSON Web Key Set")
    return [key for key in keys if isinstance(key, dict) and _verifies(key)]


def _verifies(key: Mapping[str, Any]) -> bool:
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        return False
    if "kid" in key and not is_key_id(key["kid"]):
        return False
    return key.get("kty") != "RSA" or len(str(key.get("n", "")).rstrip("=")) >= _MIN_MODULUS_CHARS


def matching(keys: Sequence[Mapping[str, Any]], header: Header) -> list[Key]:
    """What the token may be signed with: without a `kid`, one key that stands alone (OpenID Connect Core 1.0, 10.1)."""
    kind, curve = KEY_TYPES[header.algorithm]
    found = [
        key
        for key in keys
        if key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", header.algorithm) == header.algorithm
        and (header.key_id is None or key.get("kid") == header.key_id)
    ]
    if header.key_id is None and len(found) != 1:
        return []
    return list(_imported(found))


def _imported(keys: Sequence[Mapping[str, Any]]) -> Iterator[Key]:
    for key in keys:
        try:
            yield JWKRegistry.import_key({name: key[name] for name in _PUBLIC if name in key})
        except (JoseError, ValueError, TypeError):
            continue  # no key at all: a token that names it finds none


def verified_claims(token: str, header: Header, keys: Sequence[Key]) -> Mapping[str, Any]:
    """Raises RefusedToken unless one of `keys` has signed it."""
    for key in keys:
        try:
            with warnings.catch_warnings():
                # RFC 9864 renames EdDSA; providers go on saying it.
                warnings.simplefilter("ignore", SecurityWarning)
                return jwt.decode(token, key, algorithms=[header.algorithm]).claims
        except (JoseError, ValueError, TypeError):
            continue
    raise RefusedToken("its signature does not hold")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice")
    return found

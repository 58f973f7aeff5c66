"""Access tokens: what is accepted, and what is not."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

from adapters.tokens import Signer, import_jwks, mint, new_signing_key, public_keys, verify
from domain.access import SCOPES, Role
from domain.errors import InvalidToken

NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
TENANT = uuid.UUID("5b1c9d4e-6f0a-4c3b-9a57-0d2f6e1c8b10")
KEY = ECKey.generate_key("P-256", auto_kid=True)
PRIVATE = {name: str(value) for name, value in KEY.as_dict(private=True).items()}
JWKS = import_jwks(json.dumps({"keys": [KEY.as_dict(private=False)]}))


def token(**changes: Any) -> str:
    values: dict[str, Any] = {
        "issuer": "vanta",
        "audience": "vanta-api",
        "subject": "u-1",
        "tenant_id": TENANT,
        "role": "ops",
        "scopes": ["orders:read", "vault:read"],
        "ttl_s": 60,
        "now": NOW,
    }
    return mint(PRIVATE, **{**values, **changes})


def check(text: str, *, now: datetime = NOW, jwks: KeySet = JWKS):
    return verify(jwks, text, issuer="vanta", audience="vanta-api", leeway_s=5, now=now)


def signed(
    header: dict[str, Any], claims: dict[str, Any], key: Any = KEY, algorithms: tuple[str, ...] = ("ES256",)
) -> str:
    standard = {"iss": "vanta", "aud": "vanta-api", "sub": "u", "jti": "j", "tenant_id": str(TENANT), "role": "ops"}
    times = {"iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 60}
    kept = {name: value for name, value in {**standard, **times, **claims}.items() if value is not None}
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", **header}, kept, key, algorithms=list(algorithms))


def test_a_minted_token_says_what_was_asked():
    claims = check(token())
    assert (claims.subject, claims.tenant_id, claims.role) == ("u-1", TENANT, "ops")
    assert claims.scopes == {"orders:read", "vault:read"}
    assert claims.expires_at == NOW + timedelta(seconds=60)


def test_every_token_has_an_id_of_its_own():
    assert check(token()).token_id != check(token()).token_id


def test_it_expires_after_the_leeway():
    check(token(), now=NOW + timedelta(seconds=64))
    with pytest.raises(InvalidToken, match="expired"):
        check(token(), now=NOW + timedelta(seconds=65))


@pytest.mark.parametrize("changes", [{"issuer": "other"}, {"audience": "other"}, {"role": "root"}])
def test_a_claim_of_another_value_is_refused(changes: dict[str, str]):
    with pytest.raises(InvalidToken):
        check(token(**changes))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "jti", "iat", "exp", "tenant_id", "role"])
def test_every_claim_is_required(name: str):
    check(signed({}, {}))
    with pytest.raises(InvalidToken, match=name):
        check(signed({}, {name: None}))


@pytest.mark.parametrize("claims", [{"tenant_id": "x"}, {"tenant_id": 7}, {"exp": "soon"}, {"sub": 7}])
def test_a_claim_of_another_type_is_refused(claims: dict[str, object]):
    with pytest.raises(InvalidToken):
        check(signed({}, claims))


def test_a_token_from_the_future_is_refused():
    with pytest.raises(InvalidToken, match="future"):
        check(token(now=NOW + timedelta(seconds=6)))


def test_another_key_is_refused():
    other = ECKey.generate_key("P-256")
    with pytest.raises(InvalidToken):
        check(signed({"kid": KEY.kid}, {}, other))


def test_an_id_token_is_no_access_token():
    with pytest.raises(InvalidToken, match="typ"):
        check(signed({"typ": "JWT"}, {}))


def test_other_algorithms_are_refused():
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    with pytest.raises(InvalidToken):
        check(signed({"alg": "HS256", "kid": KEY.kid}, {}, secret, ("HS256",)))
    _, _, rest = token().partition(".")
    with pytest.raises(InvalidToken):
        check("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + rest.partition(".")[0] + ".")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "....", "\u00e9.b.c", "x" * 9_000])
def test_what_is_no_token_is_refused(text: str):
    with pytest.raises(InvalidToken):
        check(text)


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": KEY.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"kid": "../../dev/null"},
        {"kid": ["a"]},
        {"kid": "k" * 201},
        {"crit": ["exp"]},
        {"alg": "none"},
    ],
    ids=lambda header: next(iter(header)),  # the same in every process
)
def test_a_header_that_brings_a_key_or_asks_for_more_is_refused(header: dict[str, Any]):
    _, payload, _ = token().split(".")
    first = urlsafe_b64encode(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid, **header}).encode()).decode()
    signature = JWSRegistry.algorithms["ES256"].sign(f"{first}.{payload}".encode(), KEY)
    with pytest.raises(InvalidToken, match="not accepted"):
        check(f"{first}.{payload}.{urlsafe_b64encode(signature).decode()}")


def signer(key: ECKey, *published: ECKey) -> Signer:
    jwks = import_jwks(json.dumps({"keys": [known.as_dict(private=False) for known in published]}))
    return Signer(json.dumps(key.as_dict(private=True)), jwks, issuer="vanta", audience="vanta-api")


def test_keys_are_rotated_by_publishing_the_new_one_first():
    old, new = KEY, ECKey.generate_key("P-256", auto_kid=True)
    jwks = import_jwks(json.dumps({"keys": [key.as_dict(private=False) for key in (new, old)]}))
    for key in (old, new):
        made = signer(key, old, new).access_token(
            subject="u-1", tenant_id=TENANT, role=Role.AUDITOR, session_id="S-1", ttl_s=60, now=NOW
        )
        claims = check(made, jwks=jwks)
        assert (claims.session_id, claims.scopes) == ("S-1", SCOPES[Role.AUDITOR])


def test_a_key_that_nobody_would_accept_signs_nothing():
    other = ECKey.generate_key("P-256", auto_kid=True)
    renamed: dict[str, Any] = {**other.as_dict(private=True), "kid": KEY.kid}
    namesake = ECKey.import_key(renamed)
    for key in (other, namesake):
        with pytest.raises(ValueError, match="no public half"):
            signer(key, KEY)
    for text in ("", "{}", "[]", json.dumps(KEY.as_dict(private=False)), '{"kty": "oct", "k": "AA"}'):
        with pytest.raises(ValueError, match="VANTA_AUTH__SIGNING_KEY"):
            Signer(text, JWKS, issuer="vanta", audience="vanta-api")


def test_a_new_signing_key_comes_with_the_set_that_accepts_it_and_those_before_it():
    first, published = new_signing_key("")
    second, both = new_signing_key(published)
    for key, jwks in ((first, published), (first, both), (second, both)):
        Signer(key, import_jwks(jwks), issuer="vanta", audience="vanta-api")
    assert len(json.loads(both)["keys"]) == 2
    assert "d" not in json.loads(both)["keys"][0]
    with pytest.raises(ValueError, match="no public half"):
        Signer(second, import_jwks(published), issuer="vanta", audience="vanta-api")


def test_what_is_published_holds_no_private_half():
    jwks = import_jwks(json.dumps({"keys": [KEY.as_dict(private=True)]}))
    assert public_keys(jwks) == [KEY.as_dict(private=False)]

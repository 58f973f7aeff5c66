"""ID tokens: which are taken, and that every forgery and every mistake is refused, by name and without its value."""

import hmac
import json
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from adapters.tokens import import_jwks, mint, verify
from domain.access import Role
from domain.errors import InvalidToken, LoginRefused
from tests.adapters.identity.conftest import Client, MakeClient
from tests.adapters.identity.provider import CLIENT_ID, EMAIL, HostileProvider, encoded, joined, sign

RSA = RSAKey.generate_key(2048, auto_kid=True)
ED = OKPKey.generate_key("Ed25519", auto_kid=True)
STRANGER = ECKey.generate_key("P-256", auto_kid=True)
Claims = dict[str, Any]
Forge = Callable[[HostileProvider, Claims], object]


def header_with(**members: Any) -> Forge:
    """A right signature under a header with members that libraries may refuse to write."""

    def forge(provider: HostileProvider, claims: Claims) -> str:
        header = {"alg": "ES256", "typ": "JWT", "kid": provider.key.kid, **members}
        text = joined({name: value for name, value in header.items() if value is not None}, claims)
        return f"{text}.{encoded(JWSRegistry.algorithms['ES256'].sign(text.encode(), provider.key))}"

    return forge


def claims_with(**changes: Any) -> Forge:
    """What is callable is asked when the token is made."""

    def forge(provider: HostileProvider, _claims: Claims) -> str:
        made = {name: value() if callable(value) else value for name, value in changes.items()}
        return sign(provider.key, provider.claims(**made))

    return forge


def seconds_from_now(seconds: int) -> Callable[[], int]:
    return lambda: int(time.time()) + seconds


def by_public_key(provider: HostileProvider, claims: Claims) -> str:
    """The confusion of HS256 with RS256: the published key, taken for a shared secret."""
    provider.publish(RSA)
    text = joined({"alg": "HS256", "typ": "JWT", "kid": RSA.kid}, claims)
    return f"{text}.{encoded(hmac.digest(RSA.as_pem(private=False), text.encode(), 'sha256'))}"


def by_published_secret(provider: HostileProvider, claims: Claims) -> str:
    secret = OctKey.import_key({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "kid": "s"})
    provider.jwks = [dict(secret.as_dict(private=True))]
    return sign(secret, claims, algorithm="HS256")


def by_encryption_key(provider: HostileProvider, claims: Claims) -> str:
    provider.jwks = [{**provider.jwks[0], "use": "enc"}]
    return sign(provider.key, claims)


def by_short_key(provider: HostileProvider, claims: Claims) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        short = RSAKey.generate_key(1024, auto_kid=True)
        provider.publish(short)
        return sign(short, claims, algorithm="RS256")


def by_key_of_another_algorithm(provider: HostileProvider, claims: Claims) -> str:
    provider.jwks = [{**RSA.as_dict(private=False), "alg": "RS256"}]
    return sign(RSA, claims, algorithm="PS256")


def without_kid_among_two(provider: HostileProvider, claims: Claims) -> str:
    provider.publish(provider.key, STRANGER)
    return sign(provider.key, claims, kid=None)


def changed(provider: HostileProvider, claims: Claims) -> str:
    head, _, tail = sign(provider.key, claims).split(".")
    _, body, _ = sign(STRANGER, {**claims, "sub": "mallory"}).split(".")
    return f"{head}.{body}.{tail}"


def our_access_token(provider: HostileProvider, _claims: Claims) -> str:
    return mint(
        {name: str(value) for name, value in provider.key.as_dict(private=True).items()},
        issuer=provider.issuer, audience=CLIENT_ID, subject="ada", tenant_id=uuid4(), role=Role.OWNER, scopes=[],
        ttl_s=60, now=datetime.now(UTC),
    )  # fmt: skip


HEADERS: dict[str, tuple[Forge, str]] = {
    "no signature": (lambda _p, claims: joined({"alg": "none", "typ": "JWT"}, claims) + ".", "malformed"),
    "alg none with a signature": (header_with(alg="none"), "algorithm"),
    "HS256 with the public key as secret": (by_public_key, "algorithm"),
    "HS256 with a published secret": (by_published_secret, "algorithm"),
    "alg in other letters": (header_with(alg="es256"), "algorithm"),
    "alg as a list": (header_with(alg=["ES256"]), "algorithm"),
    "its own key": (header_with(jwk=STRANGER.as_dict(private=False)), "jwk"),
    "where its key is": (header_with(jku="https://evil.example/keys"), "jku"),
    "where its certificate is": (header_with(x5u="https://evil.example/cert"), "x5u"),
    "its own certificate": (header_with(x5c=["MIIB"]), "x5c"),
    "an extension that must be understood": (header_with(crit=["exp"]), "crit"),
    "kid too long": (header_with(kid="k" * 201), "kid"),
    "kid with a control character": (header_with(kid="a\x00b"), "kid"),
    "kid like a path": (header_with(kid="../../dev/null"), "kid"),
    "kid like an absolute path": (header_with(kid="/dev/null"), "kid"),
    "kid like an address": (header_with(kid="https://evil.example/key"), "kid"),
    "kid like a statement": (header_with(kid="x' UNION SELECT 'k"), "kid"),
    "kid as a list": (header_with(kid=["a"]), "kid"),
    "kid as a number": (header_with(kid=7), "kid"),
    "kid empty": (header_with(kid=""), "kid"),
    "kid of nobody": (header_with(kid="nobody"), "no such key"),
    "no kid among two keys": (without_kid_among_two, "no such key"),
    "an access token's typ": (header_with(typ="at+jwt"), "typ"),
    "a logout token's typ": (header_with(typ="logout+jwt"), "typ"),
    "typ as a list": (header_with(typ=["JWT"]), "typ"),
    "another's signature": (lambda p, claims: sign(STRANGER, claims, kid=p.key.kid), "signature"),
    "other claims under the signature": (changed, "signature"),
    "a key for encryption": (by_encryption_key, "no such key"),
    "a key of 1,024 bits": (by_short_key, "no such key"),
    "a key of another algorithm": (by_key_of_another_algorithm, "no such key"),
    "our own access token": (our_access_token, "typ"),
    "oversize": (claims_with(padding="x" * 17_000), "longer"),
    "five parts": (lambda _p, _c: "a.b.c.d.e", "malformed"),
    "no token at all": (lambda _p, _c: "hello", "malformed"),
    "a header that is no object": (lambda _p, _c: "W10.e30.AAAA", "header"),
    "a header that says alg twice": (lambda _p, _c: "eyJhbGciOiJFUzI1NiIsImFsZyI6Im5vbmUifQ.e30.AA", "header"),
    "nothing": (lambda _p, _c: None, "no ID token"),
    "a number": (lambda _p, _c: 7, "no ID token"),
}
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://evil.example"}, "iss"),
    "the issuer with a slash": ({"iss": "SLASH"}, "iss"),
    "no issuer": ({"iss": None}, "iss"),
    "issuer as a list": ({"iss": ["x"]}, "iss"),
    "another audience": ({"aud": "somebody"}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "audience among strangers": ({"aud": [CLIENT_ID, "stranger"]}, "aud"),
    "audience among strangers, with azp": ({"aud": [CLIENT_ID, "stranger"], "azp": CLIENT_ID}, "aud"),
    "audience as part of a text": ({"aud": CLIENT_ID + "2"}, "aud"),
    "another party": ({"azp": "stranger"}, "azp"),
    "no exp": ({"exp": None}, "exp"),
    "exp as a text": ({"exp": "4000000000"}, "exp"),
    "exp as true": ({"exp": True}, "exp"),
    "exp that is no number": ({"exp": float("nan")}, "exp"),
    "exp without end": ({"exp": float("inf")}, "exp"),
    "expired": ({"exp": seconds_from_now(-6)}, "exp"),
    "no iat": ({"iat": None}, "iat"),
    "future iat": ({"iat": seconds_from_now(60)}, "iat"),
    "future nbf": ({"nbf": seconds_from_now(60)}, "nbf"),
    "another nonce": ({"nonce": "of-another-login"}, "nonce"),
    "no nonce": ({"nonce": None}, "nonce"),
    "nonce as a list": ({"nonce": ["the-nonce"]}, "nonce"),
    "no sub": ({"sub": None}, "sub"),
    "empty sub": ({"sub": ""}, "sub"),
    "sub as a number": ({"sub": 7}, "sub"),
    "sub too long": ({"sub": "s" * 256}, "sub"),
    "sub with a line break": ({"sub": "a\nb"}, "sub"),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_token_of_that_make_is_refused(name: str, provider: HostileProvider, client: Client) -> None:
    forge, why = HEADERS[name]
    provider.token = lambda claims: forge(provider, claims)
    with pytest.raises(LoginRefused, match=why) as refused:
        await client.log_in()
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize("name", CLAIMS)
async def test_a_token_that_says_so_is_refused(name: str, provider: HostileProvider, client: Client) -> None:
    changes, why = CLAIMS[name]
    if changes.get("iss") == "SLASH":
        changes = {"iss": provider.issuer + "/"}
    provider.token = lambda claims: claims_with(**changes)(provider, claims)
    with pytest.raises(LoginRefused, match=f"not accepted: {why} "):
        await client.log_in()


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (ED, "EdDSA"), (STRANGER, "ES256")], ids=lambda v: str(v)[:5]
)
async def test_each_algorithm_of_the_list_is_taken(
    key: Key, algorithm: str, provider: HostileProvider, client: Client
) -> None:
    provider.publish(RSA, ED, STRANGER)
    provider.token = lambda claims: sign(key, claims, algorithm=algorithm)
    person = await client.log_in()
    assert (person.issuer, person.subject, person.email) == (provider.issuer, "ada", EMAIL)


async def test_an_algorithm_that_is_taken_off_the_list_is_refused(
    provider: HostileProvider, make_client: MakeClient
) -> None:
    with pytest.raises(LoginRefused, match="algorithm"):
        await make_client(algorithms=("RS256",)).log_in()


@pytest.mark.parametrize(
    "forge",
    [
        header_with(typ=None),
        header_with(typ="jwt"),
        header_with(kid=None),
        header_with(x5t="thumb"),
        claims_with(aud=[CLIENT_ID]),
        claims_with(azp=CLIENT_ID),
        claims_with(exp=seconds_from_now(0)),
        claims_with(iat=seconds_from_now(4)),
    ],
)
async def test_what_the_standard_leaves_open_is_taken(forge: Forge, provider: HostileProvider, client: Client) -> None:
    provider.token = lambda claims: forge(provider, claims)
    assert (await client.log_in()).subject == "ada"


@pytest.mark.parametrize("said", [False, None, "true", 1])
async def test_an_address_is_known_only_where_the_provider_says_that_it_has_verified_it(
    said: object, provider: HostileProvider, client: Client
) -> None:
    provider.person["email_verified"] = said
    assert (await client.log_in()).email is None


def test_the_providers_id_token_is_no_access_token_of_ours(provider: HostileProvider) -> None:
    """Even where it were signed with a key that we accept, and said all that ours do."""
    jwks = import_jwks(json.dumps({"keys": provider.jwks}))
    ours = {"tenant_id": str(uuid4()), "role": "owner", "jti": "1", "scope": "admin", "aud": "vanta-api"}
    claims = provider.claims(iss="vanta", **ours)
    for typ in ("JWT", None):
        with pytest.raises(InvalidToken, match="typ"):
            verify(
                jwks, sign(provider.key, claims, typ=typ), issuer="vanta", audience="vanta-api", leeway_s=5,
                now=datetime.now(UTC),
            )  # fmt: skip
    verify(
        jwks, sign(provider.key, claims, typ="at+jwt"), issuer="vanta", audience="vanta-api", leeway_s=5,
        now=datetime.now(UTC),
    )  # fmt: skip

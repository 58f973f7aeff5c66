"""PKCE, addresses to return to, names of keys. ID tokens' claims: tests/adapters/identity."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.login import Person, is_challenge, is_key_id, proves, returns_to, s256

# RFC 7636, appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_challenge_is_that_of_the_standards_example():
    assert s256(VERIFIER) == CHALLENGE
    assert is_challenge(CHALLENGE)
    assert proves(VERIFIER, CHALLENGE)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=43, max_size=128))
def test_another_verifier_proves_nothing(other: str):
    assert proves(other, s256(other))
    assert not proves(other, CHALLENGE)


@pytest.mark.parametrize("verifier", ["", "short", "v" * 42, "v" * 129, "v" * 42 + " ", "v" * 42 + "é", CHALLENGE])
def test_what_is_no_verifier_proves_nothing(verifier: str):
    assert not proves(verifier, s256(verifier) if verifier != CHALLENGE else CHALLENGE)


@pytest.mark.parametrize("text", ["", "x", CHALLENGE + "=", CHALLENGE[:-1], CHALLENGE[:-1] + "+", CHALLENGE + "\n"])
def test_what_is_no_challenge_is_told(text: str):
    assert not is_challenge(text)


@pytest.mark.parametrize(
    ("allowed", "wanted", "right"),
    [
        ("https://app.example/cb", "https://app.example/cb", True),
        ("https://app.example/cb", "https://app.example/cb/", False),
        ("https://app.example/cb", "https://app.example/cb?x=1", False),
        ("https://app.example/cb", "https://app.example.evil.example/cb", False),
        ("https://app.example/cb", "https://app.example:8443/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50123/cb", True),
        ("http://[::1]/cb", "http://[::1]:50123/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50123/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50123@evil.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", False),
        ("http://127.0.0.1/cb", "http://localhost:50123/cb", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1:50123/cb", False),
        ("http://127.0.0.1:8000/cb", "http://127.0.0.1:50123/cb", False),
    ],
)
def test_a_login_returns_to_the_addresses_of_the_list_and_to_any_port_of_a_loopback(
    allowed: str, wanted: str, right: bool
):
    assert returns_to(allowed, wanted) is right


def test_digests_in_any_base64_are_names_of_keys():
    for _ in range(200):
        raw = os.urandom(32)
        for name in (base64.b64encode(raw), base64.urlsafe_b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")):
            assert is_key_id(name.decode())


@pytest.mark.parametrize("kid", ["1", "2026-03", "urn:key:1", "a1b2", "key.2", "k" * 200])
def test_words_are_names_of_keys(kid: str):
    assert is_key_id(kid)


@pytest.mark.parametrize(
    "kid",
    [None, 1, [], {}, "", "k" * 201, "a b", "a\n", "/etc/passwd", "../x", "a/b", "https://x/y", "a'b", "é", "a\\b"],
)
def test_what_is_none_is_told(kid: object):
    assert not is_key_id(kid)


def test_an_address_is_the_same_in_any_case_and_none_is_nobodys():
    assert Person("i", "s", "Ada@Olympus.example").is_at("ada@olympus.example")
    assert not Person("i", "s", "ada@olympus.example").is_at("eve@olympus.example")
    assert not Person("i", "s", None).is_at("")

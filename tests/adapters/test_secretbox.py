"""Secrets at rest."""

import base64
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.secretbox import SecretBox, is_envelope
from domain.errors import SecretUnavailable, SecretUnreadable


def _key(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def test_what_is_sealed_opens_again_and_looks_different_each_time() -> None:
    box = SecretBox(_key("k1"))
    (key_id, first), (_, second) = box.seal(b"secret", aad="ref"), box.seal(b"secret", aad="ref")
    assert key_id == "k1"
    assert first != second
    assert b"secret" not in first
    assert box.open(key_id, first, aad="ref") == box.open(key_id, second, aad="ref") == b"secret"


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    old, new = _key("k1"), _key("k2")
    key_id, sealed = SecretBox(old).seal(b"secret", aad="ref")
    box = SecretBox(f"{new}, {old}")
    assert box.open(key_id, sealed, aad="ref") == b"secret"
    assert box.seal(b"x", aad="ref")[0] == "k2"
    with pytest.raises(SecretUnavailable, match="ref"):
        SecretBox(new).open(key_id, sealed, aad="ref")


@pytest.mark.parametrize("at", [0, 8, 20, 67, 68, 80, -1])
def test_a_changed_bit_is_noticed(at: int) -> None:
    box = SecretBox(_key("k1"))
    key_id, sealed = box.seal(b"secret", aad="ref")
    changed = bytearray(sealed)
    changed[at] ^= 1
    with pytest.raises(SecretUnavailable) as caught:
        box.open(key_id, bytes(changed), aad="ref")
    assert "secret" not in str(caught.value).replace("ref", "")


def test_a_secret_does_not_open_under_another_reference_or_cut_short() -> None:
    box = SecretBox(_key("k1"))
    key_id, sealed = box.seal(b"secret", aad="whk/F_one")
    with pytest.raises(SecretUnavailable):
        box.open(key_id, sealed, aad="whk/F_two")
    for length in (0, 5, 12, 20, 67, 68, 80, len(sealed) - 1):
        with pytest.raises(SecretUnavailable):
            box.open(key_id, sealed[:length], aad="whk/F_one")


def test_two_master_keys_cannot_share_an_id() -> None:
    with pytest.raises(ValueError, match="id of its own"):
        SecretBox(f"{_key('k1')},{_key('k1')}")


@pytest.mark.parametrize(
    "text",
    ["", "k1", "k1:", "k1:AAAA", _key(""), _key("k1") + ","],
    ids=["empty", "no key", "empty key", "short key", "no id", "trailing comma"],
)
def test_master_keys_that_are_none_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match="every master key") as caught:
        SecretBox(text)
    assert text == "" or text not in str(caught.value)


def _as_before(master: str, plaintext: bytes, aad: str) -> bytes:
    """As releases without envelopes sealed."""
    nonce = secrets.token_bytes(12)
    cipher = AESGCM(base64.b64decode(master.partition(":")[2]))
    return nonce + cipher.encrypt(nonce, plaintext, aad.encode())


def test_what_was_sealed_before_envelopes_still_opens_and_is_wrapped_when_rotated() -> None:
    old, new = _key("k1"), _key("k2")
    before = _as_before(old, b"secret", "ref")
    assert SecretBox(old).open("k1", before, aad="ref") == b"secret"
    key_id, sealed = SecretBox(f"{new},{old}").rewrap("k1", before, aad="ref")
    assert key_id == "k2"
    assert is_envelope(sealed)
    assert not is_envelope(before)
    assert SecretBox(new).open("k2", sealed, aad="ref") == b"secret"


def test_a_rewrapped_secret_opens_without_the_old_master_key_and_its_body_stays() -> None:
    old, new = _key("k1"), _key("k2")
    key_id, sealed = SecretBox(old).seal(b"secret", aad="ref")
    key_id, rewrapped = SecretBox(f"{new},{old}").rewrap(key_id, sealed, aad="ref")
    assert SecretBox(new).open(key_id, rewrapped, aad="ref") == b"secret"
    assert rewrapped[-34:] == sealed[-34:]
    assert rewrapped[:68] != sealed[:68]


def test_a_data_key_does_not_unwrap_for_another_reference_or_master_key() -> None:
    one, two = _key("k1"), _key("k2")
    box = SecretBox(f"{one},{two}")
    key_id, sealed = box.seal(b"secret", aad="cred/F_one/alpaca")
    for used, aad in (("k2", "cred/F_one/alpaca"), (key_id, "cred/F_two/alpaca")):
        with pytest.raises(SecretUnreadable):
            box.open(used, sealed, aad=aad)
        with pytest.raises(SecretUnreadable):
            box.rewrap(used, sealed, aad=aad)


def test_every_secret_has_a_data_key_of_its_own() -> None:
    box = SecretBox(_key("k1"))
    (_, first), (key_id, second) = box.seal(b"one", aad="ref"), box.seal(b"two", aad="ref")
    with pytest.raises(SecretUnreadable):
        box.open(key_id, first[:68] + second[68:], aad="ref")

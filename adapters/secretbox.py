"""Webhook keys and broker credentials at rest: AES-256-GCM under a master key, bound to their reference."""

import binascii
import secrets
from base64 import b64decode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SecretUnavailable

_KEY_BYTES = 32
_NONCE_BYTES = 12


class SecretBox:
    """`master_keys` is `id:base64(32 bytes)[,id2:…]`, newest first: the first seals, every one opens.

    Raises ValueError for master keys that are none; its message holds no part of a key.
    """

    def __init__(self, master_keys: str) -> None:
        entries = [_parse(entry) for entry in master_keys.split(",")]
        self._ciphers = dict(entries)
        if len(self._ciphers) != len(entries):
            raise ValueError("every master key needs an id of its own")
        self._newest = next(iter(self._ciphers))

    def seal(self, plaintext: bytes, *, aad: str) -> tuple[str, bytes]:
        """The master key's id, and nonce (12 bytes) + ciphertext + tag. `aad` is the secret's reference."""
        # Random nonces stay safe far beyond the number of secrets that one master key will ever seal (2^32).
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._newest, nonce + self._ciphers[self._newest].encrypt(nonce, plaintext, aad.encode())

    def open(self, key_id: str, sealed: bytes, *, aad: str) -> bytes:
        """Raises SecretUnavailable, naming the reference only, for an unknown master key or a changed secret."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecretUnavailable(f"{aad} is sealed under a master key that is not configured")
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad.encode())
        except (InvalidTag, ValueError):
            raise SecretUnavailable(f"{aad} cannot be opened: it is not what was sealed") from None


def _parse(entry: str) -> tuple[str, AESGCM]:
    key_id, separator, encoded = entry.strip().partition(":")
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not separator or not key_id or len(key) != _KEY_BYTES:
        raise ValueError(f"every master key must read id:base64({_KEY_BYTES} bytes)")
    return key_id, AESGCM(key)

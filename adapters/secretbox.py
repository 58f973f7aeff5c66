"""Webhook keys and broker credentials at rest, as envelopes: AES-256-GCM throughout, bound to their reference.

A secret is encrypted under a data key of its own, and that one under a master key; both are stored together:

    MAGIC (8) | nonce (12) | data key (32) + tag (16) | nonce (12) | secret + tag (16)

To change the master key, only the data key is wrapped anew. Secrets of before envelopes are nonce + secret + tag under
the master key itself, and still open.
"""

import binascii
import secrets
from base64 import b64decode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SecretUnavailable, SecretUnreadable

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
# A secret of before begins with a random nonce; that it looks like this is as likely as guessing 64 bits.
MAGIC = b"VANTA\x00E1"
_WRAPPED_END = len(MAGIC) + _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES


class SecretBox:
    """`master_keys` is `id:base64(32 bytes)[,id2:…]`, newest first: the first seals, every one opens.

    Raises ValueError for master keys that are none; its message holds no part of a key. Nothing that was opened is kept
    here: unwrapping a data key costs some ten microseconds, and what is not kept cannot leak.
    """

    def __init__(self, master_keys: str) -> None:
        entries = [_parse(entry) for entry in master_keys.split(",")]
        self._ciphers = dict(entries)
        if len(self._ciphers) != len(entries):
            raise ValueError("every master key needs an id of its own")
        self._newest = next(iter(self._ciphers))

    @property
    def newest(self) -> str:
        """The id of the master key that seals."""
        return self._newest

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all master keys that open, newest first."""
        return tuple(self._ciphers)

    def seal(self, plaintext: bytes, *, aad: str) -> tuple[str, bytes]:
        """The master key's id, and the envelope. `aad` is the secret's reference."""
        data_key = secrets.token_bytes(_KEY_BYTES)
        body = _encrypt(AESGCM(data_key), plaintext, aad.encode())
        return self._newest, self._wrap(data_key, aad) + body

    def open(self, key_id: str, sealed: bytes, *, aad: str) -> bytes:
        """Raises SecretUnavailable for an unknown master key, SecretUnreadable for a changed secret.

        Their messages name the reference only.
        """
        cipher = self._cipher(key_id, aad)
        try:
            if not sealed.startswith(MAGIC):
                return _decrypt(cipher, sealed, aad.encode())
            data_key = _decrypt(cipher, sealed[len(MAGIC) : _WRAPPED_END], _wrapping(key_id, aad))
            return _decrypt(AESGCM(data_key), sealed[_WRAPPED_END:], aad.encode())
        except (InvalidTag, ValueError):
            raise _unreadable(aad) from None

    def rewrap(self, key_id: str, sealed: bytes, *, aad: str) -> tuple[str, bytes]:
        """The same secret under the newest master key. Raises as `open` does."""
        if not sealed.startswith(MAGIC):
            return self.seal(self.open(key_id, sealed, aad=aad), aad=aad)
        cipher = self._cipher(key_id, aad)
        try:
            data_key = _decrypt(cipher, sealed[len(MAGIC) : _WRAPPED_END], _wrapping(key_id, aad))
            _decrypt(AESGCM(data_key), sealed[_WRAPPED_END:], aad.encode())
        except (InvalidTag, ValueError):
            raise _unreadable(aad) from None
        return self._newest, self._wrap(data_key, aad) + sealed[_WRAPPED_END:]

    def _wrap(self, data_key: bytes, aad: str) -> bytes:
        # Random nonces stay safe far beyond the number of data keys that one master key will ever wrap (2^32).
        return MAGIC + _encrypt(self._ciphers[self._newest], data_key, _wrapping(self._newest, aad))

    def _cipher(self, key_id: str, aad: str) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecretUnavailable(f"{aad} is sealed under a master key that is not configured")
        return cipher


def is_envelope(sealed: bytes) -> bool:
    """Whether a data key of its own protects it; secrets of before lie under the master key itself."""
    return sealed.startswith(MAGIC)


def _wrapping(key_id: str, aad: str) -> bytes:
    return f"data key\0{key_id}\0{aad}".encode()


def _encrypt(cipher: AESGCM, plaintext: bytes, aad: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, aad)


def _decrypt(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)


def _unreadable(aad: str) -> SecretUnreadable:
    return SecretUnreadable(f"{aad} cannot be opened: it is not what was sealed")


def _parse(entry: str) -> tuple[str, AESGCM]:
    key_id, separator, encoded = entry.strip().partition(":")
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not separator or not key_id or len(key) != _KEY_BYTES:
        raise ValueError(f"every master key must read id:base64({_KEY_BYTES} bytes)")
    return key_id, AESGCM(key)

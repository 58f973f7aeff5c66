"""Followers' callbacks at the door: nothing of one is read before its signature is known to be his."""

import hashlib
import secrets
from collections.abc import Mapping

from adapters.secretbox import SecretBox
from adapters.store.confirmations import Booked, ConfirmationStore
from domain import signing
from domain.confirmations import Confirmation
from domain.errors import InvalidSignature


class Callbacks:
    def __init__(self, store: ConfirmationStore, box: SecretBox) -> None:
        self._store = store
        self._box = box
        self._nobodys = secrets.token_bytes(32)

    async def authenticate(self, fo_id: str, headers: Mapping[str, str], body: bytes, now: int) -> str:
        """Whose tenant's the order is. `headers` without regard to case; `now` in unix seconds.

        Raises InvalidSignature in the same words, after the same work, whether the order is unknown, is not one of a
        webhook, or the signature is not its follower's.
        """
        signer = await self._store.signer(fo_id)
        keys = [self._box.open(key.key_id, key.sealed, aad=key.ref) for key in signer.keys]
        authentic = signing.verify(keys or [self._nobodys], headers, body, now=now)
        if not (authentic and keys):
            raise InvalidSignature("Sign the raw body with a key of the order's follower, within five minutes.")
        return signer.tenant_id

    async def book(self, tenant_id: str, fo_id: str, told: Confirmation, body: bytes) -> Booked:
        """Raises InvalidInput, Conflict, IdempotencyKeyReused."""
        return await self._store.book(tenant_id, fo_id, told, hashlib.sha256(body).hexdigest())

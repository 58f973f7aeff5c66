"""A broker credential tried out: one account call, told in words, and booked."""

import logging
from collections.abc import Mapping

from adapters.secretbox import SecretBox
from adapters.store.credentials import CredentialStore, Held
from domain.credentials import CredentialTest, Which, unsealed
from domain.errors import SecretUnavailable, VenueError
from domain.ports import Broker

_log = logging.getLogger("vanta.credentials")


class CredentialTester:
    def __init__(self, store: CredentialStore, brokers: Mapping[str, Broker], box: SecretBox) -> None:
        self._store = store
        self._brokers = brokers
        self._box = box

    async def test(self, tenant_id: str, follower_id: str, which: Which, *, actor: str) -> CredentialTest:
        """Ask the broker for the account; an answer mends a broken credential. Raises NotFound, Conflict."""
        held = await self._store.hold(tenant_id, follower_id, which)
        code, words = await self._call(held)
        ok = code == "ok"
        return await self._store.tested(tenant_id, held, code, words, ok=ok, actor=actor)

    async def _call(self, held: Held) -> tuple[str, str]:
        broker, sealed = self._brokers.get(held.venue), held.sealed
        if broker is None:
            return "no_adapter", f"{held.venue} is not set up here, so nobody was asked"
        try:
            opened = self._box.open(sealed.key_id, sealed.sealed, aad=sealed.ref)
            await broker.account(unsealed(sealed.ref, opened, held.environment))
        except (VenueError, SecretUnavailable) as error:
            return error.code, str(error)
        except Exception as error:  # noqa: BLE001  whoever tests a key is told, whatever is wrong
            _log.exception("testing %s failed", sealed.ref)
            return "internal_error", type(error).__name__
        return "ok", f"{held.venue} answers for the {held.environment} account"

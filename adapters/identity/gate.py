"""From a bearer token to its principal, with what he may do now: a revoked login or a lost role counts at once."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from adapters.identity.opaque import API_KEY, digest
from adapters.store.database import Database
from adapters.tokens import Claims
from domain.access import GRANTABLE, SCOPES, Kind, Principal, Role
from domain.errors import InvalidToken

_SESSION = text("SELECT * FROM session_of(:session_id)")
_KEY = text("SELECT * FROM api_key_of(:hash)")
_MAX_SUBJECT = 200
_log = logging.getLogger("vanta.gate")


class Gate:
    """`sessionless`: whether tokens are taken that come from no login, as those for trials on the embedded stack.

    Whoever is refused is told the same words whatever the reason is: who has found a token learns nothing by trying it.
    """

    def __init__(self, database: Database, verify: Callable[[str], Claims], *, sessionless: bool) -> None:
        self._database, self._verify, self._sessionless = database, verify, sessionless

    async def principal(self, token: str) -> Principal:
        """Raises InvalidToken, StoreUnavailable."""
        if token.startswith(API_KEY):
            return await self._of_key(token)
        claims = self._verify(token)
        if claims.session_id is not None:
            return await self._of_session(claims, claims.session_id)
        if not self._sessionless:
            raise InvalidToken("the token comes from no login")
        if not claims.subject.isprintable() or len(claims.subject) > _MAX_SUBJECT:
            raise InvalidToken("the token's subject is no name")
        return Principal(claims.subject, str(claims.tenant_id), claims.scopes, role=Role(claims.role))

    async def _of_session(self, claims: Claims, session_id: str) -> Principal:
        found = await self._database.lookup(_SESSION, {"session_id": session_id})
        if found is None or found["tenant_id"] != claims.tenant_id:
            raise _refused("login", "unknown")
        if found["user_status"] != "active":
            raise _refused("login", "user removed")
        _check_in_force("login", found)
        role, follower_id = Role(found["role"]), found["follower_id"]
        return Principal(
            subject=follower_id or str(found["user_id"]),
            tenant_id=str(claims.tenant_id),
            scopes=claims.scopes & SCOPES[role],
            kind=Kind.FOLLOWER if follower_id else Kind.USER,
            role=role,
            session_id=session_id,
            follower_id=follower_id,
        )

    async def _of_key(self, key: str) -> Principal:
        found = await self._database.lookup(_KEY, {"hash": digest(key)})
        if found is None:
            raise _refused("key", "unknown")
        if found["disabled_at"] is not None:
            raise _refused("key", "account disabled")
        _check_in_force("key", found)
        # Whatever a row may say: no key opens what none can be given.
        scopes = GRANTABLE.intersection(found["scopes"])
        return Principal(found["account_id"], str(found["tenant_id"]), scopes, kind=Kind.SERVICE)


def _check_in_force(what: str, found: Mapping[str, Any]) -> None:
    """Raises InvalidToken."""
    if found["tenant_status"] != "active":
        raise _refused(what, "tenant suspended")
    if found["revoked_at"] is not None:
        raise _refused(what, "revoked")
    if found["expires_at"] is not None and found["expires_at"] <= datetime.now(UTC):
        raise _refused(what, "expired")


def _refused(what: str, why: str) -> InvalidToken:
    """`why` is for our own log."""
    _log.info("a %s was refused: %s", what, why)
    return InvalidToken("the access token is not valid, or not any more")

"""From a bearer token to its principal, with what he may do now: a revoked login or a lost role counts at once."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import text

from adapters.store.database import Database
from adapters.tokens import Claims
from domain.access import SCOPES, Kind, Principal, Role
from domain.errors import InvalidToken

_SESSION = text("SELECT * FROM session_of(:session_id)")
_MAX_SUBJECT = 200


class Gate:
    """`sessionless`: whether tokens are taken that come from no login, as those for trials on the embedded stack."""

    def __init__(self, database: Database, verify: Callable[[str], Claims], *, sessionless: bool) -> None:
        self._database, self._verify, self._sessionless = database, verify, sessionless

    async def principal(self, token: str) -> Principal:
        """Raises InvalidToken, StoreUnavailable."""
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
            raise InvalidToken("the token's login is not known")
        if found["revoked_at"] is not None or found["expires_at"] <= datetime.now(UTC):
            raise InvalidToken("the token's login has ended")
        if found["user_status"] != "active":
            raise InvalidToken("the user was removed")
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

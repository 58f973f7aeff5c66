"""Logins that last: a session, its refresh tokens, each good for one use, and the access tokens that it gives."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.identity.opaque import digest, new_token
from adapters.store.database import Database
from adapters.store.entities import emit
from adapters.tokens import Signer
from domain.access import SCOPES, Kind, Principal, Role
from domain.errors import InvalidGrant, LoginRefused, LoginUnavailable
from models import RefreshToken, Session, Tenant, User

_OF = text("SELECT * FROM refresh_token_of(:hash)")
ACTIVE = "active"
_log = logging.getLogger("vanta.login")
_REUSED = "refresh_token_reused"


@dataclass(frozen=True, slots=True)
class Tokens:
    """`expires_in`: seconds of the access token."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    access_s: int
    refresh_s: int
    session_s: int


class Sessions:
    """`signer` is None where no key is set up: sessions can then be ended, and nothing else. `clock`: aware."""

    def __init__(
        self,
        database: Database,
        signer: Signer | None,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database, self._signer, self._lifetimes, self._clock = database, signer, lifetimes, clock

    def require_signer(self) -> Signer:
        """Raises LoginUnavailable."""
        if self._signer is None:
            raise LoginUnavailable("no key signs access tokens: VANTA_AUTH__SIGNING_KEY")
        return self._signer

    async def open(self, session: AsyncSession, who: Principal) -> Tokens:
        """Begin a session in the caller's transaction, which is of the tenant of `who`."""
        now = self._clock()
        row = Session(
            session_id=new_token("S-"),
            tenant_id=UUID(who.tenant_id),
            user_id=UUID(who.subject) if who.kind is Kind.USER else None,
            follower_id=who.follower_id,
            expires_at=now + timedelta(seconds=self._lifetimes.session_s),
        )
        session.add(row)
        await session.flush()  # the refresh token refers to it
        await self._tell(session, row, "logged_in", {"session_id": row.session_id}, actor=who.actor)
        return self._tokens(session, row, who, now)

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for new tokens. Raises InvalidGrant, LoginRefused, LoginUnavailable.

        One that comes again has been copied, or its answer was lost: which of the two cannot be told, so the session
        ends with it.
        """
        self.require_signer()
        hashed = digest(token)
        found = await self._database.lookup(_OF, {"hash": hashed})
        if found is None:
            raise InvalidGrant("the refresh token is not known")
        async with self._database.session(str(found["tenant_id"])) as session:
            # Who waits for this lock sees what its holder has done with the token.
            row = await session.get(Session, found["session_id"], with_for_update=True)
            used = await session.get(RefreshToken, hashed)
            assert row is not None, "a token belongs to a session of its tenant"
            assert used is not None, "found by its hash"
            tokens = await self._rotate(session, row, used)
        if tokens is None:
            _log.warning("a refresh token came a second time; its login was ended")
            raise InvalidGrant("the refresh token was used before, so its login has ended; log in again")
        return tokens

    async def _rotate(self, session: AsyncSession, row: Session, used: RefreshToken) -> Tokens | None:
        """None where the session was ended because of a reuse, which must be committed."""
        now = self._clock()
        if row.revoked_at is not None or row.expires_at <= now:
            raise InvalidGrant("the login has ended; log in again")
        if used.used_at is not None:
            await self._end(session, row, _REUSED, actor="system:login", now=now)
            return None
        if used.expires_at <= now:
            raise InvalidGrant("the refresh token has expired; log in again")
        who = await member(session, row.tenant_id, row.user_id, row.follower_id)
        used.used_at = now
        session.add(used)
        return self._tokens(session, row, who, now)

    async def end(self, caller: Principal, *, everywhere: bool) -> None:
        """Log out: the caller's session, or all that are his. One that is over already is no error."""
        async with self._database.session(caller.tenant_id) as session:
            mine = Session.user_id == UUID(caller.subject) if caller.kind is Kind.USER else None
            wanted = select(Session).where(col(Session.revoked_at).is_(None))
            if not everywhere:
                wanted = wanted.where(Session.session_id == caller.session_id)
            elif mine is not None:
                wanted = wanted.where(mine)
            else:
                wanted = wanted.where(Session.follower_id == caller.follower_id)
            for row in (await session.exec(wanted.order_by(Session.session_id).with_for_update())).all():
                await self._end(session, row, "logged_out", actor=caller.actor, now=self._clock())

    def _tokens(self, session: AsyncSession, row: Session, who: Principal, now: datetime) -> Tokens:
        assert who.role is not None, "users and followers have a role"
        remaining = int((row.expires_at - now).total_seconds())
        refresh, times = new_token(), self._lifetimes
        lasting = timedelta(seconds=min(times.refresh_s, remaining))
        session.add(
            RefreshToken(
                token_hash=digest(refresh),
                session_id=row.session_id,
                tenant_id=row.tenant_id,
                expires_at=now + lasting,
            )
        )
        ttl_s = max(1, min(times.access_s, remaining))
        access = self.require_signer().access_token(
            subject=who.subject,
            tenant_id=row.tenant_id,
            role=who.role,
            session_id=row.session_id,
            ttl_s=ttl_s,
            now=now,
        )
        return Tokens(access, refresh, ttl_s, SCOPES[who.role])

    async def _end(self, session: AsyncSession, row: Session, reason: str, *, actor: str, now: datetime) -> None:
        row.revoked_at, row.revoked_reason = now, reason
        session.add(row)
        await self._tell(session, row, reason, {"session_id": row.session_id}, actor=actor)

    async def _tell(
        self, session: AsyncSession, row: Session, action: str, payload: dict[str, str], *, actor: str
    ) -> None:
        tenant_id = str(row.tenant_id)
        entity, entity_id = ("tenant", tenant_id) if row.follower_id is None else ("follower", row.follower_id)
        who = {} if row.user_id is None else {"user_id": str(row.user_id)}
        await emit(session, tenant_id, entity, entity_id, action, actor, {**payload, **who})


async def member(session: AsyncSession, tenant_id: UUID, user_id: UUID | None, follower_id: str | None) -> Principal:
    """Who it is and what he may do now. Raises LoginRefused where he, or his whole tenant, may not come in."""
    tenant = await session.get(Tenant, tenant_id)
    if tenant is None or tenant.status != ACTIVE:
        raise LoginRefused("the tenant is suspended")
    if user_id is None:
        assert follower_id is not None, "an identity is a user or a follower"
        scopes = SCOPES[Role.FOLLOWER]
        return Principal(follower_id, str(tenant_id), scopes, Kind.FOLLOWER, Role.FOLLOWER, follower_id=follower_id)
    user = await session.get(User, user_id)
    if user is None or user.status != ACTIVE:
        raise LoginRefused("the user was removed")
    role = Role(user.role)
    return Principal(str(user_id), str(tenant_id), SCOPES[role], role=role)

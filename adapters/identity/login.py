"""From the way to the identity provider to a session here: attempts that work once, and who the person is with us."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text

from adapters.identity.joining import accept, in_force
from adapters.identity.oidc import OidcProvider
from adapters.identity.opaque import digest, new_token
from adapters.identity.sessions import Sessions, Tokens, member
from adapters.store.database import Database
from adapters.store.entities import require
from domain.access import Principal
from domain.errors import InvalidGrant, InvalidInput, LoginRefused, LoginUnavailable
from domain.login import Person, proves, returns_to
from models import Identity, LoginAttempt, Tenant

_NOBODY = str(UUID(int=0))  # an attempt is no tenant's yet
_USE = text(
    """
    UPDATE login_attempts SET used_at = now() WHERE state_hash = :hash AND used_at IS NULL AND expires_at > now()
    RETURNING nonce, code_challenge, redirect_uri, invitation_hash
    """
)
_SWEEP = text("SELECT sweep_logins()")
_IDENTITY = text("SELECT * FROM identity_of(:issuer, :subject)")
_log = logging.getLogger("vanta.login")
_INVITATION = text("SELECT * FROM invitation_of(:hash)")


@dataclass(frozen=True, slots=True)
class BegunLogin:
    authorization_url: str = field(repr=False)
    state: str = field(repr=False)
    expires_at: datetime


class Logins:
    """`provider` is None where the settings name none: then who logs in gets LoginUnavailable. `keys`: public ones.

    Methods raise StoreUnavailable besides what they say.
    """

    def __init__(
        self,
        database: Database,
        provider: OidcProvider | None,
        sessions: Sessions,
        *,
        keys: list[dict[str, Any]],
        redirect_uris: Collection[str] = (),
        attempt_ttl_s: int = 600,
    ) -> None:
        self._database, self._provider, self._sessions = database, provider, sessions
        self._redirect_uris, self._attempt_ttl = redirect_uris, timedelta(seconds=attempt_ttl_s)
        self.keys = keys

    async def begin(self, *, redirect_uri: str, challenge: str, invitation: str | None) -> BegunLogin:
        """Raises InvalidInput, LoginUnavailable, ProviderUnavailable."""
        provider = self._ready()
        if not any(returns_to(allowed, redirect_uri) for allowed in self._redirect_uris):
            raise InvalidInput("redirect_uri", "is none of the addresses that a login may return to")
        state, nonce = new_token(), new_token()
        url = await provider.authorization_url(redirect_uri=redirect_uri, state=state, nonce=nonce, challenge=challenge)
        attempt = LoginAttempt(
            state_hash=digest(state),
            nonce=nonce,
            code_challenge=challenge,
            redirect_uri=redirect_uri,
            invitation_hash=None if invitation is None else digest(invitation),
            expires_at=datetime.now(UTC) + self._attempt_ttl,
        )
        async with self._database.session(_NOBODY) as session:
            await (await session.connection()).execute(_SWEEP)
            session.add(attempt)
        return BegunLogin(url, state, attempt.expires_at)

    async def finish(self, *, code: str, state: str, verifier: str, redirect_uri: str) -> Tokens:
        """Raises InvalidGrant, LoginRefused, LoginUnavailable, ProviderUnavailable."""
        try:
            return await self._finish(code, state, verifier, redirect_uri)
        except LoginRefused as error:
            _log.warning("a login was refused: %s", error)
            raise

    async def _finish(self, code: str, state: str, verifier: str, redirect_uri: str) -> Tokens:
        provider = self._ready()
        attempt = await self._use(state)
        if attempt["redirect_uri"] != redirect_uri or not proves(verifier, attempt["code_challenge"]):
            raise InvalidGrant("code_verifier or redirect_uri is not that of the login that began")
        invitation_hash = attempt["invitation_hash"]
        person = await provider.exchange(
            code,
            verifier=verifier,
            redirect_uri=redirect_uri,
            nonce=attempt["nonce"],
            email=invitation_hash is not None,
        )
        if invitation_hash is not None:
            return await self._join(person, invitation_hash)
        return await self._enter(person)

    async def refresh(self, token: str) -> Tokens:
        """Raises InvalidGrant, LoginRefused, LoginUnavailable."""
        return await self._sessions.refresh(token)

    async def end(self, caller: Principal, *, everywhere: bool) -> None:
        """Log out, at once."""
        await self._sessions.end(caller, everywhere=everywhere)

    async def tenant_name(self, tenant_id: str) -> str:
        """Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            return (await require(session, Tenant, "tenant", UUID(tenant_id))).name

    def _ready(self) -> OidcProvider:
        """Raises LoginUnavailable before anything is used up that cannot be used twice."""
        self._sessions.require_signer()
        if self._provider is None:
            raise LoginUnavailable("no identity provider is set up: VANTA_OIDC__ISSUER")
        return self._provider

    async def _use(self, state: str) -> RowMapping:
        """Take the attempt, for good: what comes next may fail, but never twice. Raises InvalidGrant."""
        async with self._database.session(_NOBODY) as session:
            result = await (await session.connection()).execute(_USE, {"hash": digest(state)})
            attempt = result.mappings().first()
        if attempt is None:
            raise InvalidGrant("the login is not known, was finished before, or took too long; begin a new one")
        return attempt

    async def _enter(self, person: Person) -> Tokens:
        known = await self._database.lookup(_IDENTITY, {"issuer": person.issuer, "subject": person.subject})
        if known is None:
            raise LoginRefused("nobody here has this identity; the first login needs an invitation")
        async with self._database.session(str(known["tenant_id"])) as session:
            # Held, so that who ends it meanwhile waits, and then finds the session.
            held = await session.get(Identity, (person.issuer, person.subject), with_for_update={"read": True})
            assert held is not None, "identities are never deleted"
            who = await member(session, held.tenant_id, held.user_id, in_force(held).follower_id)
            return await self._sessions.open(session, who)

    async def _join(self, person: Person, invitation_hash: str) -> Tokens:
        """The user or follower, his identity, the accepted invitation and the session: all of it or nothing."""
        found = await self._database.lookup(_INVITATION, {"hash": invitation_hash})
        if found is None:
            raise LoginRefused("the invitation is not known")
        async with self._database.session(str(found["tenant_id"])) as session:
            identity = await accept(session, found["invitation_id"], person, datetime.now(UTC))
            await session.flush()
            who = await member(session, identity.tenant_id, identity.user_id, identity.follower_id)
            return await self._sessions.open(session, who)

"""Who may call: identities at a provider, logins and their tokens, invitations, accounts of programs.

No token and no key is stored, only SHA-256 of it in hex: each has 256 random bits, so nothing slower is needed.
"""

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel

from models.columns import Owned, text_list, timestamp

_TENANT = "tenants.tenant_id"


class Identity(Owned, table=True):
    """A person as an OpenID provider knows him, and which user or follower of ours he is: exactly one of the two.

    `ended_at`: a follower's, who is that no more; a user says so himself, by his status.
    """

    __tablename__ = "identities"

    issuer: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    user_id: UUID | None = Field(default=None, foreign_key="users.user_id")
    follower_id: str | None = Field(default=None, foreign_key="followers.follower_id")
    created_at: datetime = timestamp(now=True)
    ended_at: datetime | None = timestamp(nullable=True)


class LoginAttempt(SQLModel, table=True):
    """From the way to the provider to the way back. Nobody's yet, so it belongs to no tenant."""

    __tablename__ = "login_attempts"

    state_hash: str = Field(primary_key=True)
    nonce: str
    code_challenge: str
    redirect_uri: str
    invitation_hash: str | None = None
    created_at: datetime = timestamp(now=True)
    expires_at: datetime = timestamp(index=True)
    used_at: datetime | None = timestamp(nullable=True)


class Session(Owned, table=True):
    """One login; its tokens are good for as long as it is neither over nor revoked."""

    __tablename__ = "sessions"

    session_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    user_id: UUID | None = Field(default=None, foreign_key="users.user_id", index=True)
    follower_id: str | None = Field(default=None, foreign_key="followers.follower_id", index=True)
    created_at: datetime = timestamp(now=True)
    expires_at: datetime = timestamp(index=True)
    revoked_at: datetime | None = timestamp(nullable=True)
    revoked_reason: str | None = None


class RefreshToken(Owned, table=True):
    """Good for one use; the second one ends the session, as one of the two users is a thief."""

    __tablename__ = "refresh_tokens"

    token_hash: str = Field(primary_key=True)
    session_id: str = Field(foreign_key="sessions.session_id", index=True)
    tenant_id: UUID = Field(foreign_key=_TENANT)
    issued_at: datetime = timestamp(now=True)
    expires_at: datetime = timestamp()
    used_at: datetime | None = timestamp(nullable=True)


class Invitation(Owned, table=True):
    """To become a user with a role, or to be a follower; the first login that brings its token accepts it."""

    __tablename__ = "invitations"

    invitation_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    token_hash: str = Field(unique=True)
    email: str
    role: str
    follower_id: str | None = Field(default=None, foreign_key="followers.follower_id")
    invited_by: str
    created_at: datetime = timestamp(now=True)
    expires_at: datetime = timestamp()
    accepted_at: datetime | None = timestamp(nullable=True)
    revoked_at: datetime | None = timestamp(nullable=True)


class ServiceAccount(Owned, table=True):
    """A program that calls with keys of its own."""

    __tablename__ = "service_accounts"

    account_id: str = Field(primary_key=True)
    tenant_id: UUID = Field(foreign_key=_TENANT, index=True)
    name: str
    scopes: list[str] = text_list()
    created_by: str
    created_at: datetime = timestamp(now=True)
    disabled_at: datetime | None = timestamp(nullable=True)


class ApiKey(Owned, table=True):
    __tablename__ = "api_keys"

    key_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="service_accounts.account_id", index=True)
    tenant_id: UUID = Field(foreign_key=_TENANT)
    key_hash: str = Field(unique=True)
    created_by: str
    created_at: datetime = timestamp(now=True)
    expires_at: datetime | None = timestamp(nullable=True)
    revoked_at: datetime | None = timestamp(nullable=True)

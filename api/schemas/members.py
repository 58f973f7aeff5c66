"""Users and invitations on the wire. An invitation's token is in one answer and never again."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

import models
from api.schemas.common import Answer, Request
from domain.access import EMAIL, MAX_EMAIL, SCOPES, Role
from domain.errors import InvalidInput

MemberRole = Literal["owner", "ops", "auditor"]
INVITED_NOTE = "Hand it to the person now: it is stored nowhere, and nothing shows it again."
UNSHOWN_NOTE = "The token was in the first answer and is not shown again; if it is lost, revoke this and invite anew."


class UserStatus(StrEnum):
    ACTIVE = "active"
    REMOVED = "removed"


class Member(Answer):
    """`scopes` are those of the role; a token may say fewer."""

    user_id: UUID
    email: str = Field(examples=["ada@fund.example"])
    role: Role
    scopes: list[str] = Field(examples=[["vault:read", "orders:read"]])
    status: UserStatus
    created_at: datetime

    @classmethod
    def of(cls, row: models.User) -> Self:
        return cls(**row.model_dump(exclude={"tenant_id", "oidc_sub"}), scopes=sorted(SCOPES[Role(row.role)]))


class RoleBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "auditor"}]})

    role: MemberRole


class NewInvitationBody(Request):
    """For a role, or for a follower: one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"email": "grace@fund.example", "role": "ops"},
                {"email": "bob@follower.example", "follower_id": "F_bob_7hq2m4zt"},
            ]
        }
    )

    email: str = Field(
        max_length=MAX_EMAIL,
        pattern=EMAIL,
        description="The identity provider must have verified it of who accepts; case is not told apart.",
    )
    role: MemberRole | None = None
    follower_id: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")

    def invited(self) -> tuple[Role, str | None]:
        """Raises InvalidInput unless one of the two is given."""
        if (self.role is None) == (self.follower_id is None):
            raise InvalidInput("role", "give either role or follower_id")
        return (Role.FOLLOWER if self.role is None else Role(self.role)), self.follower_id


class InvitationState(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Invitation(Answer):
    invitation_id: str = Field(examples=["INV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    email: str
    role: Role
    follower_id: str | None = Field(description="Whom the invited person will be, where the role is follower.")
    state: InvitationState
    invited_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: models.Invitation, now: datetime) -> Self:
        return cls(**row.model_dump(exclude={"tenant_id", "token_hash"}), state=_state(row, now))


class CreatedInvitation(Invitation):
    token: str | None = Field(default=None, examples=["Zc9J3yq0bq3vXWm0yTn2Wm0C1m2bYxkq5pZ3c1o8d7E"])
    note: str | None = None


class EndedAccess(Answer):
    """All of it is nothing where nobody had access."""

    follower_id: str
    people: int = Field(description="How many had access.", examples=[1])
    logins_ended: int = Field(examples=[1])
    invitations_withdrawn: list[str] = Field(examples=[["INV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"]])


def _state(row: models.Invitation, now: datetime) -> InvitationState:
    if row.accepted_at is not None:
        return InvitationState.ACCEPTED
    if row.revoked_at is not None:
        return InvitationState.REVOKED
    return InvitationState.EXPIRED if row.expires_at <= now else InvitationState.PENDING

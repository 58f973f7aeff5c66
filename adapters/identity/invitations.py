"""Invitations: how a person becomes a user, or a follower who looks after himself. The first login accepts one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.identity.opaque import digest, new_token
from adapters.store.database import Database
from adapters.store.entities import emit, insert_new, require
from adapters.store.once import find_earlier, keep
from adapters.store.reads import filtered, newest
from domain import ids
from domain.access import Role
from domain.errors import Conflict, NotFound
from domain.requests import Once, Slice
from models import Follower, Invitation, Tenant, User

_CREATED = 201


@dataclass(frozen=True, slots=True)
class Invited:
    """`token` is None for a repeat: it is stored nowhere, so nobody can show it again."""

    row: Invitation
    token: str | None

    @property
    def replayed(self) -> bool:
        return self.token is None


class Invitations:
    """`valid_for`: how long one can be accepted."""

    def __init__(self, database: Database, *, valid_for: timedelta) -> None:
        self._database = database
        self._valid_for = valid_for

    async def create(
        self, tenant_id: str, email: str, role: Role, follower_id: str | None, *, actor: str, once: Once
    ) -> Invited:
        """For a role, or with role follower for `follower_id`. The event does not name the address.

        Raises NotFound for the follower, Conflict where the address is a member's already, IdempotencyKeyReused.
        """
        async with self._database.session(tenant_id) as session:
            if (earlier := await find_earlier(session, tenant_id, once)) is not None:
                return Invited(await _known(session, earlier.response["invitation_id"]), None)
            await require(session, Tenant, "tenant", UUID(tenant_id))
            if follower_id is not None:
                await require(session, Follower, "follower", follower_id)
            else:
                await _refuse_members(session, tenant_id, email)
            token = new_token()
            now = (await session.exec(select(func.now()))).one()
            row = await insert_new(
                session,
                Invitation(
                    invitation_id=ids.invitation_id(tenant_id, once.key), tenant_id=UUID(tenant_id),
                    token_hash=digest(token), email=email, role=role.value, follower_id=follower_id, invited_by=actor,
                    expires_at=now + self._valid_for,
                ),
                "invitation_id",
            )  # fmt: skip
            payload = {"role": role, "follower_id": follower_id, "expires_at": row.expires_at.isoformat()}
            await emit(session, tenant_id, "invitation", row.invitation_id, "created", actor, payload)
            keep(session, tenant_id, once, _CREATED, {"invitation_id": row.invitation_id})
            return Invited(row, token)

    async def page(self, tenant_id: str, part: Slice) -> Sequence[Invitation]:
        """Newest first, whatever became of them."""
        wanted = filtered(select(Invitation), Invitation, tenant_id, {})
        async with self._database.session(tenant_id) as session:
            return (
                await session.exec(newest(wanted, part, col(Invitation.created_at), col(Invitation.invitation_id)))
            ).all()

    async def revoke(self, tenant_id: str, invitation_id: str, *, actor: str) -> Invitation:
        """One that is revoked already is no error and no event. Raises NotFound, Conflict for one that was accepted."""
        async with self._database.session(tenant_id) as session:
            row = await session.get(Invitation, invitation_id, with_for_update=True)
            if row is None:
                raise NotFound("invitation", invitation_id)
            if row.accepted_at is not None:
                raise Conflict("invitation-accepted", "it was accepted; remove the user instead", "invitation_id")
            if row.revoked_at is None:
                row.revoked_at = (await session.exec(select(func.now()))).one()
                session.add(row)
                await emit(session, tenant_id, "invitation", invitation_id, "revoked", actor, {"role": row.role})
            return row


async def _known(session: AsyncSession, invitation_id: str) -> Invitation:
    return await require(session, Invitation, "invitation", invitation_id)


async def _refuse_members(session: AsyncSession, tenant_id: str, email: str) -> None:
    same = select(User.user_id).where(
        User.tenant_id == UUID(tenant_id), User.status == "active", func.lower(User.email) == email.lower()
    )
    if (await session.exec(same.limit(1))).first() is not None:
        raise Conflict("already-member", "somebody of this address is a member; change his role instead", "email")

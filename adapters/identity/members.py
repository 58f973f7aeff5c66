"""The users of a tenant: who they are, what they may do, and taking that away, which counts at their next request."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.database import Database
from adapters.store.entities import emit
from domain.access import Role, shrinks
from domain.errors import Conflict, NotFound
from models import Invitation, Session, User

ACTIVE, REMOVED = "active", "removed"


class Members:
    """Each method sees one tenant's users only: NotFound is raised for another's as for none.

    Events name users by id alone: the audit log is kept for years, and no address could be taken out of it again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: str, *, limit: int, after: str = "") -> Sequence[User]:
        """In the order of their ids, those beyond `after`; with those who were removed."""
        wanted = select(User).where(User.tenant_id == UUID(tenant_id)).order_by(col(User.user_id)).limit(limit)
        if after:
            wanted = wanted.where(col(User.user_id) > UUID(after))
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted)).all()

    async def payer(self, tenant_id: str, user_id: str | None) -> str | None:
        """Whose e-mail address receipts go to: the user's, else that of the tenant's first owner. None: nobody has one.

        `user_id` None: a program asks, which has no address.
        """
        his = col(User.user_id) == (UUID(user_id) if user_id else None)
        may = col(User.role) == Role.OWNER
        wanted = select(User.email).where(User.tenant_id == UUID(tenant_id), User.status == ACTIVE, his | may)
        first = wanted.order_by(his.desc(), col(User.created_at), col(User.user_id)).limit(1)
        async with self._database.session(tenant_id) as session:
            return (await session.exec(first)).first()

    async def change_role(self, tenant_id: str, user_id: str, role: Role, *, actor: str) -> User:
        """What is so already is no change and no event. Where the new role allows less, the user's logins end.

        Raises NotFound, Conflict for the last owner and for a user who was removed.
        """
        async with self._database.session(tenant_id) as session:
            user = await _hold(session, tenant_id, user_id)
            before = Role(user.role)
            if user.status != ACTIVE:
                raise Conflict("user-removed", "the user was removed; invite the person anew", "user_id")
            if before is role:
                return user
            await _spare_the_last_owner(session, user)
            user.role = role.value
            session.add(user)
            ended = await _end_logins(session, user, "role_changed") if shrinks(before, role) else 0
            withdrawn = await _withdraw_invitations(session, user) if before is Role.OWNER else []
            payload = {"from": before, "to": role, "logins_ended": ended, "invitations_withdrawn": withdrawn}
            await emit(session, tenant_id, "user", user_id, "role_changed", actor, payload)
            return user

    async def remove(self, tenant_id: str, user_id: str, *, actor: str) -> User:
        """End the user's logins and let in none of his any more; his past deeds keep his name.

        One who was removed already is no error and no event. Raises NotFound, Conflict for the last owner.
        """
        async with self._database.session(tenant_id) as session:
            user = await _hold(session, tenant_id, user_id)
            if user.status == REMOVED:
                return user
            await _spare_the_last_owner(session, user)
            user.status = REMOVED
            session.add(user)
            ended = await _end_logins(session, user, "user_removed")
            withdrawn = await _withdraw_invitations(session, user)
            payload = {"role": user.role, "logins_ended": ended, "invitations_withdrawn": withdrawn}
            await emit(session, tenant_id, "user", user_id, "removed", actor, payload)
            return user


async def _hold(session: AsyncSession, tenant_id: str, user_id: str) -> User:
    """The user, with the tenant's owners locked, always in one order.

    Of two owners who demote each other at once, the second must see what the first has done.
    """
    owners = select(User.user_id).where(
        User.tenant_id == UUID(tenant_id), (User.role == Role.OWNER) | (User.user_id == UUID(user_id))
    )
    # Not against readers by foreign key, which every login of theirs is.
    await session.exec(owners.order_by(col(User.user_id)).with_for_update(key_share=True))
    user = await session.get(User, UUID(user_id))
    if user is None:
        raise NotFound("user", user_id)
    return user


async def _spare_the_last_owner(session: AsyncSession, user: User) -> None:
    if user.role != Role.OWNER or user.status != ACTIVE:
        return
    others = select(func.count()).where(
        User.tenant_id == user.tenant_id,
        User.role == Role.OWNER,
        User.status == ACTIVE,
        User.user_id != user.user_id,
    )
    if (await session.exec(others)).one() == 0:
        raise Conflict("last-owner", "a tenant keeps one owner; make somebody else an owner first", "user_id")


async def _end_logins(session: AsyncSession, user: User, reason: str) -> int:
    open_ones = update(Session).where(col(Session.user_id) == user.user_id, col(Session.revoked_at).is_(None))
    done = await session.exec(
        open_ones.values(revoked_at=func.now(), revoked_reason=reason).returning(col(Session.session_id))
    )
    return len(done.all())


async def _withdraw_invitations(session: AsyncSession, user: User) -> list[str]:
    """Those of his that nobody has accepted: one of them may be his own way back in."""
    pending = update(Invitation).where(
        col(Invitation.invited_by) == f"user:{user.user_id}",
        col(Invitation.accepted_at).is_(None),
        col(Invitation.revoked_at).is_(None),
    )
    done = await session.exec(pending.values(revoked_at=func.now()).returning(col(Invitation.invitation_id)))
    return sorted(done.scalars())

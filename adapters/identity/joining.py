"""Invitations: the login that brings one's token, from the address that was invited, becomes a user or a follower."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.identity.sessions import ACTIVE
from adapters.store.entities import emit
from domain.access import Role
from domain.errors import LoginRefused
from domain.login import Person
from models import Identity, Invitation, User


async def accept(session: AsyncSession, invitation_id: str, person: Person, now: datetime) -> Identity:
    """Who `person` is from now on, in the invitation's tenant, whose transaction this is. Raises LoginRefused.

    Somebody who has accepted it already and brings it again, as one does whose first answer was lost, simply logs in.
    """
    invitation = await session.get(Invitation, invitation_id, with_for_update=True)
    assert invitation is not None, "found by its hash"
    known = await session.get(Identity, (person.issuer, person.subject))
    if invitation.accepted_at is not None and known is not None:
        return in_force(known)
    _check(invitation, person, now)
    invitation.accepted_at = now
    session.add(invitation)
    if known is not None:
        await _return(session, invitation, known)
        return known
    return await _join(session, invitation, person)


def in_force(identity: Identity) -> Identity:
    """Raises LoginRefused for one that was ended."""
    if identity.ended_at is not None:
        raise LoginRefused("the access to this follower was ended; ask for a new invitation")
    return identity


def _check(invitation: Invitation, person: Person, now: datetime) -> None:
    if invitation.accepted_at is not None:
        raise LoginRefused("the invitation was accepted before")
    if invitation.revoked_at is not None or invitation.expires_at <= now:
        raise LoginRefused("the invitation is no longer good; ask for a new one")
    if person.email is None:
        raise LoginRefused("the identity provider names no e-mail address that it has verified")
    if not person.is_at(invitation.email):
        raise LoginRefused("the invitation is for another e-mail address")


async def _join(session: AsyncSession, invitation: Invitation, person: Person) -> Identity:
    user_id = None if invitation.follower_id else uuid4()
    if user_id is not None:
        session.add(
            User(
                user_id=user_id,
                tenant_id=invitation.tenant_id,
                email=invitation.email,
                role=Role(invitation.role),
                oidc_sub=person.subject,
            )
        )
        await session.flush()
    identity = Identity(
        issuer=person.issuer,
        subject=person.subject,
        tenant_id=invitation.tenant_id,
        user_id=user_id,
        follower_id=invitation.follower_id,
    )
    await _insert(session, identity)
    await _tell(session, invitation, user_id, "joined")
    return identity


async def _insert(session: AsyncSession, identity: Identity) -> None:
    """Whoever is known to another tenant is invisible here, so only the insert itself can tell."""
    given = identity.model_dump(exclude_none=True)
    made = insert(Identity).values(given).on_conflict_do_nothing().returning(col(Identity.subject))
    if await session.scalar(made) is None:
        raise LoginRefused("this identity is a member of another tenant, or a follower there")


async def _return(session: AsyncSession, invitation: Invitation, known: Identity) -> None:
    """Who was removed comes back under his old id, with the role that he is invited to; a follower as himself."""
    if known.ended_at is not None and known.follower_id == invitation.follower_id:
        known.ended_at = None
        session.add(known)
        await _tell(session, invitation, None, "returned")
        return
    user = None if known.user_id is None else await session.get(User, known.user_id, with_for_update=True)
    if user is None or invitation.follower_id is not None or user.status == ACTIVE:
        raise LoginRefused("this identity is a member or a follower already; log in without the invitation")
    user.status, user.role, user.email = ACTIVE, Role(invitation.role), invitation.email
    session.add(user)
    await _tell(session, invitation, user.user_id, "returned")


async def _tell(session: AsyncSession, invitation: Invitation, user_id: UUID | None, action: str) -> None:
    tenant_id, follower_id = str(invitation.tenant_id), invitation.follower_id
    payload = {"invitation_id": invitation.invitation_id, "role": invitation.role, "invited_by": invitation.invited_by}
    if follower_id is not None:
        await emit(session, tenant_id, "follower", follower_id, action, f"follower:{follower_id}", payload)
    else:
        payload["user_id"] = str(user_id)
        await emit(session, tenant_id, "tenant", tenant_id, f"member_{action}", f"user:{user_id}", payload)
